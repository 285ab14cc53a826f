"""Explanation maps of tf-explain, for every head.

tf-explain's SmoothGrad uses a categorical cross-entropy over the outputs, which is constant for a
single output. The age is therefore represented as two classes, older and younger
(`OneInputNetwork.older`). Its Integrated Gradients start at a black image. Since the percentile
stretch maps all dimmed copies of an image to the same image, the path runs behind the stretch.
tf-explain's own drawings lose the sign and the scale, so the computations before them are called.

Each function takes a network, stretched images [B, S, S, 1], 0 to 255, and a sex, and returns maps
[B, h, w].
"""

import functools
import warnings

import numpy as np
import tensorflow as tf
from tf_explain.core.activations import ExtractActivations
from tf_explain.core.grad_cam import GradCAM
from tf_explain.core.gradients_inputs import GradientsInputs
from tf_explain.core.integrated_gradients import IntegratedGradients
from tf_explain.core.occlusion_sensitivity import OcclusionSensitivity
from tf_explain.core.smoothgrad import SmoothGrad
from tf_explain.core.vanilla_gradients import VanillaGradients

from bone_age_tf import schema
from bone_age_tf.explain.network import ExplainedNetwork, OneInputNetwork, as_tensor
from bone_age_tf.tensors import Tensor

OLDER = 0
SAMPLES, NOISE = 8, 20.0
"""Number of noisy copies in SmoothGrad and SD of their noise in grey levels (of 255). This is 8 %;
the paper's 10 to 20 % blur structures as small as a growth plate."""
PATH_STEPS = 16
"""Number of steps of Integrated Gradients."""
PATCHES = 10
"""Number of occluding squares along a side."""
PATCH_GREY = 127.5
"""Grey level with which tf-explain fills the squares."""


def grad_cam(network: ExplainedNetwork, images: np.ndarray, sex: int) -> np.ndarray:
    """Computes Grad-CAM (Selvaraju et al. 2017) for the most probable age bin.

    For a regression the class is "older". If no place has a positive contribution, negative
    contributions are shown instead, so that no map is empty.
    """
    model = network.of_sex(sex)
    run = functools.partial(_grad_cam, model)
    heats = np.stack([model.run("grad_cam", run, image[None]) for image in images])
    is_positive = heats.max(axis=(1, 2), keepdims=True) > 0
    return np.maximum(np.where(is_positive, heats, -heats), 0.0)


def _grad_cam(model: OneInputNetwork, image: Tensor) -> np.ndarray:
    with warnings.catch_warnings():
        # tf-explain wraps the list of inputs in another list, about which Keras warns.
        warnings.filterwarnings("ignore", message="The structure of `inputs`")
        features, gradients = GradCAM.get_gradients_and_filters(
            model.best_logit, image, model.map_layer, 0, use_guided_grads=False
        )
    features, gradients = (tf.cast(maps, tf.float32) for maps in (features, gradients))
    return GradCAM.ponderate_output(features[0], gradients[0])


def occlusion(network: ExplainedNetwork, images: np.ndarray, sex: int) -> np.ndarray:
    """Computes the decrease of the age in months when each square of the image is black.

    tf-explain's squares are grey, which is brighter than soft tissue on a radiograph, so that they
    would add structure. The grey is therefore added to the images that tf-explain receives, and
    subtracted again before the network.
    """
    model = network.of_sex(sex)
    patch = max(1, round(network.size_px / PATCHES))
    quiet = _Quiet(model)
    whole = quiet.predict(images + PATCH_GREY)[:, OLDER]
    explainer = OcclusionSensitivity(batch_size=64)
    # tf-explain's map is 1 minus the share of the class "older".
    hidden = [
        1.0 - explainer.get_sensitivity_map(quiet, image + PATCH_GREY, OLDER, patch)
        for image in images
    ]
    return schema.MAX_AGE_MONTHS * (whole[:, None, None] - np.stack(hidden))


class _Quiet:
    """The model in the form that tf-explain's occlusion calls, without progress bars."""

    def __init__(self, model: OneInputNetwork):
        self._model = model

    def predict(self, images: Tensor, batch_size: int = 64) -> Tensor:
        parts = [images[start : start + batch_size] for start in range(0, len(images), batch_size)]
        predict = functools.partial(self._model.run, "shares", self._shares)
        return np.concatenate([predict(part) for part in parts])

    def _shares(self, images: Tensor) -> Tensor:
        return self._model.shares(images - PATCH_GREY, training=False)


def vanilla(network: ExplainedNetwork, images: np.ndarray, sex: int) -> np.ndarray:
    """Computes the gradient of the class "older" with respect to the pixels."""
    gradients = VanillaGradients.compute_gradients(
        as_tensor(images), network.of_sex(sex).older, OLDER
    )
    return gradients.numpy()[..., 0]


def saliency(network: ExplainedNetwork, images: np.ndarray, sex: int) -> np.ndarray:
    """Computes saliency (Simonyan et al. 2013), the absolute value of the gradient."""
    return np.abs(vanilla(network, images, sex))


def times_inputs(network: ExplainedNetwork, images: np.ndarray, sex: int) -> np.ndarray:
    """Computes the gradient of the age times the image, a first-order contribution in months."""
    gradients = GradientsInputs.compute_gradients(
        as_tensor(images), network.of_sex(sex).months, OLDER
    )
    return gradients.numpy()[..., 0]


def smoothgrad(network: ExplainedNetwork, images: np.ndarray, sex: int) -> np.ndarray:
    """Computes SmoothGrad (Smilkov et al. 2017), the mean gradient over noisy copies."""
    state = np.random.get_state()  # tf-explain draws from NumPy's global generator
    np.random.seed(0)
    try:
        noisy = SmoothGrad.generate_noisy_images(images, SAMPLES, NOISE)
    finally:
        np.random.set_state(state)
    parts = [noisy[start : start + SAMPLES] for start in range(0, len(noisy), SAMPLES)]
    shares = network.of_sex(sex).shares
    maps = [
        SmoothGrad.get_averaged_gradients(as_tensor(part), shares, OLDER, SAMPLES) for part in parts
    ]
    return -np.concatenate(maps)[..., 0]  # the sign of the loss is opposite to that of the age


def integrated(network: ExplainedNetwork, images: np.ndarray, sex: int) -> np.ndarray:
    """Computes Integrated Gradients (Sundararajan et al. 2017) of the age from a black image.

    The gradients are tf-explain's; they are multiplied by the image, which tf-explain omits, so
    that the map adds up to the age minus the age of a black image.
    """
    months = network.of_sex(sex).months
    maps = []
    for image in images:
        path = IntegratedGradients.generate_interpolations(image[None], PATH_STEPS)
        gradients = IntegratedGradients.get_integrated_gradients(
            as_tensor(path), months, OLDER, PATH_STEPS
        )
        maps.append((gradients.numpy() * image)[0, ..., 0])
    return np.stack(maps)


def activations(network: ExplainedNetwork, images: np.ndarray, sex: int) -> np.ndarray:
    """Computes the mean over channels of the feature map of Grad-CAM, without the prediction."""
    model = network.of_sex(sex)
    if model.activations is None:
        model.activations = ExtractActivations.generate_activations_graph(
            model.months, [model.map_layer]
        )
    graph = model.activations

    def run(x: Tensor) -> Tensor:
        return tf.reduce_mean(tf.abs(tf.cast(graph(x, training=False), tf.float32)), axis=-1)

    return model.run("activations", run, images)
