"""Trains, measures and exports the region detector from phantoms and annotated radiographs."""

from pathlib import Path

import numpy as np

from bone_age_tf import schema
from bone_age_tf.errors import ConfigError
from bone_age_tf.files import require_writable_folder
from bone_age_tf.prepare import GENERATED, prepare_dataset
from bone_age_tf.regions import boxes as region_boxes
from bone_age_tf.regions.boxes import RegionImages
from bone_age_tf.regions.figures import DetectionFigures, measure_region_detector
from bone_age_tf.regions.fit import train_region_detector
from bone_age_tf.regions.network import SIZE_PX
from bone_age_tf.regions.publish import publish_region_detector
from bone_age_tf.regions.samples import as_inputs
from bone_age_tf.runs import DataOptions
from bone_age_tf.training.precision import set_precision

PHANTOMS = ("hand_phantom/large", "hand_phantom/only_bones")
"""Datasets of phantoms with varied radiographs, and with hands of any size at any age."""
STEPS = (4500, 1500)
_PARITY_IMAGES = 64


def train_and_publish(
    dataset: str | None,
    boxes: Path | None,
    data: DataOptions,
    workdir: Path,
    exports_dir: Path,
    seed: int = 0,
    precision: str = "auto",
) -> Path:
    """Trains, measures and exports the region detector.

    Args:
        dataset: dataset of annotated radiographs, or of phantoms.
        boxes: folder with a Pascal VOC file for each annotated radiograph; None for phantoms.
        data: location of the dataset.
        workdir: folder of the training.
        exports_dir: folder of all exports.
        seed: seed of every random choice.
        precision: one of `schema.PRECISIONS`.

    Returns:
        The export's folder.

    Raises:
        ConfigError: boxes are given for phantoms or missing for radiographs.
        AnnotationError: an annotation cannot be used.
    """
    dataset = dataset or PHANTOMS[0]
    generated = dataset.partition("/")[0] in GENERATED
    if generated == (boxes is not None):
        raise ConfigError(
            "--boxes=FOLDER is needed with a --dataset of radiographs, such as rsna_bone_age: a "
            "Pascal VOC file IMAGE_ID.xml for each annotated image. Phantoms have their own boxes"
        )
    require_writable_folder(exports_dir)
    trained_on = [dataset] if generated and "/" in dataset else list(PHANTOMS)
    builders = [prepare_dataset(name, data.data_dir, None) for name in trained_on]
    phantoms = joined([region_boxes.read_phantoms(b, "train", SIZE_PX) for b in builders])
    annotated, tested = None, {}
    if not generated:
        assert boxes is not None
        builder = prepare_dataset(dataset, data.data_dir, data.manual_dir, data.skip_bad_rows)
        images = region_boxes.read_annotated(builder, boxes, SIZE_PX)
        holdout_ids = region_boxes.held_out(images.image_id)
        mask = np.array([name in holdout_ids for name in images.image_id])
        annotated, tested[builder.info.full_name] = images.chosen(~mask), images.chosen(mask)
    for builder in builders:
        tested[builder.info.full_name] = region_boxes.read_phantoms(builder, "test", SIZE_PX)
    set_precision(precision)
    print(
        f"region_detector on {len(phantoms)} phantoms and "
        f"{0 if annotated is None else len(annotated)} annotated images; folder: {workdir}"
    )
    network = train_region_detector(phantoms, annotated, STEPS, seed, workdir)
    figures = {name: measure_region_detector(network, hands) for name, hands in tested.items()}
    facts = {
        "data": {
            "phantoms": trained_on,
            "phantom_images": len(phantoms),
            "annotated": None if annotated is None else dataset,
            "annotated_images": 0 if annotated is None else len(annotated),
            "held_out": "by the hash of the id",
        },
        "training": {"seed": seed, "steps": STEPS},
    }
    parity_images = as_inputs(next(iter(tested.values())).images[:_PARITY_IMAGES])
    folder = publish_region_detector(network, figures, facts, parity_images, exports_dir)
    print(figures_text(figures))
    print(f"export: {folder}")
    return folder


def joined(parts: list[RegionImages]) -> RegionImages:
    """Concatenates sets of images."""
    ids = [name for part in parts for name in part.image_id]
    return RegionImages(
        ids,
        np.concatenate([part.images for part in parts]),
        np.concatenate([part.boxes for part in parts]),
    )


def figures_text(figures: dict[str, DetectionFigures]) -> str:
    """Formats the accuracy as a table for the terminal."""
    groups = schema.REGION_GROUPS
    head = f"{'n':>6}{'mAP@.5':>8}" + "".join(f"{name:>8}" for name in groups)
    lines = [f"{'held out':32}{head}   mean centre error, % of the width"]
    for name, accuracy in figures.items():
        cells = "".join(f"{accuracy.by_group[group]:8.3f}" for group in groups)
        error = 100 * accuracy.centre_error
        lines.append(f"{name:32}{accuracy.images:6}{accuracy.map_50:8.3f}{cells}   {error:.1f}")
    return "\n".join(lines)
