"""VGG (Simonyan & Zisserman 2014, arXiv 1409.1556), plain, with shortcuts and with attention.

`vgg16` is configuration D of the paper with Keras' names of layers, so that the ImageNet weights
that Keras distributes can be loaded: 14,714,688 parameters without the top. `vgg_residual` adds a
shortcut around the convolutions of each block, similar to the connections of Nguyen & Kim 2019 for
bone age; if the number of channels changes, the shortcut is a 1 x 1 convolution. `attention_vgg` is
in a separate file and shares the blocks.

Deviations: global average pooling and this project's head and sex encoding instead of three fully
connected layers; He initialisation, with which thirteen layers can be trained from random weights;
`batch_norm`, which must be off for the published weights; `base_filters` for other widths than 64.
"""

import keras
from keras import layers as kl

from bone_age_tf.models import heads
from bone_age_tf.models.photometry import build_photometry
from bone_age_tf.models.traits import ModelTraits
from bone_age_tf.settings import Config
from bone_age_tf.tensors import Tensor

CONVOLUTIONS = (2, 2, 3, 3, 3)
"""Number of convolutions in each block; configuration D."""
WIDTHS = (1, 2, 4, 8, 8)
"""Filters of each block, as multiples of `base_filters`."""
BATCH_NORM_MOMENTUM = 0.9


def traits(name: str) -> ModelTraits:
    """Declares ImageNet weights and explanations that pass the sanity check.

    See `benchmarks/explanations.py`.
    """
    if name == "vgg_residual":
        return ModelTraits(explanations=("smoothgrad", "vanilla_gradients", "path_cam"))
    return ModelTraits(imagenet=keras.applications.VGG16)


def explained_layer(config: Config) -> str:
    """Returns the layer whose feature map Grad-CAM uses: the last of stride 8, before pooling."""
    return "block4_out"


def build_network(image: Tensor, sex: Tensor, config: Config) -> dict:
    """Builds VGG16 from Keras tensors to Keras tensors, with or without shortcuts.

    Args:
        image: [B, H, W, 1], 0 to 255; H and W at least 32.
        sex: [B, 1], 0 female, 1 male.
        config: the model's config; `model` is `vgg16` or `vgg_residual`; `base_filters`,
            `batch_norm`. See also `heads.build_head`.

    Returns:
        Keras tensors by output name, see `schema.OUTPUTS`.
    """
    x = build_photometry(image, config)
    for number in range(1, len(CONVOLUTIONS) + 1):
        x = build_block(x, number, config, shortcut=config.model == "vgg_residual")
        x = kl.MaxPooling2D(2, 2, name=f"block{number}_pool")(x)
    features = kl.GlobalAveragePooling2D(name="image_features")(x)
    return heads.build_head(features, sex, config)


def build_block(x: Tensor, number: int, config: Config, shortcut: bool) -> Tensor:
    """Returns the feature map of a block, [B, H, W, C], before its pooling.

    Args:
        x: Keras tensor.
        number: number of the block, from 1.
        config: `base_filters` and `batch_norm` are used.
        shortcut: whether the input of the block is added to its output.
    """
    filters = config.base_filters * WIDTHS[number - 1]
    short, count = x, CONVOLUTIONS[number - 1]
    if shortcut and x.shape[-1] != filters:
        short = _convolve(x, filters, 1, f"block{number}_shortcut", config)
    for place in range(1, count + 1):
        x = _convolve(x, filters, 3, f"block{number}_conv{place}", config)
        if shortcut and place == count:
            x = kl.Add(name=f"block{number}_add")([short, x])
        name = f"block{number}_out" if place == count else f"block{number}_relu{place}"
        x = kl.ReLU(name=name)(x)
    return x


def _convolve(x: Tensor, filters: int, kernel: int, name: str, config: Config) -> Tensor:
    x = kl.Conv2D(
        filters,
        kernel,
        padding="same",
        use_bias=not config.batch_norm,
        kernel_initializer=keras.initializers.HeNormal(),
        name=name,
    )(x)
    if config.batch_norm:
        x = kl.BatchNormalization(momentum=BATCH_NORM_MOMENTUM, name=f"{name}_bn")(x)
    return x
