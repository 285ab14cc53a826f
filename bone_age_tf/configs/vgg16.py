"""VGG16 with global average pooling, 15 M parameters.

python run.py --model=vgg16
python run.py --model=vgg16 --dataset=rsna_bone_age --manual_dir=DIR
"""

from bone_age_tf.config import base_config, minutes_on_two_cores
from bone_age_tf.settings import Config


def get_config(dataset: str) -> Config:
    """Returns the settings for a dataset."""
    config = base_config()
    config.base_filters = 64
    config.batch_norm = True  # False for published weights
    minutes_on_two_cores(config, dataset)
    return config
