"""Builds models by name."""

import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType

import keras
import numpy as np

from bone_age_tf import schema
from bone_age_tf.models import answer_layers, layers
from bone_age_tf.models.catalog import MODELS
from bone_age_tf.models.traits import ModelTraits
from bone_age_tf.settings import Config

FEATURES_LAYER = "image_features"
"""Name of the layer with the features of the image before the sex encoding, [B, C]."""


def model_module(name: str) -> ModuleType:
    """Returns the module of a model: its `build_network` and `explained_layer`."""
    return importlib.import_module(MODELS[name])


def model_traits(name: str) -> ModelTraits:
    """Returns the traits that a model's file declares, or the defaults."""
    if name not in MODELS:
        return ModelTraits()
    declared = getattr(model_module(name), "traits", None)
    return ModelTraits() if declared is None else declared(name)


def build_model(config: Config, size_px: int | None = None) -> keras.Model:
    """Builds the model that a config names.

    Args:
        config: a resolved config, with the name in `model`.
        size_px: static side of the images in pixels; None for any size.

    Returns:
        A functional model from `image` [B, H, W, 1], 0 to 255, and `sex` [B, 1] to the outputs of
        its head, a dict by name.
    """
    image = keras.Input((size_px, size_px, 1), name=schema.IMAGE, dtype="float32")
    sex = keras.Input((1,), name=schema.SEX, dtype="float32")
    outputs = model_module(config.model).build_network(image, sex, config)
    model = keras.Model({schema.IMAGE: image, schema.SEX: sex}, outputs, name=config.model)
    layers.subsample_before_convolving(model)
    return model


def load_network(path: Path) -> keras.Model:
    """Loads a `.keras` file of any model of this project.

    Args:
        path: path of the file.

    Raises:
        ValueError, TypeError, OSError, KeyError: Keras cannot read the file.
    """
    for module in set(MODELS.values()):  # registers their layers with Keras
        importlib.import_module(module)
    return keras.saving.load_model(path, compile=False)


def build_served_model(
    model: keras.Model,
    interval: Mapping | None = None,
    line_by_sex: tuple[Sequence[float], Sequence[float]] | None = None,
    known_features: Sequence | None = None,
) -> keras.Model:
    """Adds interval, calibration and familiarity layers to a trained model.

    Args:
        model: a model that `build_model` built; its weights are shared.
        interval: `knots_months`, `factors` and `least_half_width` of
            `answer_layers.ConformalInterval`, which calibrates the 90 % interval and adds one to a
            model without an interval. None keeps the model's interval.
        line_by_sex: offsets in months and slopes of a site calibration, for female and male; None
            for no calibration.
        known_features: weights of `answer_layers.Unfamiliarity` in their order; None for no
            distance.

    Returns:
        A model with the same inputs and outputs by name. Age and interval are changed, and
        `schema.UNFAMILIARITY` may be added.
    """
    outputs, sex = dict(model.output), model.input[schema.SEX]
    for name in model_traits(model.name).training_outputs:
        outputs.pop(name, None)
    limits = (schema.MIN_AGE_MONTHS, schema.MAX_AGE_MONTHS)
    months = outputs[schema.AGE_MONTHS]
    if interval is not None:
        network_interval = outputs.get(schema.INTERVAL_90)
        if network_interval is None:
            network_interval = keras.layers.Concatenate(name="interval_of_none")([months, months])
        conformal = answer_layers.ConformalInterval(**interval, name="conformal_interval")
        outputs[schema.INTERVAL_90] = conformal([months, network_interval, sex])
    if line_by_sex is not None:
        for name in (schema.AGE_MONTHS, schema.INTERVAL_90):
            if name in outputs:
                line = answer_layers.LineBySex(*line_by_sex, limits, name=f"site_{name}")
                outputs[name] = line([outputs[name], sex])
    if known_features is not None:
        count = len(known_features[2])
        layer = answer_layers.Unfamiliarity(count, name=schema.UNFAMILIARITY)
        outputs[schema.UNFAMILIARITY] = layer(model.get_layer(FEATURES_LAYER).output)
        layer.set_weights([np.asarray(values, np.float32) for values in known_features])
    return keras.Model(model.input, outputs, name=model.name)


def build_features_model(model: keras.Model) -> keras.Model:
    """Returns a model with the same inputs whose output is the image's features [B, C]."""
    return keras.Model(model.input, model.get_layer(FEATURES_LAYER).output, name="features")


def build_single_input_model(
    trained: keras.Model,
    config: Config,
    size_px: int,
    sex: int,
    output_layer: str = "age_months",
) -> keras.Model:
    """Builds a model with a constant sex and the weights of a trained model, as one flat graph.

    It is needed for explanation tools that fail on two inputs and on nested models.

    Args:
        trained: a trained model that `build_model` built from the same config.
        config: the resolved config.
        size_px: side of the images in pixels.
        sex: 0 female, 1 male.
        output_layer: name of the layer of the head whose output is returned.

    Returns:
        A model from `image` [B, size_px, size_px, 1] to that layer's output.
    """
    image = keras.Input((size_px, size_px, 1), name=schema.IMAGE, dtype="float32")
    constant = layers.ConstantSex(sex, name="constant_sex", dtype="float32")(image)
    outputs = model_module(config.model).build_network(image, constant, config)
    whole = keras.Model(image, outputs)
    layers.subsample_before_convolving(whole)
    output = whole.get_layer(output_layer).output
    single = keras.Model(image, output, name=config.model)
    for layer in single.layers:
        if layer.weights:
            layer.set_weights(trained.get_layer(layer.name).get_weights())
    return single
