"""What each place of a feature map is worth, in months or as relevance.

Each function takes a network, stretched images [B, S, S, 1], 0 to 255, and a sex, and returns maps
[B, h, w].
"""

from typing import Any

import cv2
import numpy as np
import tensorflow as tf

from bone_age_tf import schema
from bone_age_tf.explain.network import ExplainedNetwork
from bone_age_tf.models.removal import MONTHS_MAP, RELEVANCE
from bone_age_tf.tensors import Tensor

PATH_STEPS = 4


def cam(network: ExplainedNetwork, images: np.ndarray, sex: int) -> np.ndarray:
    """CAM (Zhou et al. 2016): each place's features times what they weigh for the age.

    The paper's network ends in global average pooling and one linear layer, whose weights these
    are: exact there. Ours have a hidden layer, the sex and a softmax behind the pooling, so that
    the weights are those at this image: the gradient of the age by the pooled features, and the map
    is its first-order form. `crm_months` is the exact one.
    """
    return _first_order(network, images, sex, None)


def hires_cam(network: ExplainedNetwork, images: np.ndarray, sex: int) -> np.ndarray:
    """HiResCAM (Draelos & Carin 2020, arXiv 2011.08891) of the age, at a map of stride 8."""
    return _first_order(network, images, sex, network.of_sex(sex).fine_layer)


def grad_cam_fine(network: ExplainedNetwork, images: np.ndarray, sex: int) -> np.ndarray:
    """Grad-CAM of the age at a map of stride 8, without its rectifier: the sign is kept."""
    one = network.of_sex(sex)

    def run(x: Tensor) -> Tensor:
        features, gradients = _features_and_gradients(one.with_map(one.fine_layer), x)
        mean = tf.reduce_mean(gradients, axis=(1, 2), keepdims=True)
        return tf.reduce_sum(mean * features, axis=-1)

    return one.run("grad_cam_fine", run, images)


def path_cam(network: ExplainedNetwork, images: np.ndarray, sex: int) -> np.ndarray:
    """HiResCAM with gradients averaged on the way from an empty map to this one.

    Integrated Gradients (Sundararajan et al. 2017) on the map of stride 8 instead of the pixels: it
    adds up to the age less that of an empty map, and sees what a gradient at one point does not,
    features that have done their work already.
    """
    one = network.of_sex(sex)
    steps = (np.arange(PATH_STEPS) + 0.5) / PATH_STEPS

    def run(x: Tensor) -> Tensor:
        model, behind = one.with_map(one.fine_layer), one.behind(one.fine_layer)
        features = tf.cast(model(x, training=False)[0], tf.float32)
        total = tf.zeros_like(features)
        for share in steps:
            with tf.GradientTape() as tape:
                point = share * features
                tape.watch(point)
                age = behind([point, x])
            total += tape.gradient(age, point)
        return tf.reduce_sum(total * features, axis=-1) / PATH_STEPS

    return one.run("path_cam", run, images)


def _first_order(
    network: ExplainedNetwork, images: np.ndarray, sex: int, layer: str | None
) -> np.ndarray:
    one = network.of_sex(sex)

    def run(x: Tensor) -> Tensor:  # what it builds is built once, while it is compiled
        features, gradients = _features_and_gradients(one.with_map(layer), x)
        return tf.reduce_sum(features * gradients, axis=-1)

    return one.run(f"first order {layer}", run, images)


def _features_and_gradients(model: Tensor, images: Tensor) -> tuple[Any, ...]:
    with tf.GradientTape() as tape:
        features, age = model(images, training=False)
    gradients = tape.gradient(age, features)
    return tf.cast(features, tf.float32), tf.cast(gradients, tf.float32)


def crm(network: ExplainedNetwork, images: np.ndarray, sex: int) -> np.ndarray:
    """Class-selective relevance mapping (Kim et al. 2019) on the age distribution, exact."""
    return _removal(network, images, sex)[1]


def crm_months(network: ExplainedNetwork, images: np.ndarray, sex: int) -> np.ndarray:
    """What the age loses when a place of the last map is removed, in months, exact."""
    return _removal(network, images, sex)[0]


def _removal(network: ExplainedNetwork, images: np.ndarray, sex: int) -> np.ndarray:
    def run(x: Tensor) -> Tensor:
        sexes = tf.fill([tf.shape(x)[0], 1], float(sex))
        found = network.removal({schema.IMAGE: x, schema.SEX: sexes}, training=False)
        return tf.stack([found[MONTHS_MAP], found[RELEVANCE]])

    return network.of_sex(sex).run("removal", run, images)


def enlarged(one: np.ndarray, size_px: int) -> np.ndarray:
    """Returns a map [h, w] as [size_px, size_px], bilinear between the centres of its places."""
    if one.shape == (size_px, size_px):
        return np.asarray(one, np.float32)
    return cv2.resize(np.asarray(one, np.float32), (size_px, size_px))


def smoothed(one: np.ndarray, sd_px: float) -> np.ndarray:
    """Returns a map [S, S] smoothed by a Gaussian."""
    return cv2.GaussianBlur(np.asarray(one, np.float32), (0, 0), sd_px)


def box_map(boxes: np.ndarray, weights: np.ndarray, size_px: int) -> np.ndarray:
    """Returns [size_px, size_px], in each pixel the weights of the boxes that hold its centre.

    Args:
        boxes: [K, 4], ymin, xmin, ymax, xmax as fractions.
        weights: [K].
        size_px: side of the map.
    """
    line = (np.arange(size_px) + 0.5) / size_px
    rows = (line >= boxes[:, 0:1]) & (line < boxes[:, 2:3])
    columns = (line >= boxes[:, 1:2]) & (line < boxes[:, 3:4])
    return np.einsum("k,ky,kx->yx", weights, rows, columns).astype(np.float32)
