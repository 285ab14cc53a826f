"""A model with parts of its own, all of them declared in this one file."""

import keras

from bone_age_tf.models import heads, layers
from bone_age_tf.models.traits import ModelTraits

SCORE = "toy_score"


def traits(name):
    def add_losses(config, losses, weights):
        losses[SCORE] = keras.losses.MeanSquaredError()
        weights[SCORE] = config.score_weight

    return ModelTraits(
        explanations=("cam", "crm"), training_outputs=(SCORE,), add_losses=add_losses
    )


def explained_layer(config):
    return "last_map"


def build_network(image, sex, config):
    x = layers.PercentileStretch()(image)
    x = keras.layers.Conv2D(8, 3, strides=4, padding="same", activation="relu", name="last_map")(x)
    features = keras.layers.GlobalAveragePooling2D(name="image_features")(x)
    score = keras.layers.Dense(1, name=SCORE, dtype="float32")(features)
    return heads.build_head(features, sex, config) | {SCORE: score}
