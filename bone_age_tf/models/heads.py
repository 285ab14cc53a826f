"""Heads: predict a bone age in months from image features and sex."""

import keras

from bone_age_tf import schema
from bone_age_tf.errors import ConfigError, require_known
from bone_age_tf.models import answer_layers
from bone_age_tf.settings import Config
from bone_age_tf.tensors import Tensor

HEADS = ("distribution", "classification", "regression")
SEX_MODES = ("concat", "modulate", "off")


def build_head(features: Tensor, sex: Tensor, config: Config, prefix: str = "") -> dict:
    """Combines the image features with the sex and predicts the age.

    `distribution` and `classification` predict a probability for each age bin, and output the
    expected age and the 5 % and 95 % quantiles. They have the same layers and differ in the loss:
    soft labels (DLDL-v2; Gao et al. 2018, arXiv 1807.09107), or the bin that contains the label
    (DEX; Rothe et al. 2015, which also reports the expected value). `regression` predicts a single
    number. All ages are between `schema.MIN_AGE_MONTHS` and `schema.MAX_AGE_MONTHS`, in float32.

    Args:
        features: [B, C] Keras tensor, or [B, K, C] for K predictions for each image.
        sex: [B, 1] Keras tensor, 0 female, 1 male.
        config: the model's config; `head`, `bin_months`, `sex_mode`, `sex_units`, `dense_units`,
            `dropout`.
        prefix: prefix of the names of layers, for a model with several heads.

    Returns:
        Keras tensors by output name, see `schema.OUTPUTS`.

    Raises:
        ConfigError: the head or the sex encoding is unknown, or the bins do not divide the range of
            ages.
    """
    require_known("head", config.head, HEADS)
    hidden = _join_sex(features, sex, config, prefix)
    if config.head == "regression":
        return {schema.AGE_MONTHS: _age(hidden, prefix)}
    return _distribution(hidden, config.bin_months, prefix)


def _join_sex(features: Tensor, sex: Tensor, config: Config, prefix: str = "") -> Tensor:
    """Returns [B, `dense_units`], or [B, K, `dense_units`], from image features and sex.

    `concat` concatenates an embedding of the sex with the features. `modulate` scales and shifts
    each feature depending on the sex (FiLM; Perez et al. 2018, arXiv 1709.07871), initially with
    almost no change. `off` ignores the sex; the model keeps the input.
    """
    require_known("sex_mode", config.sex_mode, SEX_MODES)
    if config.sex_mode != "off":
        # -1 and 1 instead of 0 and 1, since the embedding's weights would have no effect for 0.
        signed = keras.layers.Rescaling(2.0, offset=-1.0, name=f"{prefix}sex_sign")(sex)
        dense = keras.layers.Dense(config.sex_units, "relu", name=f"{prefix}sex_embedding")
        features = _JOINS[config.sex_mode](features, dense(signed), prefix)
    features = keras.layers.Dropout(config.dropout, name=f"{prefix}head_dropout")(features)
    return keras.layers.Dense(config.dense_units, "relu", name=f"{prefix}head_dense")(features)


def _concatenated(features: Tensor, embedding: Tensor, prefix: str) -> Tensor:
    if len(features.shape) == 3:
        repeat = keras.layers.RepeatVector(features.shape[1], name=f"{prefix}repeated_sex")
        embedding = repeat(embedding)
    name = f"{prefix}features_and_sex"
    return keras.layers.Concatenate(name=name)([features, embedding])


def _modulated(features: Tensor, embedding: Tensor, prefix: str) -> Tensor:
    channels = features.shape[-1]

    def amounts(kind: str) -> Tensor:
        small = keras.initializers.RandomNormal(stddev=0.01)
        dense = keras.layers.Dense(channels, kernel_initializer=small, name=f"{prefix}sex_{kind}")
        amount = dense(embedding)
        if len(features.shape) == 3:
            amount = keras.layers.Reshape((1, channels), name=f"{prefix}sex_{kind}_of_all")(amount)
        return amount

    change = keras.layers.Multiply(name=f"{prefix}scaled_by_sex")([features, amounts("scale")])
    return keras.layers.Add(name=f"{prefix}modulated_by_sex")([features, change, amounts("shift")])


_JOINS = {"concat": _concatenated, "modulate": _modulated}


def _age(hidden: Tensor, prefix: str = "") -> Tensor:
    """Returns months [B, 1], or [B, K, 1], from a hidden layer."""
    single = {"dtype": "float32"}
    share = keras.layers.Dense(1, "sigmoid", name=f"{prefix}age_share", **single)(hidden)
    months = keras.layers.Rescaling(
        schema.MAX_AGE_MONTHS, name=f"{prefix}{schema.AGE_MONTHS}", **single
    )
    return months(share)


def _distribution(hidden: Tensor, bin_months: float, prefix: str) -> dict:
    bins = schema.MAX_AGE_MONTHS / bin_months
    if bins != int(bins):
        raise ConfigError(
            f"bin_months is {bin_months}; it must divide {schema.MAX_AGE_MONTHS:g} months"
        )
    single = {"dtype": "float32"}
    logits = keras.layers.Dense(int(bins), name=f"{prefix}age_logits", **single)(hidden)
    distribution = keras.layers.Softmax(name=f"{prefix}{schema.DISTRIBUTION}", **single)(logits)
    age = answer_layers.ExpectedAge(bin_months, name=f"{prefix}{schema.AGE_MONTHS}")
    interval = answer_layers.DistributionQuantiles(bin_months, name=f"{prefix}{schema.INTERVAL_90}")
    return {
        schema.AGE_MONTHS: age(distribution),
        schema.DISTRIBUTION: distribution,
        schema.INTERVAL_90: interval(distribution),
    }
