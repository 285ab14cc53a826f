"""What tf-explain computes, for every head.

Its SmoothGrad takes a categorical cross-entropy over the outputs, which is constant for a single
one: the age is therefore given as two classes, older and younger (`OneInputNetwork.older`). Its
Integrated Gradients start at a black image: in front of the percentile stretch every dimmed image
is the same one and the path says nothing, so it runs behind the stretch. What it draws for itself
loses the sign and the scale, so the steps in front of its drawing are called.

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
"""Of SmoothGrad: noisy copies an image, and the SD of their noise, of 255 (the paper's 10 to 20 %
blur out what is as small as a growth plate; this is 8 %)."""
PATH_STEPS = 16
PATCHES = 10
"""Occluding squares along a side."""
PATCH_GREY = 127.5
"""What tf-explain covers them with."""


def grad_cam(network: ExplainedNetwork, images: np.ndarray, sex: int) -> np.ndarray:
    """Grad-CAM (Selvaraju et al. 2017) for the most probable age bin; for older in a regression.

    Where nothing speaks for it, what speaks against it is shown, so that no map is empty.
    """
    one = network.of_sex(sex)
    run = functools.partial(_grad_cam, one)
    heats = np.stack([one.run("grad_cam", run, image[None]) for image in images])
    for_it = heats.max(axis=(1, 2), keepdims=True) > 0
    return np.maximum(np.where(for_it, heats, -heats), 0.0)


def _grad_cam(one: OneInputNetwork, image: Tensor) -> np.ndarray:
    with warnings.catch_warnings():
        # tf-explain wraps the list of inputs in another one, and Keras says so.
        warnings.filterwarnings("ignore", message="The structure of `inputs`")
        features, gradients = GradCAM.get_gradients_and_filters(
            one.best_logit, image, one.map_layer, 0, use_guided_grads=False
        )
    features, gradients = (tf.cast(maps, tf.float32) for maps in (features, gradients))
    return GradCAM.ponderate_output(features[0], gradients[0])


def occlusion(network: ExplainedNetwork, images: np.ndarray, sex: int) -> np.ndarray:
    """The age less the age when a square is black, square by square: months that it is worth.

    tf-explain's squares are grey, which on a film is brighter than soft tissue: they would add
    more than they hide. So it sees the image brighter by its grey, and the network as it is.
    """
    one = network.of_sex(sex)
    patch = max(1, round(network.size_px / PATCHES))
    quiet = _Quiet(one)
    whole = quiet.predict(images + PATCH_GREY)[:, OLDER]
    explainer = OcclusionSensitivity(batch_size=64)
    # tf-explain's map is 1 less the share of older.
    hidden = [
        1.0 - explainer.get_sensitivity_map(quiet, image + PATCH_GREY, OLDER, patch)
        for image in images
    ]
    return schema.MAX_AGE_MONTHS * (whole[:, None, None] - np.stack(hidden))


class _Quiet:
    """The model as tf-explain's occlusion asks it, without a progress bar a picture."""

    def __init__(self, one: OneInputNetwork):
        self._one = one

    def predict(self, images: Tensor, batch_size: int = 64) -> Tensor:
        parts = [images[start : start + batch_size] for start in range(0, len(images), batch_size)]
        ask = functools.partial(self._one.run, "shares", self._shares)
        return np.concatenate([ask(part) for part in parts])

    def _shares(self, images: Tensor) -> Tensor:
        return self._one.shares(images - PATCH_GREY, training=False)


def vanilla(network: ExplainedNetwork, images: np.ndarray, sex: int) -> np.ndarray:
    """The gradient of older: where a brighter pixel makes the hand look older."""
    gradients = VanillaGradients.compute_gradients(
        as_tensor(images), network.of_sex(sex).older, OLDER
    )
    return gradients.numpy()[..., 0]


def saliency(network: ExplainedNetwork, images: np.ndarray, sex: int) -> np.ndarray:
    """Saliency (Simonyan et al. 2013): the size of the same gradient, whatever its sign."""
    return np.abs(vanilla(network, images, sex))


def times_inputs(network: ExplainedNetwork, images: np.ndarray, sex: int) -> np.ndarray:
    """The gradient of the age times the image: of first order, what the brightness is worth."""
    gradients = GradientsInputs.compute_gradients(
        as_tensor(images), network.of_sex(sex).months, OLDER
    )
    return gradients.numpy()[..., 0]


def smoothgrad(network: ExplainedNetwork, images: np.ndarray, sex: int) -> np.ndarray:
    """SmoothGrad (Smilkov et al. 2017): the gradient, averaged over noisy copies of the image."""
    state = np.random.get_state()  # tf-explain draws from NumPy's global generator
    np.random.seed(0)
    try:
        noisy = SmoothGrad.generate_noisy_images(images, SAMPLES, NOISE)
    finally:
        np.random.set_state(state)
    parts = [noisy[start : start + SAMPLES] for start in range(0, len(noisy), SAMPLES)]
    shares = network.of_sex(sex).shares
    found = [
        SmoothGrad.get_averaged_gradients(as_tensor(part), shares, OLDER, SAMPLES) for part in parts
    ]
    return -np.concatenate(found)[..., 0]  # the loss of older falls where the hand looks older


def integrated(network: ExplainedNetwork, images: np.ndarray, sex: int) -> np.ndarray:
    """Integrated Gradients (Sundararajan et al. 2017) of the age, from black.

    tf-explain's gradients along the path times the image, which it leaves out: so the map adds up
    to the age less the age of a black image.
    """
    months = network.of_sex(sex).months
    found = []
    for image in images:
        path = IntegratedGradients.generate_interpolations(image[None], PATH_STEPS)
        gradients = IntegratedGradients.get_integrated_gradients(
            as_tensor(path), months, OLDER, PATH_STEPS
        )
        found.append((gradients.numpy() * image)[0, ..., 0])
    return np.stack(found)


def activations(network: ExplainedNetwork, images: np.ndarray, sex: int) -> np.ndarray:
    """The mean over the channels of the map that Grad-CAM looks at, without the answer."""
    one = network.of_sex(sex)
    if one.activations is None:
        one.activations = ExtractActivations.generate_activations_graph(one.months, [one.map_layer])
    graph = one.activations

    def run(x: Tensor) -> Tensor:
        return tf.reduce_mean(tf.abs(tf.cast(graph(x, training=False), tf.float32)), axis=-1)

    return one.run("activations", run, images)
