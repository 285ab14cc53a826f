"""What would the network say without this place? Exact, without gradients, in the graph.

Class-selective relevance mapping (CRM; Kim et al. 2019, "Visual interpretation of convolutional
neural network predictions in classifying medical image modalities", Diagnostics 9(2):38) removes
one place of the last feature map at a time and adds up, over all output nodes, the squares of what
that changes. For the paper's network, global average pooling and one linear layer, the change has a
closed form and with one output node CRM is the square of CAM (Zhou et al. 2016). Our heads have a
hidden layer and the sex behind the pooling, so the head is run again for each place: it costs next
to nothing beside the convolutions, and is exact where a closed form would be of first order.

Ours: beside the squares on the age distribution the change of the age itself, with its sign and in
months: above 0 the place makes the hand look older, below 0 younger.
"""

from typing import Any

import keras
from keras import ops

from bone_age_tf import schema
from bone_age_tf.models.build import FEATURES_LAYER, model_traits
from bone_age_tf.tensors import Shape, Tensor, Tensors

MONTHS_MAP = "months_map"
"""[B, H, W], the age with a place less the age without it."""
RELEVANCE = "relevance"
"""[B, H, W], CRM on the age distribution; on a regression the square of `MONTHS_MAP`."""
WITHOUT_PLACE = "without_place"
"""Name of the layer that removes each place."""
_NOTHING = 0.02
"""Months; what a place changes below this can be mere rounding."""


def build_removal_model(model: keras.Model) -> keras.Model:
    """Builds a model of the same inputs with the answer and what each place did to it.

    Args:
        model: made by `build_model`, of a static image size; weights are shared.

    Returns:
        A model to a dict: the age, the distribution where there is one, `MONTHS_MAP` and
        `RELEVANCE` on the places of the map that is averaged to the features (of `attention_vgg`,
        of its second depth).
    """
    features = model.get_layer(FEATURES_LAYER).output
    places = pooled_map(model)
    again = RepeatedForPlaces(places.shape[1] * places.shape[2], name="for_each_place")
    beside = [model.input[schema.SEX]]
    joined = model_traits(model.name).joined_layer
    if joined:
        beside += [one for one in model.get_layer(joined).input if one is not features]
    inputs = [features, *beside]
    repeated = [_without_each_place(model, places, features), *map(again, beside)]
    wanted = {schema.AGE_MONTHS: model.output[schema.AGE_MONTHS]}
    if schema.DISTRIBUTION in model.output:
        wanted[schema.DISTRIBUTION] = model.output[schema.DISTRIBUTION]
    head = _head_of(inputs, wanted)
    changed = head(repeated)
    compare = RemovalMaps(places.shape[1], places.shape[2], name="removal_maps")
    names = list(wanted)
    months, relevance = compare([wanted[n] for n in names] + [changed[n] for n in names])
    return keras.Model(
        model.input, wanted | {MONTHS_MAP: months, RELEVANCE: relevance}, name="removal"
    )


def build_mapped_model(served: keras.Model) -> keras.Model:
    """Adds the output `schema.MAP` [B, H, W], 0 to 1, to a model that is to be exported.

    The map is the size of `MONTHS_MAP` as a share of its maximum, on its own places: whoever draws
    it enlarges it. Where no place changes anything it stays dark, and does not show rounding. It
    needs no gradient, so that LiteRT runs it too. `RELEVANCE` would need none either, but resembles
    that of a network which has learned nothing (benchmarks/explanations.py).

    Args:
        served: made by `build_served_model` from a model of a static image size. The map is of the
            network's own answer, before an interval or a site's calibration.
    """
    names = (schema.AGE_MONTHS, schema.DISTRIBUTION)
    own = {name: served.get_layer(name).output for name in names if _has_layer(served, name)}
    model = keras.Model(served.input, own, name=served.name)
    months = build_removal_model(model).output[MONTHS_MAP]
    outputs = dict(served.output) | {schema.MAP: ShareOfMaximum(name=schema.MAP)(months)}
    return keras.Model(served.input, outputs, name=served.name)


def pooled_map(model: keras.Model) -> Tensor:
    """Returns the map [B, H, W, C] that is pooled to the features."""
    declared = model_traits(model.name).pooled_map
    return model.get_layer(FEATURES_LAYER).input if declared is None else declared(model)


def _has_layer(model: keras.Model, name: str) -> bool:
    return any(layer.name == name for layer in model.layers)


def _head_of(inputs: list, wanted: dict) -> keras.Model:
    """Returns the layers from some tensors of a model to others.

    Keras gives what is an input of the model already, the sex, a second origin on the way; with it,
    the model itself could no longer be saved.
    """
    origins = [one._keras_history for one in inputs]
    head = keras.Model(inputs, wanted, name="head")
    for one, origin in zip(inputs, origins, strict=True):
        one._keras_history = origin
    return head


def _without_each_place(model: keras.Model, places: Tensor, features: Tensor) -> Tensor:
    """Returns the features [B * H * W, C] without each place of the pooled map."""
    declared = model_traits(model.name).without_place
    if declared is not None:
        return declared(model, places, features)
    return MeanWithoutPlace(name=WITHOUT_PLACE)([places, features])


class PlacesLayer(keras.layers.Layer):
    """Layers of float32 without weights."""

    def __init__(self, **kwargs: Any) -> None:
        kwargs.setdefault("dtype", "float32")
        super().__init__(**kwargs)


@keras.saving.register_keras_serializable("bone_age_tf")
class MeanWithoutPlace(PlacesLayer):
    """The mean over all places when one of them gives nothing."""

    def call(self, inputs: Tensors) -> Tensor:
        """Maps a map [B, H, W, C] and its mean [B, C] to [B * H * W, C]."""
        places, mean = inputs
        height, width, channels = places.shape[1:]
        flat = ops.reshape(places, (-1, height * width, channels))
        return ops.reshape(mean[:, None] - flat / (height * width), (-1, channels))

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return (None, input_shape[1][-1])


@keras.saving.register_keras_serializable("bone_age_tf")
class RepeatedForPlaces(PlacesLayer):
    """Each row as often as there are places.

    Args:
        count: of places.
    """

    def __init__(self, count: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.count = count

    def call(self, rows: Any) -> Tensor:
        """Maps [B, C] to [B * count, C]."""
        many = ops.broadcast_to(rows[:, None], (ops.shape(rows)[0], self.count, rows.shape[-1]))
        return ops.reshape(many, (-1, rows.shape[-1]))

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return (None, input_shape[-1])

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "count": self.count}


@keras.saving.register_keras_serializable("bone_age_tf")
class RemovalMaps(PlacesLayer):
    """What changed, on the places of a map.

    Args:
        height: of the map.
        width: of the map.
    """

    def __init__(self, height: Any, width: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.height, self.width = height, width

    def call(self, inputs: Tensors) -> Tensors:
        """Maps [age, distribution, ages without, distributions without] to [B, H, W] twice.

        The distributions are left out for a regression.
        """
        half = len(inputs) // 2
        count = self.height * self.width
        months = inputs[0] - ops.reshape(inputs[half], (-1, count))
        relevance = ops.square(months)
        if half == 2:
            without = ops.reshape(inputs[3], (-1, count, inputs[1].shape[-1]))
            relevance = ops.sum(ops.square(inputs[1][:, None] - without), axis=-1)
        shape = (-1, self.height, self.width)
        return ops.reshape(months, shape), ops.reshape(relevance, shape)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        shape = (input_shape[0][0], self.height, self.width)
        return shape, shape

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "height": self.height, "width": self.width}


@keras.saving.register_keras_serializable("bone_age_tf")
class ShareOfMaximum(PlacesLayer):
    """The size of each place as a share of the largest, or of `_NOTHING` where that is less."""

    def call(self, maps: Tensor) -> Tensor:
        """Maps [B, H, W] in months to the same, 0 to 1."""
        maps = ops.abs(maps)
        return maps / ops.maximum(ops.max(maps, axis=(1, 2), keepdims=True), _NOTHING)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return input_shape
