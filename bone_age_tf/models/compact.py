"""A small network for small images: residual blocks without initial pooling.

It consists of the basic blocks of ResNet18 (He et al. 2015, arXiv 1512.03385), with 24 instead of
64 filters in the first stage (`base_filters`) and without the pooling behind the first convolution.
The stages therefore have strides of 2, 4, 8 and 16. It has 1.7 M parameters.
"""

from keras import layers as kl

from bone_age_tf.models import heads, layers
from bone_age_tf.models.photometry import build_photometry
from bone_age_tf.models.resnet import BasicResidualNetwork
from bone_age_tf.settings import Config
from bone_age_tf.tensors import Tensor

BLOCKS = (2, 2, 2, 2)
STRIDES = (1, 2, 2, 2)


def explained_layer(config: Config) -> str:
    """Returns the layer whose feature map Grad-CAM uses: of stride 8."""
    return "conv4_block2_out"


def build_network(image: Tensor, sex: Tensor, config: Config) -> dict:
    """Builds the network from Keras tensors to Keras tensors.

    Args:
        image: [B, H, W, 1], 0 to 255; H and W at least 32.
        sex: [B, 1], 0 female, 1 male.
        config: the model's config; `base_filters`, and `local_contrast`, which adds the contrast of
            each pixel to its neighbourhood as a second channel. See also `heads.build_head`.

    Returns:
        Keras tensors by output name, see `schema.OUTPUTS`.
    """
    grey = build_photometry(image, config, channels=1)
    if config.local_contrast:
        # Scaled to 0 to 1, as the layer requires; pixels that are black after the stretch are 0.
        scaled = kl.Rescaling(0.5, offset=0.5, name="grey_from_black")(grey)
        contrast = layers.LocalContrast(name="local_contrast")(scaled)
        grey = kl.Concatenate(name="grey_and_contrast")([grey, contrast])
    x = BasicResidualNetwork(config.base_filters, BLOCKS, STRIDES, pooled=False)(grey)[-1]
    features = kl.GlobalAveragePooling2D(name="image_features")(x)
    return heads.build_head(features, sex, config)
