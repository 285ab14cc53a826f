"""A model of a few thousand weights behind the same doors as the real ones."""

import keras

from bone_age_tf.models import heads, layers

FEATURES = "features_out"


def explained_layer(config):
    return FEATURES


def build_network(image, sex, config):
    x = layers.PercentileStretch()(image)
    x = keras.layers.Conv2D(8, 3, strides=2, padding="same", activation="relu", name="conv1")(x)
    x = keras.layers.BatchNormalization(name="norm1", momentum=0.9)(x)
    x = keras.layers.Conv2D(16, 3, strides=2, padding="same", name="conv2")(x)
    x = keras.layers.Activation("relu", name=FEATURES)(x)
    return heads.build_head(
        keras.layers.GlobalAveragePooling2D(name="image_features")(x), sex, config
    )
