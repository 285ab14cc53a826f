"""ResNet34: basic residual blocks, 21 M parameters.

python run.py --model=resnet34
python run.py --model=resnet34 --dataset=rsna_bone_age --manual_dir=DIR
"""

from bone_age_tf.config import base_config, minutes_on_two_cores
from bone_age_tf.settings import Config


def get_config(dataset: str) -> Config:
    """Returns the settings for a dataset."""
    config = base_config()
    config.base_filters = 64
    minutes_on_two_cores(config, dataset)
    return config
