"""A small network with every kind of convolution that the shipped one has."""

import keras

from bone_age_tf.models import heads, layers

FEATURES = "features_out"


def explained_layer(config):
    return FEATURES


def build_network(image, sex, config):
    x = layers.PercentileStretch()(image)
    x = keras.layers.Conv2D(32, 3, strides=2, padding="same", activation="relu", name="conv1")(x)
    for place in range(2):
        skipped = x
        x = keras.layers.Conv2D(96, 1, use_bias=False, name=f"expand{place}")(x)
        x = keras.layers.BatchNormalization(name=f"norm{place}")(x)
        x = keras.layers.DepthwiseConv2D(3, padding="same", name=f"depthwise{place}")(x)
        x = keras.layers.ReLU(6.0, name=f"relu{place}")(x)
        x = keras.layers.Conv2D(32, 1, name=f"project{place}")(x)
        x = keras.layers.Add(name=f"add{place}")([x, skipped])
    x = keras.layers.Activation("relu", name=FEATURES)(x)
    return heads.build_head(
        keras.layers.GlobalAveragePooling2D(name="image_features")(x), sex, config
    )
