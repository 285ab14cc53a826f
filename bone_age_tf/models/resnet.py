"""Residual networks (He et al. 2015, arXiv 1512.03385).

The backbone is Keras' own ResNet50, layer for layer and name for name (23,587,712 parameters
without its top), so that the ImageNet weights that Keras distributes fit. Ours: the percentile
stretch in front, grey repeated to three channels, the sex and the head behind, a faster batch-norm
average, since bone-age sets are small and Keras' 0.99 lags behind short trainings, and residual
branches that start small (Goyal et al. 2017, arXiv 1706.02677, section 5.1, start them at 0; a
tenth leaves every weight a gradient).
"""

import keras
import ml_collections

from bone_age_tf.models import heads, layers

BATCH_NORM_MOMENTUM = 0.9
RESIDUAL_GAMMA = 0.1
EXPLAINED_LAYER = "conv4_block6_out"
"""The feature map that Grad-CAM looks at: the last of stride 16. That of stride 32 has 4 places a
side at 128 px, too few to point at a bone."""


def build_network(image, sex, config: ml_collections.ConfigDict) -> dict:
    """ResNet50 from Keras tensors to Keras tensors.

    Args:
        image: [B, H, W, 1], 0 to 255; H and W at least 32.
        sex: [B, 1], 0 female, 1 male.
        config: the model's config, see `heads.build_head`.

    Returns:
        Keras tensors by output name, see `schema.OUTPUTS`.
    """
    # Photometry
    x = layers.PercentileStretch()(image)
    x = keras.layers.Rescaling(2.0, offset=-1.0, name="to_unit_range")(x)
    x = keras.layers.Concatenate(name="grey_to_rgb")([x, x, x])

    # Backbone
    backbone = keras.applications.ResNet50(include_top=False, weights=None, input_tensor=x)
    for layer in backbone.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = BATCH_NORM_MOMENTUM
        if layer.name.endswith("_3_bn"):  # the last of each residual branch
            layer.gamma.assign(keras.ops.full_like(layer.gamma, RESIDUAL_GAMMA))

    # Head
    features = keras.layers.GlobalAveragePooling2D(name="image_features")(backbone.output)
    return heads.build_head(features, sex, config)
