"""Trains, measures and exports the region detector from phantoms and annotated radiographs."""

from pathlib import Path
from typing import Any

import numpy as np

from bone_age_tf import schema
from bone_age_tf.bundle import load_region_detector
from bone_age_tf.data import pipeline
from bone_age_tf.errors import ConfigError
from bone_age_tf.files import require_writable_folder
from bone_age_tf.prepare import GENERATED, prepare_dataset
from bone_age_tf.regions import boxes as region_boxes
from bone_age_tf.regions.boxes import RegionImages
from bone_age_tf.regions.figures import DetectionFigures, measure_region_detector
from bone_age_tf.regions.fit import train_region_detector
from bone_age_tf.regions.labelling import label_radiographs
from bone_age_tf.regions.network import SIZE_PX, SOURCE_PX
from bone_age_tf.regions.publish import publish_region_detector
from bone_age_tf.regions.samples import as_inputs
from bone_age_tf.runs import DataOptions
from bone_age_tf.training.precision import set_precision

PHANTOMS = ("hand_phantom/large",)
"""Radiographs as different as real ones."""
STEPS = (4500, 10_000, 2500)
HOLDOUT_FRACTION = 0.1
"""Share of the radiographs, by id, that teach neither the detector nor the models of bone age."""
LABELLED_FILE = "labelled.npz"
"""What an earlier detector has found, in the folder of the training."""
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
    phantoms = joined([_phantoms(one, "train") for one in builders])
    annotated, labelled, tested = None, None, {}
    if not generated:
        assert boxes is not None
        builder = prepare_dataset(
            dataset, data.data_dir, data.manual_dir, data.skip_bad_rows, data.beam_runner
        )
        annotated, held_out = _annotated(builder, boxes)
        tested[builder.info.full_name] = held_out
        left_out = {*annotated.image_id, *held_out.image_id}
        labelled = _labelled(builder, left_out, workdir, exports_dir)
        table = pipeline.read_table(builder, pipeline.Part("train"))
        ids = (Path(name).stem for name in table.image_id)
        ages = dict(zip(ids, table.age_months, strict=True))
        annotated = annotated.balanced(ages)
        labelled = None if labelled is None else labelled.balanced(ages)
    for one in builders:
        tested[one.info.full_name] = _phantoms(one, "test")
    set_precision(precision)
    print(
        f"region_detector on {len(phantoms)} phantoms, "
        f"{0 if annotated is None else len(annotated)} annotated and "
        f"{0 if labelled is None else len(labelled)} labelled images; its folder: {workdir}"
    )
    network = train_region_detector(phantoms, annotated, STEPS, seed, workdir, labelled)
    figures = {name: measure_region_detector(network, hands) for name, hands in tested.items()}
    facts = {
        "data": {
            "phantoms": trained_on,
            "phantom_images": len(phantoms),
            "annotated": None if annotated is None else dataset,
            "annotated_images": 0 if annotated is None else len(annotated),
            "labelled_images": 0 if labelled is None else len(labelled),
            "held_out": "by the hash of the id",
        },
        "training": {"seed": seed, "steps": STEPS},
    }
    images = as_inputs(next(iter(tested.values())).images[:_PARITY_IMAGES], SIZE_PX)
    folder = publish_region_detector(network, figures, facts, images, exports_dir)
    print(figures_text(figures))
    print(f"export: {folder}")
    return folder


def _phantoms(builder: Any, split: str) -> RegionImages:
    return region_boxes.read_phantoms(builder, split, SOURCE_PX, resize="pad")


def _annotated(builder: Any, folder: Path) -> tuple[RegionImages, RegionImages]:
    """Returns the annotated radiographs that teach, and those that are held out."""
    found = region_boxes.read_annotated(builder, folder, SOURCE_PX, resize="pad")
    out = region_boxes.held_out(found.image_id)
    mask = np.array([name in out for name in found.image_id])
    return found.chosen(~mask), found.chosen(mask)


def _labelled(
    builder: Any, left_out: set[str], workdir: Path, exports_dir: Path
) -> RegionImages | None:
    """Returns the radiographs that the newest exported detector is certain of, None without one."""
    path = workdir / LABELLED_FILE
    if path.exists():
        with np.load(path) as stored:
            return RegionImages(stored["ids"].tolist(), stored["images"], stored["boxes"])
    teacher = load_region_detector(exports_dir)
    if teacher is None:
        return None
    part = pipeline.choose_parts(list(builder.info.splits), HOLDOUT_FRACTION, False)["train"]
    found = label_radiographs(builder, part, teacher, SOURCE_PX, left_out)
    workdir.mkdir(parents=True, exist_ok=True)
    part_path = path.with_suffix(".part.npz")
    np.savez(part_path, ids=np.array(found.image_id), images=found.images, boxes=found.boxes)
    part_path.replace(path)
    return found


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
