"""Residual networks (He et al. 2015, arXiv 1512.03385).

`resnet50`, `resnet101` and `resnet152` are Keras' models with the same layers and names
(23,587,712, 42,658,176 and 58,370,944 parameters without their tops), so that the ImageNet weights
that Keras distributes can be loaded. Keras has no `resnet18` and `resnet34`; they follow table 1 of
the paper, with projections where the shape changes (its option B), and have the 11,176,512 and
21,284,672 trainable parameters of other implementations.

Deviations: the percentile stretch before the first layer, grey repeated to three channels, and this
project's sex encoding and head. The batch-norm average is faster, since bone-age datasets are small
and Keras' 0.99 is too slow for short trainings. Residual branches have a small initial scale (Goyal
et al. 2017, arXiv 1706.02677, section 5.1, start at 0; a tenth keeps the gradients of all weights).
`base_filters` scales the widths of the two smaller models relative to the paper's 64.
"""

from typing import Any

import keras
from keras import layers as kl

from bone_age_tf.errors import ConfigError
from bone_age_tf.models import heads
from bone_age_tf.models.photometry import build_photometry
from bone_age_tf.models.traits import ModelTraits
from bone_age_tf.settings import Config
from bone_age_tf.tensors import Tensor

BATCH_NORM_MOMENTUM = 0.9
RESIDUAL_GAMMA = 0.1
BASIC_BLOCKS = {"resnet18": (2, 2, 2, 2), "resnet34": (3, 4, 6, 3)}
BOTTLENECKS = {
    "resnet50": keras.applications.ResNet50,
    "resnet101": keras.applications.ResNet101,
    "resnet152": keras.applications.ResNet152,
}
"""Models of Keras, whose ImageNet weights Keras distributes."""
_LAST_OF_STRIDE_16 = {
    "resnet18": "conv4_block2_out",
    "resnet34": "conv4_block6_out",
    "resnet50": "conv4_block6_out",
    "resnet101": "conv4_block23_out",
    "resnet152": "conv4_block36_out",
}
_BLOCKS_OF_STRIDE_8 = {"resnet18": 2, "resnet34": 4, "resnet50": 4, "resnet101": 4, "resnet152": 8}


def traits(name: str) -> ModelTraits:
    """Declares ImageNet weights if there are any, and explanations that pass the sanity check.

    See `benchmarks/explanations.py`.
    """
    explanations = ("smoothgrad", "saliency", "vanilla_gradients")
    return ModelTraits(imagenet=BOTTLENECKS.get(name), explanations=explanations)


def explained_layer(config: Config) -> str:
    """Returns the layer whose feature map Grad-CAM uses: the last of stride 16.

    The map of stride 32 has 4 x 4 places for 128 px, too few to locate a bone.
    """
    return _LAST_OF_STRIDE_16[config.model]


def fine_layer(config: Config) -> str:
    """Returns the layer with the last feature map of stride 8."""
    return f"conv3_block{_BLOCKS_OF_STRIDE_8[config.model]}_out"


def build_network(image: Tensor, sex: Tensor, config: Config) -> dict:
    """Builds a residual network from Keras tensors to Keras tensors.

    Args:
        image: [B, H, W, 1], 0 to 255; H and W at least 32.
        sex: [B, 1], 0 female, 1 male.
        config: the model's config; `model` determines the depth. See also `heads.build_head`.

    Returns:
        Keras tensors by output name, see `schema.OUTPUTS`.

    Raises:
        ConfigError: `base_filters` is not 64 for one of Keras' backbones.
    """
    x = build_photometry(image, config)
    if config.model in BASIC_BLOCKS:
        x = BasicResidualNetwork(config.base_filters, BASIC_BLOCKS[config.model])(x)[-1]
    else:
        x = _keras_backbone(x, config)
    features = kl.GlobalAveragePooling2D(name="image_features")(x)
    return heads.build_head(features, sex, config)


def _keras_backbone(x: Tensor, config: Config) -> Tensor:
    if config.base_filters != 64:
        raise ConfigError(
            f"base_filters is {config.base_filters}; {config.model} has 64, so that published "
            "weights fit. resnet18 and resnet34 can be narrower."
        )
    # Keras uses this as the name of the model, not of its layers.
    backbone = BOTTLENECKS[config.model](include_top=False, weights=None, input_tensor=x)
    for layer in backbone.layers:
        if isinstance(layer, kl.BatchNormalization):
            layer.momentum = BATCH_NORM_MOMENTUM
        if layer.name.endswith("_3_bn"):  # the last of each residual branch
            layer.gamma.assign(keras.ops.full_like(layer.gamma, RESIDUAL_GAMMA))
    return backbone.output


class BasicResidualNetwork:
    """ResNet of basic blocks with two 3 x 3 convolutions and a shortcut each.

    This is not a layer: calling it creates layers in the caller's graph. A second call on another
    input shares the convolutions and creates new batch norms, since the statistics of crops differ
    from those of whole images.

    Args:
        base_filters: number of filters in the first stage, doubled in each later stage.
        blocks: number of blocks in each stage.
        strides: stride of each stage; the first convolution and its pooling have stride 2.
        pooled: whether there is pooling after the first convolution.
    """

    def __init__(
        self,
        base_filters: int,
        blocks: tuple[int, ...],
        strides: tuple[int, ...] = (1, 2, 2, 2),
        pooled: bool = True,
    ):
        self.base_filters, self.blocks, self.strides = base_filters, blocks, strides
        self.pooled = pooled
        self._convolutions: dict[str, kl.Conv2D] = {}

    def __call__(self, x: Tensor, prefix: str = "") -> Tensor:
        """Maps [B, H, W, C] to the feature maps at the end of each stage.

        Args:
            x: Keras tensor.
            prefix: prefix of the names of layers that are not shared; "" in the first call.
        """
        stages = []
        x = self._convolve(x, "conv1", prefix, self.base_filters, 7, 2)
        x = kl.ReLU(name=f"{prefix}conv1_relu")(x)
        if self.pooled:
            x = kl.MaxPooling2D(3, 2, padding="same", name=f"{prefix}pool1")(x)
        for stage, (count, stride) in enumerate(zip(self.blocks, self.strides, strict=True)):
            filters = self.base_filters * 2**stage
            for block in range(count):
                name = f"conv{stage + 2}_block{block + 1}"
                x = self._block(x, name, prefix, filters, stride if block == 0 else 1)
            stages.append(x)
        return stages

    def _block(self, x: Tensor, name: str, prefix: str, filters: int, stride: int) -> Tensor:
        short = x
        if stride != 1 or x.shape[-1] != filters:
            short = self._convolve(x, f"{name}_0", prefix, filters, 1, stride)
        y = self._convolve(x, f"{name}_1", prefix, filters, 3, stride)
        y = kl.ReLU(name=f"{prefix}{name}_1_relu")(y)
        y = self._convolve(y, f"{name}_2", prefix, filters, 3, 1, gamma=RESIDUAL_GAMMA)
        y = kl.Add(name=f"{prefix}{name}_add")([short, y])
        return kl.ReLU(name=f"{prefix}{name}_out")(y)

    def _convolve(
        self,
        x: Tensor,
        name: Any,
        prefix: str,
        filters: int,
        kernel: int,
        stride: int,
        gamma: float = 1.0,
    ) -> Tensor:
        if name not in self._convolutions:
            self._convolutions[name] = kl.Conv2D(
                filters,
                kernel,
                stride,
                padding="same",
                use_bias=False,
                kernel_initializer="he_normal",
                name=f"{name}_conv",
            )
        return kl.BatchNormalization(
            momentum=BATCH_NORM_MOMENTUM,
            epsilon=1.001e-5,
            gamma_initializer=keras.initializers.Constant(gamma),
            name=f"{prefix}{name}_bn",
        )(self._convolutions[name](x))
