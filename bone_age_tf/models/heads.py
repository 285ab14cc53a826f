"""From image features and sex to a bone age in months."""

import keras
import ml_collections

from bone_age_tf import schema
from bone_age_tf.config import ConfigError
from bone_age_tf.models import layers

HEADS = ("distribution", "regression")


def build_head(features, sex, config: ml_collections.ConfigDict) -> dict:
    """Joins the sex to the image features and estimates the age.

    `distribution` gives a probability to each age bin and reports the expected age (DLDL-v2;
    Gao et al. 2018, arXiv 1807.09107) with the 5 % and 95 % quantiles; `regression` reports one
    number. Both stay within `schema.MIN_AGE_MONTHS` and `schema.MAX_AGE_MONTHS`, in float32.

    Args:
        features: [B, C] Keras tensor.
        sex: [B, 1] Keras tensor, 0 female, 1 male.
        config: the model's config; `head`, `bin_months`, `sex_units`, `dense_units`, `dropout`.

    Returns:
        Keras tensors by output name, see `schema.OUTPUTS`.

    Raises:
        ConfigError: the head is unknown, or the bins do not divide the range of ages.
    """
    if config.head not in HEADS:
        raise ConfigError(f"head is {config.head!r}; known: {', '.join(HEADS)}")
    # A sign, not 0 and 1: a girl's zero would switch the embedding's weights off.
    signed = keras.layers.Rescaling(2.0, offset=-1.0, name="sex_sign")(sex)
    embedding = keras.layers.Dense(config.sex_units, "relu", name="sex_embedding")(signed)
    joined = keras.layers.Concatenate(name="features_and_sex")([features, embedding])
    joined = keras.layers.Dropout(config.dropout, name="head_dropout")(joined)
    joined = keras.layers.Dense(config.dense_units, "relu", name="head_dense")(joined)
    if config.head == "regression":
        return _regression(joined)
    return _distribution(joined, config.bin_months)


def _regression(joined) -> dict:
    share = keras.layers.Dense(1, "sigmoid", name="age_share", dtype="float32")(joined)
    age = keras.layers.Rescaling(schema.MAX_AGE_MONTHS, name="age_months", dtype="float32")(share)
    return {schema.AGE_MONTHS: age}


def _distribution(joined, bin_months: float) -> dict:
    bins = schema.MAX_AGE_MONTHS / bin_months
    if bins != int(bins):
        raise ConfigError(
            f"bin_months is {bin_months}; it must divide {schema.MAX_AGE_MONTHS:g} months"
        )
    logits = keras.layers.Dense(int(bins), name="age_logits", dtype="float32")(joined)
    distribution = keras.layers.Softmax(name="distribution", dtype="float32")(logits)
    return {
        schema.AGE_MONTHS: layers.ExpectedAge(bin_months, name="age_months")(distribution),
        schema.DISTRIBUTION: distribution,
        schema.INTERVAL_90: layers.DistributionQuantiles(bin_months, name="interval_90_months")(
            distribution
        ),
    }
