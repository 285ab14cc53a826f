"""EfficientNet-Lite0: inverted residual blocks for devices.

As published: the blocks, widths and strides of EfficientNet-B0 (Tan & Le 2019, arXiv 1905.11946,
table 1) without squeeze-and-excitation and with ReLU6 instead of swish, distributed in TensorFlow's
TPU models as Lite0 (3,371,008 trainable parameters without the top). Layers have the names of
Keras' EfficientNet, so that `initial_weights` can load the published ImageNet weights.

Deviations: the percentile stretch before the first layer; images are resized to `network_px` inside
the network, since the ImageNet convolutions were trained on structures at a larger scale than those
of 100 px images; this project's sex encoding and head; a faster batch-norm average, as in `resnet`.
`base_filters` scales all widths relative to the published 32.
"""

from keras import layers as kl

from bone_age_tf.models import heads, layers
from bone_age_tf.models.photometry import build_photometry
from bone_age_tf.models.resnet import BATCH_NORM_MOMENTUM
from bone_age_tf.models.traits import ModelTraits
from bone_age_tf.settings import Config
from bone_age_tf.tensors import Tensor

STAGES = (
    # repeats, kernel, stride, expansion, filters
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
"""Repeats, kernel, stride, expansion and filters of each stage; table 1 of the paper."""
STEM_FILTERS, TOP_FILTERS = 32, 1280


def traits(name: str) -> ModelTraits:
    """Declares the module that loads the published ImageNet weights."""
    return ModelTraits(imagenet="bone_age_tf.training.efficientnet_weights")


def explained_layer(config: Config) -> str:
    """Returns the layer whose feature map Grad-CAM uses: the last of stride 16."""
    return "block5c_add"


def fine_layer(config: Config) -> str:
    """Returns the layer with the last feature map of stride 8."""
    return "block3b_add"


def build_network(image: Tensor, sex: Tensor, config: Config) -> dict:
    """Builds the network from Keras tensors to Keras tensors.

    Args:
        image: [B, H, W, 1], 0 to 255.
        sex: [B, 1], 0 female, 1 male.
        config: the model's config; `base_filters`, and `network_px`, the side in pixels to which
            images are resized inside the network, 0 to keep it. See also `heads.build_head`.

    Returns:
        Keras tensors by output name, see `schema.OUTPUTS`.
    """
    x = build_photometry(image, config)
    if config.network_px:
        x = layers.BilinearSquare(config.network_px, name="enlarged")(x)
    return heads.build_head(build_features(x, config.base_filters), sex, config)


def build_features(x: Tensor, base_filters: int) -> Tensor:
    """Returns the features [B, C] of images [B, H, W, 3] in the range of the network."""
    x = build_stages(x, base_filters)
    x = convolve(x, "top", _rounded(TOP_FILTERS, base_filters / STEM_FILTERS), 1)
    return kl.GlobalAveragePooling2D(name="image_features")(x)


def build_stages(
    x: Tensor, base_filters: int, stages: int = len(STAGES), prefix: str = ""
) -> Tensor:
    """Builds the stem and the first stages.

    Args:
        x: [B, H, W, 3] in the range of the network.
        base_filters: filters of the stem; see the module.
        stages: number of stages.
        prefix: prefix of the names of layers.
    """
    width = base_filters / STEM_FILTERS
    x = convolve(x, f"{prefix}stem", _rounded(STEM_FILTERS, width), 3, 2)
    for stage, (repeats, kernel, stride, expansion, filters) in enumerate(STAGES[:stages], start=1):
        for place in range(repeats):
            name = f"{prefix}block{stage}{'abcd'[place]}"
            step = stride if place == 0 else 1
            x = _block(x, name, kernel, step, expansion, _rounded(filters, width))
    return x


def _block(x: Tensor, name: str, kernel: int, stride: int, expansion: int, filters: int) -> Tensor:
    y = x
    if expansion > 1:
        y = convolve(y, f"{name}_expand", x.shape[-1] * expansion, 1)
    depthwise = kl.DepthwiseConv2D(
        kernel,
        stride,
        padding="same",
        use_bias=False,
        depthwise_initializer="he_normal",
        name=f"{name}_dwconv",
    )
    y = _normalised(depthwise(y), f"{name}_bn", f"{name}_activation")
    y = convolve(y, f"{name}_project", filters, 1, active=False)
    if stride == 1 and x.shape[-1] == filters:
        y = kl.Add(name=f"{name}_add")([x, y])
    return y


def convolve(
    x: Tensor, name: str, filters: int, kernel: int, stride: int = 1, active: bool = True
) -> Tensor:
    """Convolves, normalises and, if active, applies ReLU6."""
    x = kl.Conv2D(
        filters,
        kernel,
        stride,
        padding="same",
        use_bias=False,
        kernel_initializer="he_normal",
        name=f"{name}_conv",
    )(x)
    return _normalised(x, f"{name}_bn", f"{name}_activation" if active else None)


def _normalised(x: Tensor, name: str, activation: str | None) -> Tensor:
    x = kl.BatchNormalization(momentum=BATCH_NORM_MOMENTUM, epsilon=1e-3, name=name)(x)
    return x if activation is None else kl.ReLU(6.0, name=activation)(x)


def _rounded(filters: int, width: float) -> int:
    """Scales a number of filters to a multiple of 8 that is at least nine tenths of the product."""
    scaled = filters * width
    rounded = max(8, int(scaled + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * scaled else rounded
