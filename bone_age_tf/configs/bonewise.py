"""The whole hand and each ossification region, each with an age of its own, fused.

python run.py --model=bonewise
python run.py --model=bonewise --dataset=rsna_bone_age/px512 --manual_dir=DIR \
    --config.resize=frame --config.image_size_px=288 --config.region_px=54 \
    --config.init=exports/bonewise/2/model.keras
"""

from bone_age_tf.configs import efficientnet_lite0
from bone_age_tf.settings import Config

IMAGENET_PIXELS = efficientnet_lite0.IMAGENET_PIXELS


def get_config(dataset: str) -> Config:
    """Returns the settings for a dataset."""
    config = efficientnet_lite0.get_config(dataset)
    del config.network_px
    # Side of the crops in pixels, and SD of their random shifts and scales in training
    config.region_px = 48
    config.jitter = 0.06
    # Whether the whole hand's network is trained, too, or keeps its first weights
    config.train_whole = True
    # Share of the whole hand in the fused answer, and fraction of the training images whose answer
    # comes from the regions alone
    config.whole_share = 0.5
    config.drop_whole = 0.5
    config.part_loss_weight = 1.0
    return config
