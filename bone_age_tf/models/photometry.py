"""Converts pixels from 0 to 255 to the input of a network's first convolution."""

import keras

from bone_age_tf.errors import require_known
from bone_age_tf.models import layers
from bone_age_tf.settings import Config
from bone_age_tf.tensors import Tensor

PIXELS = ("unit", "imagenet")
_IMAGENET_MEANS = (103.939, 116.779, 123.68)
"""Means of blue, green and red, which are subtracted for the weights that Keras distributes for
ResNet and VGG (`keras.applications.imagenet_utils`, mode `caffe`)."""


def build_photometry(image: Tensor, config: Config, channels: int = 3) -> Tensor:
    """Stretches an image between its percentiles and scales it for the network.

    Args:
        image: [B, H, W, 1] Keras tensor, 0 to 255.
        config: `pixels`: `unit` for -1 to 1; `imagenet` for 0 to 255 minus the mean colour of
            ImageNet, with the grey value for each colour.
        channels: 1 keeps the image grey; 3 repeats it.

    Returns:
        [B, H, W, `channels`].

    Raises:
        ConfigError: `pixels` is unknown.
    """
    require_known("pixels", config.pixels, PIXELS)
    x = layers.PercentileStretch()(image)
    if config.pixels == "imagenet":
        x = keras.layers.Concatenate(name="grey_to_rgb")([x, x, x])
        means = [-mean for mean in _IMAGENET_MEANS]
        return keras.layers.Rescaling(255.0, offset=means, name="to_imagenet_range")(x)
    x = keras.layers.Rescaling(2.0, offset=-1.0, name="to_unit_range")(x)
    return keras.layers.Concatenate(name="grey_to_rgb")([x] * channels) if channels > 1 else x
