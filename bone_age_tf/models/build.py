"""Models by name."""

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
"""Of every model: what it knows of the image before the sex joins, [B, C]."""


def model_module(name: str) -> ModuleType:
    """Returns the module of a model: its `build_network` and `explained_layer`."""
    return importlib.import_module(MODELS[name])


def model_traits(name: str) -> ModelTraits:
    """Returns what a model's file declares about it, the defaults where it declares nothing."""
    if name not in MODELS:
        return ModelTraits()
    declared = getattr(model_module(name), "traits", None)
    return ModelTraits() if declared is None else declared(name)


def build_model(config: Config, size_px: int | None = None) -> keras.Model:
    """Builds the model that a config names.

    Args:
        config: a resolved config; `model` is the name.
        size_px: static side of the images; None for any size.

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
        path: of the file.

    Raises:
        ValueError, TypeError, OSError, KeyError: as Keras, which names what it cannot read.
    """
    for module in set(MODELS.values()):  # makes their layers known to Keras
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
        model: made by `build_model`; its weights are shared.
        interval: `knots_months`, `factors` and `least_half_width` of
            `answer_layers.ConformalInterval`, so that the 90 % interval holds; a model without an
            interval gets one. None leaves it.
        line_by_sex: offsets in months and slopes, of female and male, for a site's ages; None for
            none.
        known_features: weights of `answer_layers.Unfamiliarity`, in their order; None for none.

    Returns:
        The same inputs and outputs by name; of the outputs, age and interval are changed, and
        `schema.UNFAMILIARITY` may come to them.
    """
    outputs, sex = dict(model.output), model.input[schema.SEX]
    for name in model_traits(model.name).training_outputs:
        outputs.pop(name, None)
    limits = (schema.MIN_AGE_MONTHS, schema.MAX_AGE_MONTHS)
    months = outputs[schema.AGE_MONTHS]
    if interval is not None:
        own = outputs.get(schema.INTERVAL_90)
        if own is None:
            own = keras.layers.Concatenate(name="interval_of_none")([months, months])
        conformal = answer_layers.ConformalInterval(**interval, name="conformal_interval")
        outputs[schema.INTERVAL_90] = conformal([months, own, sex])
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
    """Builds the same flat graph with a constant sex and the weights of a trained model.

    For explanation tools that fail on two inputs and on nested models.

    Args:
        trained: made by `build_model` from the same config.
        config: the resolved config.
        size_px: side of the images.
        sex: 0 female, 1 male.
        output_layer: name of the layer of the head that answers.

    Returns:
        A model from `image` [B, size_px, size_px, 1] to that layer's output.
    """
    image = keras.Input((size_px, size_px, 1), name=schema.IMAGE, dtype="float32")
    constant = layers.ConstantSex(sex, name="constant_sex", dtype="float32")(image)
    outputs = model_module(config.model).build_network(image, constant, config)
    whole = keras.Model(image, outputs)
    layers.subsample_before_convolving(whole)
    answer = whole.get_layer(output_layer).output
    single = keras.Model(image, answer, name=config.model)
    for layer in single.layers:
        if layer.weights:
            layer.set_weights(trained.get_layer(layer.name).get_weights())
    return single
