"""VGG16 with global average pooling, 15 M parameters.

python run.py --model=vgg16
python run.py --model=vgg16 --dataset=rsna_bone_age --manual_dir=DIR
"""

import ml_collections

from bone_age_tf.config import base_config, minutes_on_two_cores


def get_config(dataset: str) -> ml_collections.ConfigDict:
    """Returns the settings for a dataset."""
    config = base_config()
    config.base_filters = 64
    config.batch_norm = True  # False for published weights
    minutes_on_two_cores(config, dataset)
    return config
