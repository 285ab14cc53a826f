"""Part relation and selection network.

python run.py --model=prsnet
python run.py --model=prsnet --dataset=rsna_bone_age --manual_dir=DIR
"""

from bone_age_tf.config import base_config, minutes_on_two_cores
from bone_age_tf.settings import Config


def get_config(dataset: str) -> Config:
    """Returns the settings for a dataset."""
    config = base_config()
    config.base_filters = 32
    # Number of part types, number of selected parts, and side of their crops in pixels
    config.parts = 8
    config.used_parts = 8
    config.part_size_px = 48
    # Switches for ablations
    config.relation = True
    config.selection = True
    # Weights of the auxiliary losses: predictions of the parts and of the whole image, and ranking;
    # consistency of the parts in a transformed copy, and distance between the parts
    config.part_loss_weight = 1.0
    config.ranking_loss_weight = 0.1
    config.second_view_weight = 3.0
    config.apart_weight = 0.5
    minutes_on_two_cores(config, dataset)
    return config
