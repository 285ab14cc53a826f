"""Exports a run: chooses the cases for calibration and comparison, and collects the metadata."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from bone_age_tf import config as configs
from bone_age_tf import schema
from bone_age_tf.data import pipeline
from bone_age_tf.errors import ConfigError
from bone_age_tf.evaluation.site_calibration import SiteCalibration
from bone_age_tf.export import parity, publish
from bone_age_tf.export.formats import DEFAULT_FORMATS
from bone_age_tf.files import only_one_process, write_json
from bone_age_tf.native_output import native_stderr_held_back
from bone_age_tf.prepare import draw_radiographs
from bone_age_tf.quality.publish import load_quality_check
from bone_age_tf.runs import Run, evaluate, familiarity, interval_table, region_norms

WARM_UP_AGES_MONTHS = (30.0, 84.0, 144.0, 192.0)


def export(
    current: Run,
    calibration: SiteCalibration | None = None,
    quality_check: bool = True,
    formats: Sequence[str] = DEFAULT_FORMATS,
) -> dict:
    """Exports the best checkpoint as a new version and prints the parity of its forms.

    The SavedModel includes the newest quality check of the exports, if there is one.

    Raises:
        ConfigError: the site calibration was not made with this run's export.
    """
    config = current.config
    if calibration is not None:
        _require_made_with(current, calibration)
    table = interval_table(current)  # first: it may measure anew
    metrics_file = current.workdir / "evaluation" / "metrics.json"
    metrics = json.loads(metrics_file.read_text()) if metrics_file.exists() else evaluate(current)
    norms = region_norms(current)
    facts: dict[str, Any] = {
        "data": {
            "name": current.builder.info.full_name,
            "train": str(current.parts["train"]),
            "train_images": current.training_images(),
            "tested_on": str(current.parts["test"]),
        },
        "metrics": {"n": metrics["n"], **metrics["overall"]},
        "training": {"seed": current.seed, "config": configs.flat(config)},
        "regions": None if norms is None else norms.as_json(),
    }
    checker = load_quality_check(current.exports_dir) if quality_check else None
    checked = "with the quality check" if checker else "without a quality check"
    print(f"exporting: SavedModel ({checked}), LiteRT {', '.join(formats)}")
    learned = familiarity(current)
    calibrating = _cases(current, "train", config.calibration_images, _for_calibration)
    compared = _cases(current, "test", config.parity_images, _evenly, checker is not None)
    # The converter and LiteRT report each of their steps.
    home = current.exports_dir / config.model
    with only_one_process(home, f"exporting {config.model}"), native_stderr_held_back():
        publish.remove_leftovers(current.exports_dir, config.model)
        folder, measured = publish.publish(
            current.network(),
            config,
            calibrating,
            compared,
            facts,
            current.exports_dir,
            table,
            calibration,
            learned,
            checker,
            draw_radiographs(WARM_UP_AGES_MONTHS),
            formats,
        )
    print(parity.parity_table(measured))
    print(f"export: {folder}")
    record = {"folder": str(folder), "parity": measured}
    if calibration is None:  # the record is of the run's own answers
        write_json(current.workdir / "export.json", record)
    return record


def _require_made_with(current: Run, calibration: SiteCalibration) -> None:
    """Checks that a site calibration belongs to the network that is exported."""
    record = current.workdir / "export.json"
    folder = Path(json.loads(record.read_text())["folder"]) if record.exists() else None
    exported = None if folder is None else (folder.parent.name, folder.name)
    if exported != (calibration.model, str(calibration.version)):
        here = "not exported yet" if exported is None else " version ".join(exported)
        raise ConfigError(
            f"the site calibration was made for {calibration.model} version {calibration.version}; "
            f"the export of {current.workdir} is {here}. Name the right run with --workdir, or "
            "calibrate again"
        )


def _cases(
    current: Run, part: str, count: int, choose: Callable[..., Any], trim: bool = False
) -> list[parity.Case]:
    table = pipeline.read_table(current.builder, current.parts[part])
    wanted = choose(table.sex, table.age_months, min(count, len(table)))
    return [case for _, case in numbered_cases(current, part, wanted, trim)]


def _evenly(sex: np.ndarray, age_months: np.ndarray, count: int) -> list[int]:
    """Chooses cases that are evenly spread over a part."""
    places = np.linspace(0, len(sex) - 1, count).round().astype(int)
    return [int(place) for place in places]


def _for_calibration(sex: np.ndarray, age_months: np.ndarray, count: int) -> list[int]:
    """Chooses half of the cases by age and sex, and half evenly spread."""
    chosen = _by_age_and_sex(sex, age_months, count // 2)
    others = np.setdiff1d(np.arange(len(sex)), chosen)
    return chosen + [int(others[place]) for place in _evenly(others, others, count - len(chosen))]


def _by_age_and_sex(sex: np.ndarray, age_months: np.ndarray, count: int) -> list[int]:
    """Chooses equally many girls and boys, with ages as uniform as possible."""
    chosen: list[int] = []
    for code in range(len(schema.SEX_NAMES)):
        left = list(np.flatnonzero(sex == code))
        share = min(len(left), (count - len(chosen)) // (len(schema.SEX_NAMES) - code))
        ages = age_months[left] if left else np.zeros(1)
        for age in np.linspace(ages.min(), ages.max(), share):
            nearest = min(left, key=lambda place: abs(age_months[place] - age))
            left.remove(nearest)
            chosen.append(int(nearest))
    return chosen


def numbered_cases(
    current: Run, part: str, wanted: list[int], trim: bool = False
) -> list[tuple[int, parity.Case]]:
    """Returns the cases of a part at some indices, each with its index.

    Args:
        current: the run.
        part: a key of its parts.
        wanted: the indices.
        trim: whether margins are cropped, as in the quality check.
    """
    image_fn = pipeline.traced_decoding(current.config.image_size_px, current.config.resize, trim)
    chosen = tf.constant(wanted, tf.int64)
    rows = pipeline.read_encoded(current.builder, current.parts[part]).enumerate()
    rows = rows.filter(lambda index, row: tf.reduce_any(index == chosen))
    rows = rows.map(
        lambda index, row: (index, row, image_fn(row[schema.IMAGE])),
        num_parallel_calls=tf.data.AUTOTUNE,
    )
    found = {
        int(index): parity.Case(
            row[schema.IMAGE], image, int(row[schema.SEX]), float(row[schema.AGE_MONTHS])
        )
        for index, row, image in rows.as_numpy_iterator()
    }
    return [(index, found[index]) for index in wanted]
