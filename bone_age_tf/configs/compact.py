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
    config.local_contrast = False
    minutes_on_two_cores(config, dataset)
    config.weight_decay = 0.05
    if dataset == "rsna_bone_age":
        config.epochs = 20
        config.stage_ends = (0.5, 1.0)
        # For images that others have stretched to squares, such as the reduced set of 100 px;
        # users' files are not. With originals: --config.resize=portrait.
        config.resize = "stretch"
        config.served_resize = "portrait"
        config.augmentation.policy = "films"
        config.augmentation.frame_aspect = 0.785
        config.augmentation.aspect_fraction = 0.25
        config.augmentation.zoom_fraction = 0.15
    return config
