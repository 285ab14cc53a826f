"""ResNet34: basic residual blocks, 21 M parameters.

python run.py --model=resnet34
python run.py --model=resnet34 --dataset=rsna_bone_age --manual_dir=DIR
"""

import ml_collections

from bone_age_tf.config import base_config, minutes_on_two_cores


def get_config(dataset: str) -> ml_collections.ConfigDict:
    """Returns the settings for a dataset."""
    config = base_config()
    config.base_filters = 64
    minutes_on_two_cores(config, dataset)
    return config
