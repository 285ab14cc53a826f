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
        beside_features: function from a model to the tensors that the head takes besides the
            image's features and the sex; None if there are no others.
        pooled_map: function from a model to the map [B, H, W, C] that is pooled to its features.
        without_place: function from a model, that map and the features [B, C] to the features
            [B * H * W, C] without each place of the map.
        add_losses: function that adds losses and weights by output name to those of the head, in
            place.
        part_weights: function from a config to the weights of the losses on part boxes (second view
            and distance); None if the model selects no parts.
        source_layer: function from the name of a layer to that of the layer of another model with
            whose weights it may begin.
        load_frozen: function that loads the weights of what is never trained.
    """

    imagenet: Callable[..., keras.Model] | str | None = None
    explanations: tuple[str, ...] = ()
    own_maps: tuple[str, ...] = ()
    training_outputs: tuple[str, ...] = ()
    beside_features: Callable[[keras.Model], list] | None = None
    pooled_map: Callable[[keras.Model], Any] | None = None
    without_place: Callable[[keras.Model, Any, Any], Any] | None = None
    add_losses: Callable[[Config, Losses, Losses], None] | None = None
    part_weights: Callable[[Config], tuple[float, float] | None] | None = None
    source_layer: Callable[[str], str] | None = None
    load_frozen: Callable[[keras.Model], None] | None = None
