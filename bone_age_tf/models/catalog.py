"""Which models there are. Standard library only: the command line lists them without Keras."""

from typing import Final

MODELS: Final = {
    "resnet50": "bone_age_tf.models.resnet",
}
"""Model name to the module whose `build_network` makes it."""
