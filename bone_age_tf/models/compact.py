"""A small network for small images: residual blocks, and a head that knows where a bone is.

Ours, of known parts. Basic residual blocks (He et al. 2015, arXiv 1512.03385) behind a first
convolution of stride 2 and no pooling, so that 100 px still leave 7 places a side; each place says
a little (`PLACE_FILTERS`), and the fully connected layer reads all places side by side. Hands lie
alike in radiographs: what a growth plate means depends on whose it is, and a mean over all places
forgets that. 2.0 M parameters with `base_filters` 24.
"""

import ml_collections
from keras import layers as kl

from bone_age_tf.models import heads, layers
from bone_age_tf.models.photometry import build_photometry
from bone_age_tf.models.resnet import BATCH_NORM_MOMENTUM, BasicResidualNetwork

BLOCKS = (2, 2, 2, 2)
STRIDES = (1, 2, 2, 2)
PLACE_FILTERS = 64
PLACES = 5
"""Sides of the grid that the fully connected layer sees."""


def explained_layer(config: ml_collections.ConfigDict) -> str:
    """Returns the feature map that Grad-CAM looks at: of stride 8."""
    return "conv4_block2_out"


def build_network(image, sex, config: ml_collections.ConfigDict) -> dict:
    """The network from Keras tensors to Keras tensors.

    Args:
        image: [B, H, W, 1], 0 to 255; H and W at least 32.
        sex: [B, 1], 0 female, 1 male.
        config: the model's config; `base_filters`. See `heads.build_head` too.

    Returns:
        Keras tensors by output name, see `schema.OUTPUTS`.
    """
    grey = build_photometry(image, config, channels=1)
    x = BasicResidualNetwork(config.base_filters, BLOCKS, STRIDES, pooled=False)(grey)[-1]
    x = kl.Conv2D(PLACE_FILTERS, 1, use_bias=False, name="places_conv")(x)
    x = kl.BatchNormalization(momentum=BATCH_NORM_MOMENTUM, name="places_bn")(x)
    x = kl.ReLU(name="places_out")(x)
    x = layers.GridMeans(PLACES, name="grid_means")(x)
    features = kl.Flatten(name="image_features")(x)
    return heads.build_head(features, sex, config)
