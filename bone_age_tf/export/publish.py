"""Writes a new version of an exported model to a temporary folder, checks it and publishes it."""

import dataclasses
import os
import platform
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

import keras
import tensorflow as tf

import bone_age_tf
from bone_age_tf import schema
from bone_age_tf.bundle import make_metadata
from bone_age_tf.evaluation.familiarity import Familiarity
from bone_age_tf.evaluation.interval import IntervalTable
from bone_age_tf.evaluation.site_calibration import SiteCalibration
from bone_age_tf.export import lite, lite_int8, onnx, parity, saved_model
from bone_age_tf.export.formats import (
    DEFAULT_FORMATS,
    DYNAMIC,
    FLOAT16,
    FLOAT32,
    FLOAT32_MAP,
    INT8,
    ONNX,
    file_name,
)
from bone_age_tf.export.keras_file import write_keras_file
from bone_age_tf.export.warm_up import write_warm_up
from bone_age_tf.files import write_json
from bone_age_tf.models.build import build_model, build_served_model
from bone_age_tf.models.layers import convolve_strided
from bone_age_tf.models.removal import build_mapped_model
from bone_age_tf.progress import shown
from bone_age_tf.quality.graph import QualityCheck
from bone_age_tf.regions.network import load_detector_network
from bone_age_tf.settings import Config
from bone_age_tf.training.precision import in_float32

_FROM_FLOAT32 = {FLOAT32, FLOAT16, DYNAMIC, INT8}
"""Formats that are made from the same float32 file."""


def publish(
    network: keras.Model,
    config: Config,
    calibration: list[parity.Case],
    cases: list[parity.Case],
    facts: dict,
    exports_dir: Path,
    interval: IntervalTable | None = None,
    site: SiteCalibration | None = None,
    familiarity: Familiarity | None = None,
    quality_check: QualityCheck | None = None,
    radiographs: Sequence[bytes] = (),
    formats: Sequence[str] = DEFAULT_FORMATS,
) -> tuple[Path, dict]:
    """Exports a trained network as the next version of its model.

    Args:
        network: the trained Keras model.
        config: its resolved config.
        calibration: training images for int8.
        cases: held-out cases for the comparison; with a quality check, their pixels are without
            margins.
        facts: metadata entries `data`, `metrics` and `training`.
        exports_dir: folder of all exports; the files are written to
            `<exports_dir>/<model>/<version>/`.
        interval: conformal interval table, which is included in the files.
        site: a site calibration that is included in the files, or None.
        familiarity: distribution of the model's features, for the distance from the training
            images.
        quality_check: quality check inside the SavedModel, or None.
        radiographs: PNG or JPEG files of drawn hands for the warm-up; without them there is none.
        formats: keys of `FORMATS`.

    Returns:
        The version's folder and the parity measured.

    Raises:
        ParityError: a file's predictions differ from the model's; nothing is published.
    """
    home = exports_dir / config.model
    home.mkdir(parents=True, exist_ok=True)
    detector = load_detector_network(exports_dir) if config.resize == schema.FRAME else None
    with in_float32():
        plain = build_model(config, config.image_size_px)
        plain.set_weights(network.get_weights())
        static = build_served_model(
            plain,
            None if interval is None else interval.for_graph(),
            None if site is None else (site.offset_months, site.slope),
            None if familiarity is None else dataclasses.astuple(familiarity),
        )
        mapped = build_mapped_model(static)
    with tempfile.TemporaryDirectory(prefix=".writing-", dir=home) as temporary:
        folder = Path(temporary) / "version"
        signatures = saved_model.write_saved_model(mapped, config, folder, quality_check, detector)
        if radiographs:
            write_warm_up(folder, config.model, list(signatures), config.image_size_px, radiographs)
        write_keras_file(plain, folder / schema.KERAS_FILE)
        convolve_strided(static)  # after it was saved as it was trained
        version = next_version(home)
        learned = {
            "interval": None if interval is None else interval.as_json(),
            "site_calibration": None if site is None else site.as_json(),
            "film_check": None if quality_check is None else quality_check.version,
            "map": {"shape": [1, *mapped.output[schema.MAP].shape[1:]], "range": [0, 1]},
        }
        metadata = _metadata(static, config, version, formats, signatures, facts | learned)
        single = [case.single for case in calibration]
        error = facts.get("metrics", {}).get("mae_months", {}).get("value", 0.0)
        files = _write_files(static, mapped, metadata, formats, single, error, folder)
        measured = parity.measure_parity(mapped, folder, files, cases)
        metadata["parity"] = measured
        write_json(folder / schema.METADATA_FILE, metadata)
        target = home / str(version)
        os.replace(folder, target)
    return target, measured


def _write_files(
    static: keras.Model,
    mapped: keras.Model,
    metadata: dict,
    formats: Sequence[str],
    calibration: Sequence[lite_int8.Case],
    error_months: float,
    folder: Path,
) -> dict[str, Path]:
    """Writes a file for each format and returns their paths by format."""
    size_px = metadata["preprocessing"]["size_px"]
    files = {form: folder / file_name(form) for form in formats}
    float32 = lite.convert_network(static, size_px) if _FROM_FLOAT32 & set(formats) else b""
    for form, path in shown(files.items(), len(files), "writing files"):
        if form == ONNX:
            onnx.write_onnx(static, metadata, path)
            continue
        if form == FLOAT32:
            data = float32
        elif form == FLOAT32_MAP:
            data = lite.convert_network(mapped, size_px)
        elif form == FLOAT16:
            data = lite.convert_float16(float32)
        elif form == DYNAMIC:
            data = lite.convert_dynamic(float32)
        elif form == INT8:
            data = lite_int8.convert_int8(float32, calibration, error_months)
        else:
            of_uint8 = lite.convert_network(static, size_px, uint8=True)
            data = lite_int8.convert_int8(of_uint8, calibration, error_months)
        path.write_bytes(lite.with_metadata(data, metadata))
    return files


def versions(home: Path) -> list[Path]:
    """Returns the versions in the folder of a model, the highest last."""
    found = [path for path in home.glob("*") if path.name.isdecimal()]
    return sorted(found, key=lambda path: int(path.name))


def next_version(home: Path) -> int:
    """Returns the number after the highest in the folder of a model."""
    found = versions(home)
    return int(found[-1].name) + 1 if found else 1


def _metadata(
    model: keras.Model,
    config: Config,
    version: int,
    formats: Sequence[str],
    signatures: dict[str, dict],
    facts: dict,
) -> dict:
    return make_metadata(
        config.model,
        version,
        config.image_size_px,
        config.resize,
        {name: [1, *tensor.shape[1:]] for name, tensor in model.output.items()},
        config.bin_months,
        {form: file_name(form) for form in formats},
        signatures,
        {
            "bone_age_tf": bone_age_tf.__version__,
            "tensorflow": tf.__version__,
            "keras": keras.__version__,
            "python": platform.python_version(),
        },
        facts,
    )


def remove_leftovers(exports_dir: Path, model: str) -> None:
    """Deletes the temporary files of an interrupted export."""
    for path in (exports_dir / model).glob(".writing-*"):
        shutil.rmtree(path, ignore_errors=True)
