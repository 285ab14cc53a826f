"""Properties of a model that other parts of the package need; declared in the model's file."""

import dataclasses
from collections.abc import Callable
from typing import Any

import keras

from bone_age_tf.settings import Config

Losses = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class ModelTraits:
    """Properties of a model. The defaults are those of a network with mean pooling before its head.

    The file of a model with other properties has a function `traits(name)`.

    Attributes:
        imagenet: builds the backbone with ImageNet weights, as `keras.applications` do with
            `include_top` and `weights`; or the name of a module with `find_file()` and
            `load_imagenet()`; None where there are no published weights.
        explanations: names of the methods that `--mode=explain` shows by default; empty for the
            default methods.
        own_maps: names of explanation methods that only this model has.
        training_outputs: names of outputs that only the loss uses; exports drop them.
        joined_layer: name of the layer that concatenates the image's features with others; empty
            if there are no others.
        pooled_map: function from a model to the map [B, H, W, C] that is pooled to its features.
        without_place: function from a model, that map and the features [B, C] to the features
            [B * H * W, C] without each place of the map.
        add_losses: function that adds losses and weights by output name to those of the head, in
            place.
        part_weights: function from a config to the weights of the losses on part boxes (second view
            and distance); None if the model selects no parts.
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
