"""Every way to explain an age, behind one literal table.

A map says of each pixel how much it has to do with the answer. Signed maps are in months where the
method has such a unit: above 0 what is there makes the hand look older, below 0 younger. What is
tf-explain's is computed by tf-explain; what it cannot do, for one output or behind a percentile
stretch, is arranged around it in `network`.
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
"""From a network, stretched images [B, S, S, 1], 0 to 255, and a sex to maps [B, h, w]."""


@dataclasses.dataclass(frozen=True)
class Method:
    """A way to explain.

    Attributes:
        title: as people read it.
        maps_fn: computes the maps.
        signed: whether the sign says older or younger.
        unit: of the values: `months`, or empty for shares of the map's maximum.
        fine: whether there is a value for every pixel; such maps are smoothed, since single pixels
            say nothing.
        own: whether only models whose file declares it have it, see `ModelTraits.own_maps`.
    """

    title: str
    maps_fn: MapsFn
    signed: bool = False
    unit: str = ""
    fine: bool = False
    own: bool = False


METHODS: Final = {
    # Of tf-explain
    "grad_cam": Method("Grad-CAM", gradients.grad_cam),
    "occlusion": Method("Occlusion sensitivity", gradients.occlusion, True, "months"),
    "vanilla_gradients": Method("Vanilla gradients", gradients.vanilla, True, fine=True),
    "gradients_inputs": Method("Gradients × inputs", gradients.times_inputs, True, "months", True),
    "smoothgrad": Method("SmoothGrad", gradients.smoothgrad, True, fine=True),
    "integrated_gradients": Method(
        "Integrated Gradients", gradients.integrated, True, "months", True
    ),
    "activations": Method("Activations", gradients.activations),
    # Of the review
    "saliency": Method("Saliency", gradients.saliency, fine=True),
    "cam": Method("CAM", places.cam, True, "months"),
    "crm": Method("CRM", places.crm),
    "crm_months": Method("Removal (signed CRM)", places.crm_months, True, "months"),
    # On the expected age, at a map as fine as a bone
    "grad_cam_fine": Method("Grad-CAM, fine", places.grad_cam_fine, True, "months"),
    "hires_cam": Method("HiResCAM, fine", places.hires_cam, True, "months"),
    "path_cam": Method("Path CAM, fine", places.path_cam, True, "months"),
    # What the networks themselves say
    "attention": Method("Attention", own_maps.attention, own=True),
    "relation": Method("Relation map", own_maps.relation, own=True),
    "parts": Method("Parts by score", own_maps.parts, own=True),
}
"""By name, as `--methods` takes them."""

SMOOTHED: Final = 0.02
"""SD of the Gaussian that smooths a fine map, in parts of the image's side: two pixels of 100, less
than half a finger's joint."""


def available(network: ExplainedNetwork) -> list[str]:
    """Returns the names of the methods that a network has."""
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
        network: what is explained.
        images: [B, S, S, 1] float32, plain pixels of 0 to 255.
        sexes: [B] codes.

    Returns:
        [B, S, S] float32, in the method's unit; without one, the largest absolute value is 1.
    """
    method, size_px = METHODS[name], network.size_px
    stretched = network.stretched(images)
    found = np.zeros((len(images), size_px, size_px), np.float32)
    # One at a time: a batch of another size would be compiled anew, which takes seconds.
    for place, sex in enumerate(sexes):
        (one,) = method.maps_fn(network, stretched[place : place + 1], int(sex))
        found[place] = places.enlarged(one, size_px)
    if method.fine:
        found = np.stack([places.smoothed(one, SMOOTHED * size_px) for one in found])
    if not method.unit:
        largest = np.abs(found).max(axis=(1, 2), keepdims=True)
        found = found / np.maximum(largest, 1e-20)
    return found


def importance(name: str, maps: np.ndarray) -> np.ndarray:
    """Returns how much each place matters, 0 or more, whatever it speaks for."""
    return np.abs(maps) if METHODS[name].signed else np.maximum(maps, 0.0)
