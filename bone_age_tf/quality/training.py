"""Trains, measures and exports the quality check from a prepared dataset. Imports TensorFlow."""

import dataclasses
import json
from pathlib import Path

import numpy as np

from bone_age_tf import config as configs
from bone_age_tf.data import pipeline
from bone_age_tf.quality.fit import measure_quality_check, train_quality_check
from bone_age_tf.quality.network import SIZE_PX
from bone_age_tf.quality.publish import publish_quality_check
from bone_age_tf.quality.samples import make_quality_samples
from bone_age_tf.runs import DataOptions, prepare_parts

STEPS, TESTS, HANDS_PX = 4000, 10_000, 100
"""Number of training steps, number of test samples, and side in pixels of the images of hands from
which samples are made."""
_PARITY_IMAGES = 64
"""Number of samples on which the exported file is compared with the network."""


def train_and_publish(dataset: str, data: DataOptions, exports_dir: Path, seed: int = 0) -> Path:
    """Trains, measures and exports the network for the quality check.

    Args:
        dataset: name or name/config of a dataset of whole hands.
        data: location of the dataset.
        exports_dir: folder of all exports.
        seed: seed of every random choice.

    Returns:
        The export's folder.
    """
    config = configs.load_config(
        "cnn", dataset.partition("/")[0]
    )  # only the split settings are used
    builder, parts = prepare_parts(config, dataset, data)
    hands, others = (
        pipeline.read_images(builder, parts[name], HANDS_PX, "stretch")
        for name in ("train", "validation")
    )
    print(f"quality check on {builder.info.full_name}: {len(hands)} hands, {STEPS} steps")
    network = train_quality_check(hands, STEPS, seed)
    figures = measure_quality_check(network, others, TESTS, seed)
    random = np.random.default_rng(seed)
    images = make_quality_samples(others, _PARITY_IMAGES, SIZE_PX, random).images
    facts = {
        "data": {
            "name": builder.info.full_name,
            "train": str(parts["train"]),
            "train_images": len(hands),
            "tested_on": str(parts["validation"]),
        },
        "training": {"seed": seed, "steps": STEPS},
    }
    folder = publish_quality_check(network, figures, facts, images, exports_dir)
    print(json.dumps(dataclasses.asdict(figures), indent=2))
    print(f"export: {folder}")
    return folder
