"""VGG16 with attention at three depths.

python run.py --model=attention_vgg
python run.py --model=attention_vgg --dataset=rsna_bone_age --manual_dir=DIR
"""

import ml_collections

from bone_age_tf.config import base_config, minutes_on_two_cores


def get_config(dataset: str) -> ml_collections.ConfigDict:
    """Returns the settings for a dataset."""
    config = base_config()
    config.base_filters = 64
    config.batch_norm = True
    config.compatibility = "dot"  # or "parametrised"
    minutes_on_two_cores(config, dataset)
    return config
