"""Names of the models. Standard library only, so that the command line lists them without Keras."""

from typing import Final

MODELS: Final = {
    "attention_vgg": "bone_age_tf.models.attention_vgg",
    "bonewise": "bone_age_tf.models.bonewise",
    "cnn": "bone_age_tf.models.cnn",
    "compact": "bone_age_tf.models.compact",
    "efficientnet_lite0": "bone_age_tf.models.efficientnet_lite",
    "prsnet": "bone_age_tf.models.prsnet",
    "resnet18": "bone_age_tf.models.resnet",
    "resnet34": "bone_age_tf.models.resnet",
    "resnet50": "bone_age_tf.models.resnet",
    "resnet101": "bone_age_tf.models.resnet",
    "resnet152": "bone_age_tf.models.resnet",
    "vgg16": "bone_age_tf.models.vgg",
    "vgg_residual": "bone_age_tf.models.vgg",
}
"""Module with `build_network` by name of the model."""


def list_models() -> list[str]:
    """Returns the names of all models that can be built and trained."""
    return list(MODELS)
