"""ResNet50 with the distribution head.

python run.py --model=resnet50
python run.py --model=resnet50 --dataset=rsna_bone_age --manual_dir=DIR
"""

import ml_collections

from bone_age_tf.config import base_config


def get_config(dataset: str) -> ml_collections.ConfigDict:
    """Returns the settings for a dataset."""
    config = base_config()
    if dataset == "hand_phantom":  # minutes on two CPU cores
        config.image_size_px = 64
        config.batch_size = 16
        config.epochs = 5
        config.stage_scales = (0.625, 1.0)
        config.stage_ends = (0.7, 1.0)
        config.augmentation.flip = False
        config.augmentation.rotation_degrees = 10.0
    if dataset == "rsna_bone_age":
        config.image_size_px = 100
        # The published validation labels are single readings, noisier than the test set's; the
        # cut keeps them apart from training and from the choice of checkpoint.
        config.use_validation_split = False
        # For two CPU cores: cheap small images first. A network trained at one size answers badly
        # at another, so the full size comes while the learning rate can still adapt it.
        config.epochs = 6
        config.stage_scales = (0.64, 1.0)
        config.stage_ends = (0.55, 1.0)
        config.warmup_fraction = 0.05
        config.augmentation.flip = False
        config.augmentation.rotation_degrees = 10.0
    return config
