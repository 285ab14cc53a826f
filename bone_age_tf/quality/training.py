"""From a dataset's hands to an exported quality check with its figures. Imports TensorFlow."""

import dataclasses
import json
from pathlib import Path

import numpy as np

from bone_age_tf import config as configs
from bone_age_tf.data import pipeline
from bone_age_tf.quality.fit import measure_film_check, train_film_check
from bone_age_tf.quality.network import SIZE_PX
from bone_age_tf.quality.publish import publish_film_check
from bone_age_tf.quality.samples import make_film_samples
from bone_age_tf.runs import DataOptions, prepare_parts

STEPS, TESTS, HANDS_PX = 4000, 10_000, 100
"""Training steps, samples that measure the network, and side of the hands they are made from."""
_PARITY_IMAGES = 64


def train_and_publish(dataset: str, data: DataOptions, exports_dir: Path, seed: int = 0) -> Path:
    """Trains, measures and exports the network for the quality check.

    Args:
        dataset: dataset or dataset/config with whole hands.
        data: where the dataset comes from.
        exports_dir: where the export goes.
        seed: of every random choice.

    Returns:
        The export's folder.
    """
    config = configs.load_config("cnn", dataset.partition("/")[0])  # for its division into parts
    builder, parts = prepare_parts(config, dataset, data)
    hands, others = (
        pipeline.read_images(builder, parts[name], HANDS_PX, "stretch")
        for name in ("train", "validation")
    )
    print(f"film_check on {builder.info.full_name}: {len(hands)} hands, {STEPS} steps")
    network = train_film_check(hands, STEPS, seed)
    figures = measure_film_check(network, others, TESTS, seed)
    random = np.random.default_rng(seed)
    images = make_film_samples(others, _PARITY_IMAGES, SIZE_PX, random).images
    facts = {
        "data": {
            "name": builder.info.full_name,
            "train": str(parts["train"]),
            "train_images": len(hands),
            "tested_on": str(parts["validation"]),
        },
        "training": {"seed": seed, "steps": STEPS},
    }
    folder = publish_film_check(network, figures, facts, images, exports_dir)
    print(json.dumps(dataclasses.asdict(figures), indent=2))
    print(f"export: {folder}")
    return folder
