"""VGG16 with a shortcut around each block.

python run.py --model=vgg_residual
python run.py --model=vgg_residual --dataset=rsna_bone_age --manual_dir=DIR
"""

from bone_age_tf.config import base_config, minutes_on_two_cores
from bone_age_tf.settings import Config


def get_config(dataset: str) -> Config:
    """Returns the settings for a dataset."""
    config = base_config()
    config.base_filters = 64
    config.batch_norm = True
    minutes_on_two_cores(config, dataset)
    return config
