"""Part relation and selection network.

python run.py --model=prsnet
python run.py --model=prsnet --dataset=rsna_bone_age --manual_dir=DIR
"""

import ml_collections

from bone_age_tf.config import base_config, minutes_on_two_cores


def get_config(dataset: str) -> ml_collections.ConfigDict:
    """Returns the settings for a dataset."""
    config = base_config()
    config.base_filters = 32
    # Parts selected and ranked, and how many of them join the whole image; side of their crops
    config.parts = 6
    config.used_parts = 4
    config.part_size_px = 48
    # Off for ablations
    config.relation = True
    config.selection = True
    # Weights of the auxiliary losses: what parts and whole say by themselves, and the ranking
    config.part_loss_weight = 1.0
    config.ranking_loss_weight = 1.0
    minutes_on_two_cores(config, dataset)
    return config
