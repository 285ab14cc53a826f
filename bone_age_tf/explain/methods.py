"""The table of all explanation methods.

A map gives the influence of each pixel on the prediction. Signed maps are in months if the method
has this unit: with a value above 0 the pixel makes the hand look older, below 0 younger. Methods of
tf-explain are computed by tf-explain; `network` adapts the model to it (a single output, and the
image behind the percentile stretch).
"""

import dataclasses
from collections.abc import Callable
from typing import Final

import numpy as np

from bone_age_tf import schema
from bone_age_tf.explain import gradients, own_maps, places
from bone_age_tf.explain.network import ExplainedNetwork
from bone_age_tf.models.build import model_traits

MapsFn = Callable[[ExplainedNetwork, np.ndarray, int], np.ndarray]
"""Maps a network, stretched images [B, S, S, 1], 0 to 255, and a sex to maps [B, h, w]."""


@dataclasses.dataclass(frozen=True)
class Method:
    """An explanation method.

    Attributes:
        title: title in pictures and on pages.
        maps_fn: function that computes the maps.
        signed: whether the sign distinguishes older and younger.
        unit: unit of the values: `months`, or empty for shares of the map's maximum.
        fine: whether there is a value for every pixel; such maps are smoothed, since the values of
            single pixels are noisy.
        own: whether the method exists only for models that declare it in `ModelTraits.own_maps`.
    """

    title: str
    maps_fn: MapsFn
    signed: bool = False
    unit: str = ""
    fine: bool = False
    own: bool = False


METHODS: Final = {
    # Methods of tf-explain
    "grad_cam": Method("Grad-CAM", gradients.grad_cam),
    "occlusion": Method("Occlusion sensitivity", gradients.occlusion, True, "months"),
    "vanilla_gradients": Method("Vanilla gradients", gradients.vanilla, True, fine=True),
    "gradients_inputs": Method("Gradients × inputs", gradients.times_inputs, True, "months", True),
    "smoothgrad": Method("SmoothGrad", gradients.smoothgrad, True, fine=True),
    "integrated_gradients": Method(
        "Integrated Gradients", gradients.integrated, True, "months", True
    ),
    "activations": Method("Activations", gradients.activations),
    # Class activation maps and relevance mapping
    "saliency": Method("Saliency", gradients.saliency, fine=True),
    "cam": Method("CAM", places.cam, True, "months"),
    "crm": Method("CRM", places.crm),
    "crm_months": Method("Removal (signed CRM)", places.crm_months, True, "months"),
    # Class activation maps of the expected age on a map of stride 8
    "grad_cam_fine": Method("Grad-CAM, fine", places.grad_cam_fine, True, "months"),
    "hires_cam": Method("HiResCAM, fine", places.hires_cam, True, "months"),
    "path_cam": Method("Path CAM, fine", places.path_cam, True, "months"),
    # Maps that are outputs of the networks
    "attention": Method("Attention", own_maps.attention, own=True),
    "relation": Method("Relation map", own_maps.relation, own=True),
    "parts": Method("Parts by score", own_maps.parts, own=True),
    "regions": Method("Regions by weight", own_maps.regions, own=True),
}
"""Methods by the name used in `--methods`."""

SMOOTHED: Final = 0.02
"""SD of the Gaussian that smooths a fine map, as a fraction of the image's side: two pixels of 100,
less than half the width of a finger joint."""


def available(network: ExplainedNetwork) -> list[str]:
    """Returns the names of the methods that are available for a network."""
    own = model_traits(network.config.model).own_maps
    outputs = network.whole.output
    return [
        name
        for name, method in METHODS.items()
        if (name in own or not method.own)
        and own_maps.NEEDED.get(name, schema.AGE_MONTHS) in outputs
    ]


def make_maps(
    name: str, network: ExplainedNetwork, images: np.ndarray, sexes: np.ndarray
) -> np.ndarray:
    """Explains images by one method.

    Args:
        name: a key of `METHODS`.
        network: the network that is explained.
        images: [B, S, S, 1] float32, pixels before the stretch, 0 to 255.
        sexes: [B] codes of `schema.SEX_NAMES`.

    Returns:
        [B, S, S] float32 in the method's unit; without a unit the largest absolute value is 1.
    """
    method, size_px = METHODS[name], network.size_px
    stretched = network.stretched(images)
    maps = np.zeros((len(images), size_px, size_px), np.float32)
    # Images are explained one by one: another batch size would be compiled again, taking seconds.
    for place, sex in enumerate(sexes):
        (coarse,) = method.maps_fn(network, stretched[place : place + 1], int(sex))
        maps[place] = places.enlarged(coarse, size_px)
    if method.fine:
        maps = np.stack([places.smoothed(values, SMOOTHED * size_px) for values in maps])
    if not method.unit:
        largest = np.abs(maps).max(axis=(1, 2), keepdims=True)
        maps = maps / np.maximum(largest, 1e-20)
    return maps


def importance(name: str, maps: np.ndarray) -> np.ndarray:
    """Returns the absolute influence of each place; for unsigned maps the positive part."""
    return np.abs(maps) if METHODS[name].signed else np.maximum(maps, 0.0)
