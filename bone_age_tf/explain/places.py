"""Explanation maps by place of a feature map: contributions in months, or relevance.

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
"""Number of steps along the path of `path_cam`."""


def cam(network: ExplainedNetwork, images: np.ndarray, sex: int) -> np.ndarray:
    """Computes CAM (Zhou et al. 2016): the features of each place times their weights for the age.

    The paper's network ends in global average pooling and a linear layer, for which CAM is exact.
    This project's networks have a hidden layer, the sex and a softmax behind the pooling. The
    weights are therefore the gradient of the age with respect to the pooled features of the image,
    and the map is a first-order approximation; `crm_months` is exact.
    """
    return _first_order(network, images, sex, None)


def hires_cam(network: ExplainedNetwork, images: np.ndarray, sex: int) -> np.ndarray:
    """Computes HiResCAM (Draelos & Carin 2020, arXiv 2011.08891) of the age at stride 8."""
    return _first_order(network, images, sex, network.of_sex(sex).fine_layer)


def grad_cam_fine(network: ExplainedNetwork, images: np.ndarray, sex: int) -> np.ndarray:
    """Computes Grad-CAM of the age at stride 8, without the rectifier, so with its sign."""
    model = network.of_sex(sex)

    def run(x: Tensor) -> Tensor:
        features, gradients = _features_and_gradients(model.with_map(model.fine_layer), x)
        mean = tf.reduce_mean(gradients, axis=(1, 2), keepdims=True)
        return tf.reduce_sum(mean * features, axis=-1)

    return model.run("grad_cam_fine", run, images)


def path_cam(network: ExplainedNetwork, images: np.ndarray, sex: int) -> np.ndarray:
    """Computes HiResCAM with gradients averaged along the path from an empty map.

    This is Integrated Gradients (Sundararajan et al. 2017) on the map of stride 8 instead of the
    pixels. It adds up to the age minus the age of an empty map. Unlike the gradient at one point,
    it includes features whose effect is saturated.
    """
    model = network.of_sex(sex)
    steps = (np.arange(PATH_STEPS) + 0.5) / PATH_STEPS

    def run(x: Tensor) -> Tensor:
        to_map, behind = model.with_map(model.fine_layer), model.behind(model.fine_layer)
        features = tf.cast(to_map(x, training=False)[0], tf.float32)
        total = tf.zeros_like(features)
        for share in steps:
            with tf.GradientTape() as tape:
                point = share * features
                tape.watch(point)
                age = behind([point, x])
            total += tape.gradient(age, point)
        return tf.reduce_sum(total * features, axis=-1) / PATH_STEPS

    return model.run("path_cam", run, images)


def _first_order(
    network: ExplainedNetwork, images: np.ndarray, sex: int, layer: str | None
) -> np.ndarray:
    model = network.of_sex(sex)

    def run(x: Tensor) -> Tensor:  # the model is built only once, while the function is traced
        features, gradients = _features_and_gradients(model.with_map(layer), x)
        return tf.reduce_sum(features * gradients, axis=-1)

    return model.run(f"first order {layer}", run, images)


def _features_and_gradients(model: Tensor, images: Tensor) -> tuple[Any, ...]:
    with tf.GradientTape() as tape:
        features, age = model(images, training=False)
    gradients = tape.gradient(age, features)
    return tf.cast(features, tf.float32), tf.cast(gradients, tf.float32)


def crm(network: ExplainedNetwork, images: np.ndarray, sex: int) -> np.ndarray:
    """Computes class-selective relevance mapping (Kim et al. 2019) of the age distribution."""
    return _removal(network, images, sex)[1]


def crm_months(network: ExplainedNetwork, images: np.ndarray, sex: int) -> np.ndarray:
    """Computes the decrease of the age in months when a place of the last map is removed."""
    return _removal(network, images, sex)[0]


def _removal(network: ExplainedNetwork, images: np.ndarray, sex: int) -> np.ndarray:
    def run(x: Tensor) -> Tensor:
        sexes = tf.fill([tf.shape(x)[0], 1], float(sex))
        outputs = network.removal({schema.IMAGE: x, schema.SEX: sexes}, training=False)
        return tf.stack([outputs[MONTHS_MAP], outputs[RELEVANCE]])

    return network.of_sex(sex).run("removal", run, images)


def enlarged(values: np.ndarray, size_px: int) -> np.ndarray:
    """Enlarges a map [h, w] to [size_px, size_px], bilinear between the centres of its places."""
    if values.shape == (size_px, size_px):
        return np.asarray(values, np.float32)
    return cv2.resize(np.asarray(values, np.float32), (size_px, size_px))


def smoothed(values: np.ndarray, sd_px: float) -> np.ndarray:
    """Smooths a map [S, S] with a Gaussian."""
    return cv2.GaussianBlur(np.asarray(values, np.float32), (0, 0), sd_px)


def box_map(boxes: np.ndarray, weights: np.ndarray, size_px: int) -> np.ndarray:
    """Returns a map [size_px, size_px] with the sum of the weights of the boxes at each pixel.

    Args:
        boxes: [K, 4], ymin, xmin, ymax, xmax as fractions.
        weights: [K] weight of each box.
        size_px: side of the map in pixels.
    """
    line = (np.arange(size_px) + 0.5) / size_px
    rows = (line >= boxes[:, 0:1]) & (line < boxes[:, 2:3])
    columns = (line >= boxes[:, 1:2]) & (line < boxes[:, 3:4])
    return np.einsum("k,ky,kx->yx", weights, rows, columns).astype(np.float32)
