"""Computes the prediction without each place of the feature map, exactly and without gradients.

Class-selective relevance mapping (CRM; Kim et al. 2019, "Visual interpretation of convolutional
neural network predictions in classifying medical image modalities", Diagnostics 9(2):38) removes
one place of the last feature map at a time, and sums the squared changes over all output nodes. For
the paper's network with global average pooling and a linear layer, the change has a closed form,
and with one output node CRM is the square of CAM (Zhou et al. 2016). The heads of this project have
a hidden layer and the sex behind the pooling. The head is therefore run again for each place, which
is cheap compared with the convolutions and exact, whereas a closed form would be of first order.

In addition to the squared changes of the age distribution, the signed change of the age in months
is computed: with a value above 0 the place makes the hand look older, below 0 younger.
"""

from typing import Any

import keras
from keras import ops

from bone_age_tf import schema
from bone_age_tf.models.build import FEATURES_LAYER, model_traits
from bone_age_tf.tensors import Shape, Tensor, Tensors

MONTHS_MAP = "months_map"
"""Output [B, H, W], the age with a place minus the age without it, in months."""
RELEVANCE = "relevance"
"""Output [B, H, W], CRM of the age distribution; for a regression the square of `MONTHS_MAP`."""
WITHOUT_PLACE = "without_place"
"""Name of the layer that removes each place."""
_NOTHING = 0.02
"""Minimum significant change in months; smaller changes may be rounding errors."""


def build_removal_model(model: keras.Model) -> keras.Model:
    """Builds a model that also outputs the contribution of each place to the prediction.

    Args:
        model: a model that `build_model` built with a static image size; weights are shared.

    Returns:
        A model with the same inputs to a dict: the age, the distribution if there is one,
        `MONTHS_MAP` and `RELEVANCE` for the places of the map that is averaged to the features (for
        `attention_vgg`, of the second depth).
    """
    features = model.get_layer(FEATURES_LAYER).output
    places = pooled_map(model)
    again = RepeatedForPlaces(places.shape[1] * places.shape[2], name="for_each_place")
    beside = [model.input[schema.SEX]]
    beside_features = model_traits(model.name).beside_features
    if beside_features is not None:
        beside += beside_features(model)
    inputs = [features, *beside]
    repeated = [_without_each_place(model, places, features), *map(again, beside)]
    outputs = {schema.AGE_MONTHS: model.output[schema.AGE_MONTHS]}
    if schema.DISTRIBUTION in model.output:
        outputs[schema.DISTRIBUTION] = model.output[schema.DISTRIBUTION]
    head = _head_of(inputs, outputs)
    changed = head(repeated)
    compare = RemovalMaps(places.shape[1], places.shape[2], name="removal_maps")
    names = list(outputs)
    months, relevance = compare([outputs[n] for n in names] + [changed[n] for n in names])
    return keras.Model(
        model.input, outputs | {MONTHS_MAP: months, RELEVANCE: relevance}, name="removal"
    )


def build_mapped_model(served: keras.Model) -> keras.Model:
    """Adds the output `schema.MAP` [B, H, W], 0 to 1, to a model for export.

    The map is the absolute value of `MONTHS_MAP` as a share of its maximum, at the resolution of
    the feature map. If no place has a significant effect it is 0 everywhere. It needs no gradient,
    so that LiteRT can run it. `RELEVANCE` needs none either, but is similar for a network with
    random weights (benchmarks/explanations.py).

    Args:
        served: a model that `build_served_model` built from a model with a static image size. The
            map refers to the network's prediction before a site calibration.
    """
    names = (schema.AGE_MONTHS, schema.DISTRIBUTION)
    outputs_by_name = {
        name: served.get_layer(name).output for name in names if _has_layer(served, name)
    }
    model = keras.Model(served.input, outputs_by_name, name=served.name)
    months = build_removal_model(model).output[MONTHS_MAP]
    outputs = dict(served.output) | {schema.MAP: ShareOfMaximum(name=schema.MAP)(months)}
    return keras.Model(served.input, outputs, name=served.name)


def pooled_map(model: keras.Model) -> Tensor:
    """Returns the map [B, H, W, C] that is pooled to the features."""
    declared = model_traits(model.name).pooled_map
    return model.get_layer(FEATURES_LAYER).input if declared is None else declared(model)


def _has_layer(model: keras.Model, name: str) -> bool:
    return any(layer.name == name for layer in model.layers)


def _head_of(inputs: list, outputs: dict) -> keras.Model:
    """Returns a model from some tensors of a model to others.

    Keras assigns a new origin to tensors that already are inputs, such as the sex, after which the
    original model could not be saved. The original origins are therefore restored.
    """
    origins = [tensor._keras_history for tensor in inputs]
    head = keras.Model(inputs, outputs, name="head")
    for tensor, origin in zip(inputs, origins, strict=True):
        tensor._keras_history = origin
    return head


def _without_each_place(model: keras.Model, places: Tensor, features: Tensor) -> Tensor:
    """Returns the features [B * H * W, C] without each place of the pooled map."""
    declared = model_traits(model.name).without_place
    if declared is not None:
        return declared(model, places, features)
    return MeanWithoutPlace(name=WITHOUT_PLACE)([places, features])


class PlacesLayer(keras.layers.Layer):
    """Base class of float32 layers without weights."""

    def __init__(self, **kwargs: Any) -> None:
        kwargs.setdefault("dtype", "float32")
        super().__init__(**kwargs)


@keras.saving.register_keras_serializable("bone_age_tf")
class MeanWithoutPlace(PlacesLayer):
    """The mean over all places without the contribution of one of them."""

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
    """Repeats each row for every place.

    Args:
        count: number of places.
    """

    def __init__(self, count: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.count = count

    def call(self, rows: Any) -> Tensor:
        """Maps [B, ...] to [B * count, ...]."""
        shape = rows.shape[1:]
        many = ops.broadcast_to(rows[:, None], (ops.shape(rows)[0], self.count, *shape))
        return ops.reshape(many, (-1, *shape))

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return (None, *input_shape[1:])

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "count": self.count}


@keras.saving.register_keras_serializable("bone_age_tf")
class RemovalMaps(PlacesLayer):
    """Computes the changes at each place of a map.

    Args:
        height: height of the map.
        width: width of the map.
    """

    def __init__(self, height: Any, width: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.height, self.width = height, width

    def call(self, inputs: Tensors) -> Tensors:
        """Maps [age, distribution, ages without, distributions without] to two maps [B, H, W].

        For a regression there are no distributions.
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
    """The absolute value of each place as a share of the largest, which is at least `_NOTHING`."""

    def call(self, maps: Tensor) -> Tensor:
        """Maps a map [B, H, W] in months to shares, 0 to 1."""
        maps = ops.abs(maps)
        return maps / ops.maximum(ops.max(maps, axis=(1, 2), keepdims=True), _NOTHING)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return input_shape
