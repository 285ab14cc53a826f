"""ResNet50 with the distribution head, 24 M parameters.

python run.py --model=resnet50
python run.py --model=resnet50 --dataset=rsna_bone_age --manual_dir=DIR
"""

from bone_age_tf.config import base_config, minutes_on_two_cores
from bone_age_tf.settings import Config


def get_config(dataset: str) -> Config:
    """Returns the settings for a dataset."""
    config = base_config()
    config.base_filters = 64  # as published; no other
    minutes_on_two_cores(config, dataset)
    if dataset == "hand_phantom":
        # These settings were the best for a few hundred steps. They were changed together, so that
        # the effect of each of them is unknown.
        config.batch_size = 32
        config.epochs = 14
        config.learning_rate = 7e-4
        config.dropout = 0.0
        config.augmentation.policy = "none"
        config.stage_scales = ()
        config.stage_ends = ()
        config.familiarity_images = 400
    return config
