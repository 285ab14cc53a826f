"""Compact: the small network whose weights the project ships.

python run.py --model=compact
python run.py --model=compact --dataset=rsna_bone_age --manual_dir=DIR
"""

import ml_collections

from bone_age_tf.config import base_config, minutes_on_two_cores


def get_config(dataset: str) -> ml_collections.ConfigDict:
    """Returns the settings for a dataset."""
    config = base_config()
    config.base_filters = 24
    minutes_on_two_cores(config, dataset)
    return config
