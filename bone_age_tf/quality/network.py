"""The network of the quality check.

It predicts whether an image shows one whole hand, in which of eight poses (quarter turns, with and
without mirroring), and whether the grey levels are inverted. The architecture is this project's;
its first layer is the percentile stretch of the other models.
"""

import keras
from keras import layers as kl

from bone_age_tf import schema
from bone_age_tf.models.layers import PercentileStretch

SIZE_PX = 64
"""Side of the input image in pixels."""
FILTERS = (16, 32, 48, 64)
"""Number of filters in each of the four stages."""


def build_quality_network(size_px: int | None = SIZE_PX) -> keras.Model:
    """Builds the network of the quality check.

    Args:
        size_px: side of the images in pixels.

    Returns:
        A functional model from `image` [B, S, S, 1], 0 to 255, to a dict: `film_kind` [B, 4],
        probabilities of `schema.IMAGE_KINDS`; `film_pose` [B, 8], probabilities of
        `schema.POSES`; `film_inverted` [B, 1], probability that bones are dark.
    """
    image = keras.Input((size_px, size_px, 1), name=schema.IMAGE, dtype="float32")
    x = kl.Rescaling(2.0, offset=-1.0, name="to_unit_range")(PercentileStretch(border=-1.0)(image))
    for stage, filters in enumerate(FILTERS, start=1):
        x = kl.Conv2D(filters, 3, 2, padding="same", use_bias=False, name=f"conv{stage}_1")(x)
        x = kl.BatchNormalization(momentum=0.9, name=f"conv{stage}_1_bn")(x)
        x = kl.ReLU(name=f"conv{stage}_1_relu")(x)
        x = kl.Conv2D(filters, 3, 1, padding="same", use_bias=False, name=f"conv{stage}_2")(x)
        x = kl.BatchNormalization(momentum=0.9, name=f"conv{stage}_2_bn")(x)
        x = kl.ReLU(name=f"conv{stage}_2_relu")(x)
    x = kl.Flatten(name="image_features")(x)
    x = kl.Dropout(0.2, name="head_dropout")(x)
    x = kl.Dense(96, "relu", name="head_dense")(x)
    outputs = {
        schema.IMAGE_KIND: kl.Dense(len(schema.IMAGE_KINDS), "softmax", name=schema.IMAGE_KIND)(x),
        schema.POSE: kl.Dense(len(schema.POSES), "softmax", name=schema.POSE)(x),
        schema.INVERTED: kl.Dense(1, "sigmoid", name=schema.INVERTED)(x),
    }
    return keras.Model(image, outputs, name=schema.QUALITY_CHECK)
