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
    # Kinds of parts, and how many of them join the whole image; side of their crops
    config.parts = 8
    config.used_parts = 8
    config.part_size_px = 48
    # Off for ablations
    config.relation = True
    config.selection = True
    # Weights of the auxiliary losses: what parts and whole say by themselves, and the ranking;
    # while training, that a moved copy has its parts in the same places, and that they lie apart
    config.part_loss_weight = 1.0
    config.ranking_loss_weight = 0.1
    config.second_view_weight = 3.0
    config.apart_weight = 0.5
    minutes_on_two_cores(config, dataset)
    return config
