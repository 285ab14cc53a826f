"""Audits every image and label of a dataset. Imports TensorFlow."""

from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from bone_age_tf import schema
from bone_age_tf.data import pipeline
from bone_age_tf.data.audit import (
    HandFacts,
    ImageFacts,
    describe_hand,
    describe_image,
    find_twins,
)
from bone_age_tf.evaluation.audit_report import write_audit
from bone_age_tf.evaluation.label_doubt import robust_deviation
from bone_age_tf.evaluation.suspects import Audited, Suspect
from bone_age_tf.images import reading, resizing
from bone_age_tf.progress import shown
from bone_age_tf.quality.checker import QualityChecker
from bone_age_tf.regions import frame
from bone_age_tf.regions.detector import RegionDetector
from bone_age_tf.settings import Config
from bone_age_tf.training.out_of_fold import fold_of, out_of_fold_months

UNUSED = "in no run"


def audit_dataset(
    config: Config,
    builder: tfds.core.DatasetBuilder,
    parts: dict[str, pipeline.Part],
    checker: QualityChecker | None,
    detector: RegionDetector | None,
    folds: int,
    folder: Path,
    seed: int,
    command: str,
) -> list[Suspect]:
    """Audits all splits of a dataset and writes the report.

    Args:
        config: config of the networks that predict the labels, and of the image size.
        builder: TFDS builder of the prepared dataset.
        parts: training, validation and test parts; see `pipeline.choose_parts`.
        checker: the quality check, or None.
        detector: the region detector, or None.
        folds: number of networks that predict held-out labels; 0 for none.
        folder: folder for the report and for the networks' predictions.
        seed: seed of the networks.
        command: the command that the report names.

    Returns:
        The suspect images.
    """
    tables, images, part, facts, inspected = [], [], [], [], []
    for split in builder.info.splits:
        whole = pipeline.Part(split)
        table = pipeline.read_table(builder, whole)
        tables.append(table)
        images.append(pipeline.read_images(builder, whole, config.image_size_px, config.resize))
        part += _uses(builder, parts, split, table)
        rows = pipeline.read_encoded(builder, whole).as_numpy_iterator()
        for row in shown(rows, len(table), f"auditing the {split} images"):
            facts.append(describe_image(row[schema.IMAGE]))
            inspected.append(_inspect(checker, detector, row[schema.IMAGE]))
    ids = [image_id for table in tables for image_id in table.image_id]
    sex, ages = (np.concatenate([getattr(t, n) for t in tables]) for n in ("sex", "age_months"))
    pixels = np.concatenate(images)
    trains = np.array([use.startswith(_USES["train"]) for use in part])
    months = deviation = None
    if folds:
        fold = [fold_of(name, folds) if t else -1 for name, t in zip(ids, trains, strict=True)]
        months = out_of_fold_months(config, pixels, sex, ages, np.array(fold), folder, seed)
        deviation = np.zeros(len(ids))
        for group in (trains, ~trains):
            if group.any():
                deviation[group] = robust_deviation(ages[group], months[0, group])
    refused, corrected, hands = zip(*inspected, strict=True)
    audited = Audited(
        builder.info.full_name,
        ids,
        part,
        trains,
        sex,
        ages,
        facts,
        _twins(facts),
        refused if checker is not None else None,
        corrected if checker is not None else None,
        hands if detector is not None else None,
        months,
        deviation,
    )
    return write_audit(folder, audited, pixels, command)


_USES = {"train": "trains", "validation": "validates", "test": "tests"}


def _uses(
    builder: Any, parts: dict[str, pipeline.Part], split: str, table: pipeline.Table
) -> list[str]:
    """Returns what each image of a split is used for, such as `trains (train)`."""
    uses: dict[str, list[str]] = {image_id: [] for image_id in table.image_id}
    for name, word in _USES.items():
        if parts[name].split == split:
            for image_id in pipeline.read_table(builder, parts[name]).image_id:
                uses[image_id].append(word)
    return [f"{' and '.join(words) or UNUSED} ({split})" for words in uses.values()]


def _inspect(
    checker: QualityChecker | None, detector: RegionDetector | None, png: bytes
) -> tuple[str, str, HandFacts | None]:
    """Returns an image's rejection, its corrections, and the location of its hand."""
    whole = reading.read_radiograph(png)
    image, refused, corrected = resizing.trim_margins(whole), "", ""
    if checker is not None:
        checked = checker.check(whole)
        if checked.image is None:
            refused = checked.rejection
        else:
            image, corrected = checked.image, checked.reason
    if detector is None:
        return refused, corrected, None
    regions = frame.find_regions(image, detector)
    longer_side_px = max(whole.shape)
    hand = describe_hand(regions.boxes, regions.scores, image.shape, longer_side_px)
    return refused, corrected, hand


def _twins(facts: list[ImageFacts]) -> Any:
    print(f"comparing {len(facts):,} images with each other")
    return find_twins(facts)
