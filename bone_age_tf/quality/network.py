"""A small network that looks at a film before its bone age is read.

Is it one whole hand, and how does it lie: turned by quarters, mirrored, inverted? It says so for
any image, so that a wrong image is corrected or rejected rather than read. Ours; the percentile
stretch in front is that of the other models.
"""

import keras
from keras import layers as kl

from bone_age_tf import schema
from bone_age_tf.models.layers import PercentileStretch

SIZE_PX = 64
FILTERS = (16, 32, 48, 64)


def build_film_check(size_px: int | None = SIZE_PX) -> keras.Model:
    """Builds the network.

    Args:
        size_px: side of the images.

    Returns:
        A functional model from `image` [B, S, S, 1], 0 to 255, to a dict: `film_kind` [B, 4],
        probabilities of `schema.FILM_KINDS`; `film_pose` [B, 8], of the poses of
        `schema.FILM_POSES`; `film_inverted` [B, 1], of bones being dark.
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
        schema.FILM_KIND: kl.Dense(len(schema.FILM_KINDS), "softmax", name=schema.FILM_KIND)(x),
        schema.FILM_POSE: kl.Dense(len(schema.FILM_POSES), "softmax", name=schema.FILM_POSE)(x),
        schema.FILM_INVERTED: kl.Dense(1, "sigmoid", name=schema.FILM_INVERTED)(x),
    }
    return keras.Model(image, outputs, name=schema.FILM_CHECK)
