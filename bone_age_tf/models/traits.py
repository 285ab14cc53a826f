"""What the rest of the package must know of a model beyond its network; its file declares it."""

import dataclasses
from collections.abc import Callable
from typing import Any

import keras

from bone_age_tf.settings import Config

Losses = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class ModelTraits:
    """Properties of a model. Every default suits a network with mean pooling before its head.

    A model's file that needs others has a function `traits(name)`.

    Attributes:
        imagenet: builds the backbone with ImageNet weights, as `keras.applications` do with
            `include_top` and `weights`; or the name of a module with `find_file()` and
            `load_imagenet()`; None where there are no published weights.
        explanations: names of the methods that `--mode=explain` shows by default; empty for the
            usual ones.
        own_maps: names of explanation methods that only this model has.
        training_outputs: names of outputs that only the loss uses; exports drop them.
        joined_layer: name of the layer in which other features join those of the image; empty
            where the features alone reach the head.
        pooled_map: from a model to the map [B, H, W, C] that is pooled to its features.
        without_place: from a model, that map and the features [B, C] to the features [B * H * W, C]
            without each place of the map.
        add_losses: adds losses and their weights, by output name, to those of the head; changes
            both in place.
        part_weights: from a config to the weights of the losses on part boxes, second view and
            distance; None where the model selects no parts.
    """

    imagenet: Callable[..., keras.Model] | str | None = None
    explanations: tuple[str, ...] = ()
    own_maps: tuple[str, ...] = ()
    training_outputs: tuple[str, ...] = ()
    joined_layer: str = ""
    pooled_map: Callable[[keras.Model], Any] | None = None
    without_place: Callable[[keras.Model, Any, Any], Any] | None = None
    add_losses: Callable[[Config, Losses, Losses], None] | None = None
    part_weights: Callable[[Config], tuple[float, float] | None] | None = None
