"""Compact: a small network for small images.

python run.py --model=compact
python run.py --model=compact --dataset=rsna_bone_age --manual_dir=DIR
"""

from bone_age_tf.config import base_config, minutes_on_two_cores
from bone_age_tf.settings import Config


def get_config(dataset: str) -> Config:
    """Returns the settings for a dataset."""
    config = base_config()
    config.base_filters = 24
    config.local_contrast = False
    minutes_on_two_cores(config, dataset)
    config.weight_decay = 0.05
    if dataset == "rsna_bone_age":
        config.image_size_px = 128  # a usual radiograph is 100 px wide within it
        config.epochs = 20
        config.stage_ends = (0.5, 1.0)
        config.augmentation.policy = "films"
        config.augmentation.aspect_fraction = 0.1
        config.augmentation.shear = 0.05
    return config
