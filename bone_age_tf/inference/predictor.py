"""Bone age from an exported model through LiteRT; neither TensorFlow nor Keras is imported."""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter

from bone_age_tf import schema
from bone_age_tf.errors import InputError, ModelError, PredictionError
from bone_age_tf.evaluation.site_calibration import SiteCalibration
from bone_age_tf.images import resizing
from bone_age_tf.native_output import native_stderr_held_back

METADATA_FILE = "metadata.json"
SHIPPED_MODEL = "efficientnet_lite0"
SIGNATURE = "serving_default"
MOST_EXACT_FIRST = ("float32", "float32_map", "float16", "int8", "dynamic", "uint8")
"""LiteRT files of an export, in the order in which they are taken where none is named."""

_SEX_CODES = {name: code for code, name in enumerate(schema.SEX_NAMES)}
_PIXEL_RANGE = [0, 255]


class _ResizeModeError(ValueError):
    """Metadata with a resize mode that this version does not have, as older exports may have."""


@dataclass(frozen=True)
class Prediction:
    """A bone age.

    Attributes:
        age_months: the estimate.
        lower_90: lower end of the 90 % interval in months, None where the model gives none.
        upper_90: upper end of it.
        distribution: [K] probability per age bin, None from a regression head. A site's
            calibration leaves it as it is.
        unfamiliarity: of the image, above 1 the model knows nothing like it; None where the export
            cannot tell.
    """

    age_months: float
    lower_90: float | None
    upper_90: float | None
    distribution: np.ndarray | None
    unfamiliarity: float | None = None


@dataclass(frozen=True)
class _Metadata:
    name: str
    version: int
    size_px: int
    resize: str
    outputs: frozenset[str]
    site_calibrated: bool
    scatter_months: float | None
    files: dict[str, str]


class Predictor:
    """One loaded model. Not for use from several threads at once: each needs a `copy`.

    Attributes:
        name: the model's name.
        version: the export's number.
        variant: which of the export's files was loaded, for instance float32 or int8.
        size_px: side of the square that the model takes.
        resize_mode: how an image comes to that size, one of `schema.RESIZE_MODES`.
        scatter_months: root mean squared error where the model was tested, None where not known.
        site_calibrated: whether the export itself holds a site's calibration.
        calibration: the site's calibration that is applied to its answers, or None.
    """

    def __init__(
        self,
        interpreter: Interpreter,
        metadata: _Metadata,
        path: Path,
        variant: str,
        calibration: SiteCalibration | None = None,
    ):
        self._interpreter, self._metadata, self._path = interpreter, metadata, path
        self._runner = interpreter.get_signature_runner(SIGNATURE)
        taken = self._runner.get_input_details()[schema.IMAGE]["dtype"]
        self._takes_uint8 = np.dtype(taken) == np.uint8
        self.name = metadata.name
        self.version = metadata.version
        self.variant = variant
        self.size_px = metadata.size_px
        self.resize_mode = metadata.resize
        self.scatter_months = metadata.scatter_months
        self.site_calibrated = metadata.site_calibrated
        self.calibration = calibration

    @classmethod
    def load(
        cls,
        folder: str | Path,
        variant: str | None = None,
        threads: int = 2,
        calibration: SiteCalibration | None = None,
    ) -> "Predictor":
        """Loads an export folder.

        Args:
            folder: `exports/<model>/<version>`, with a metadata.json and LiteRT files.
            variant: a key of `files` in the metadata, of a LiteRT file; None for the most exact
                one there is.
            threads: CPU threads of the interpreter.
            calibration: of a site, made for this export.

        Raises:
            ModelError: a file is missing or malformed, the variant is unknown, the metadata and
                the LiteRT file contradict each other, or the calibration is of another model or
                comes on top of one that the export holds.
        """
        folder = Path(folder)
        metadata = _read_metadata(folder)
        _check_calibration(calibration, metadata, folder)
        if variant is None:
            variant = next((one for one in MOST_EXACT_FIRST if one in metadata.files), "float32")
        if variant not in metadata.files:
            raise ModelError(
                f"{folder / METADATA_FILE}: no variant {variant!r}; "
                f"it has: {', '.join(sorted(metadata.files))}"
            )
        path = folder / metadata.files[variant]
        if not path.is_file():
            raise ModelError(f"{path}: no such file; {_remedy(folder)}")
        try:
            with native_stderr_held_back():
                interpreter = Interpreter(model_path=str(path), num_threads=threads)
                interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            raise ModelError(
                f"{path}: not a usable LiteRT model ({error}); {_remedy(folder)}"
            ) from None
        _check_signature(interpreter, metadata, path)
        return cls(interpreter, metadata, path, variant, calibration)

    def copy(self) -> "Predictor":
        """Returns another of the same for another thread; its interpreter has one thread itself."""
        interpreter = Interpreter(model_path=str(self._path), num_threads=1)
        interpreter.allocate_tensors()
        return Predictor(interpreter, self._metadata, self._path, self.variant, self.calibration)

    def fit_image(self, image: np.ndarray) -> np.ndarray:
        """Resizes to what the model takes.

        Args:
            image: [H, W] float32, 0 to 255.

        Returns:
            [size_px, size_px] float32, 0 to 255.

        Raises:
            InputError: not two-dimensional, or without pixels.
        """
        if image.ndim != 2 or not image.size:
            raise InputError(f"image has shape {image.shape}; give [H, W] with at least one pixel")
        return resizing.resize(np.asarray(image, np.float32), self.size_px, self.resize_mode)

    def predict(self, image: np.ndarray, sex: int) -> Prediction:
        """Estimates the bone age in one radiograph.

        Args:
            image: [H, W] float32, 0 to 255, of any size.
            sex: `schema.FEMALE` or `schema.MALE`.

        Raises:
            InputError: the image is not [H, W] or the sex is no code.
            PredictionError: the model answered something that is not a finite number.
        """
        return self.predict_fitted(self.fit_image(image), sex)

    def predict_fitted(self, image: np.ndarray, sex: int) -> Prediction:
        """Estimates the bone age in an image [size_px, size_px] from `fit_image`.

        Args and errors as for `predict`.
        """
        if sex not in (schema.FEMALE, schema.MALE):
            raise InputError(f"sex is {sex!r}; give {schema.FEMALE} (female) or {schema.MALE}")
        pixels = image[np.newaxis, :, :, np.newaxis]
        if self._takes_uint8:
            pixels = np.clip(np.rint(pixels), 0, 255).astype(np.uint8)
        outputs = self._runner(
            image=pixels,
            sex=np.full((1, 1), sex, np.float32),
        )
        for name, values in outputs.items():
            if not np.isfinite(values).all():
                raise PredictionError(f"the model's answer for {name} is not a finite number")
        age = float(outputs[schema.AGE_MONTHS].item())
        interval = outputs.get(schema.INTERVAL_90)
        if self.calibration is not None:
            age = float(self.calibration.apply(age, sex))
            interval = None if interval is None else self.calibration.apply(interval, sex)
        lower, upper = (None, None) if interval is None else map(float, interval[0])
        distribution = outputs.get(schema.DISTRIBUTION)
        distance = outputs.get(schema.UNFAMILIARITY)
        return Prediction(
            age,
            lower,
            upper,
            None if distribution is None else distribution[0],
            None if distance is None else float(distance.item()),
        )


def exported_versions(exports_dir: str | Path) -> dict[str, list[Path]]:
    """Returns the version folders of each exported model, the highest version last.

    A version is a folder with a whole number for a name and a metadata.json in it.
    """
    versions: dict[str, list[Path]] = {}
    for path in sorted(Path(exports_dir).glob(f"*/*/{METADATA_FILE}")):
        if re.fullmatch(r"[0-9]+", path.parent.name):
            versions.setdefault(path.parent.parent.name, []).append(path.parent)
    return {
        model: sorted(folders, key=lambda folder: int(folder.name))
        for model, folders in versions.items()
    }


def latest_version(exports_dir: str | Path, model: str) -> Path:
    """Returns the folder of a model's highest version.

    Raises:
        ModelError: the model was not exported; the message lists those that were and the command
            that makes one.
    """
    known = exported_versions(exports_dir)
    if model not in known:
        there = ", ".join(name for name in known if name not in schema.CHECKERS) or "none"
        raise ModelError(
            f"{exports_dir}: no exported model {model!r} (exported: {there}); "
            f"make it with: python run.py --model={model}"
        )
    return known[model][-1]


def choose_version(exports_dir: str | Path, model: str | None) -> Path:
    """Returns the folder to predict with: a model's highest version.

    Args:
        exports_dir: the folder with `<model>/<version>/`.
        model: its name; None for the one that the project ships, or else the newest there is.

    Raises:
        ModelError: as of `latest_version`.
    """
    if model is None:
        known = exported_versions(exports_dir)
        folders = [known[name][-1] for name in known if name not in schema.CHECKERS]
        if SHIPPED_MODEL in known or not folders:
            return latest_version(exports_dir, SHIPPED_MODEL)
        return max(folders, key=lambda folder: (folder / METADATA_FILE).stat().st_mtime)
    return latest_version(exports_dir, model)


def _remedy(folder: Path) -> str:
    return f"make the export again with: python run.py --model={folder.absolute().parent.name}"


def _read_metadata(folder: Path) -> _Metadata:
    path = folder / METADATA_FILE
    try:
        return _parse_metadata(json.loads(path.read_text("utf-8")))
    except FileNotFoundError:
        raise ModelError(f"{path}: no such file; {_remedy(folder)}") from None
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({error.strerror})") from None
    except _ResizeModeError as error:
        raise ModelError(
            f"{path}: {error}. Export again with this version: "
            "python run.py --mode=export --workdir=runs/NAME"
        ) from None
    except KeyError as error:
        raise ModelError(f"{path}: lacks the entry {error}; {_remedy(folder)}") from None
    except (AttributeError, TypeError, ValueError) as error:
        raise ModelError(f"{path}: malformed ({error}); {_remedy(folder)}") from None


def _parse_metadata(raw: dict[str, Any]) -> _Metadata:
    inputs, preprocessing = raw["inputs"], raw["preprocessing"]
    size_px, mode = preprocessing["size_px"], preprocessing["resize"]
    if mode not in schema.RESIZE_MODES:
        raise _ResizeModeError(
            f"preprocessing.resize is {mode!r}, which this version does not read; "
            f"possible: {', '.join(schema.RESIZE_MODES)}"
        )
    expected = {
        "inputs.image.shape": (inputs["image"]["shape"], ([1, size_px, size_px, 1],)),
        "inputs.image.range": (inputs["image"]["range"], (_PIXEL_RANGE,)),
        "inputs.sex.values": (inputs["sex"]["values"], (_SEX_CODES,)),
    }
    for entry, (value, allowed) in expected.items():
        if value not in allowed:
            raise ValueError(f"{entry} is {value!r}; possible: {', '.join(map(str, allowed))}")
    return _Metadata(
        name=str(raw["name"]),
        version=int(raw["version"]),
        size_px=int(size_px),
        resize=mode,
        outputs=frozenset(raw["outputs"].keys()),
        site_calibrated=raw.get("site_calibration") is not None,
        scatter_months=_tested_scatter(raw),
        files={str(variant): str(name) for variant, name in raw["files"].items()},
    )


def _tested_scatter(raw: dict[str, Any]) -> float | None:
    rmse = raw.get("metrics", {}).get("rmse_months")
    return None if rmse is None else float(rmse["value"])


def _check_calibration(
    calibration: SiteCalibration | None, metadata: _Metadata, folder: Path
) -> None:
    if calibration is None:
        return
    if metadata.site_calibrated:
        raise ModelError(f"{folder}: this export holds a site's calibration; give no second one")
    made_for, this = (calibration.model, calibration.version), (metadata.name, metadata.version)
    if made_for != this:
        raise ModelError(
            f"the site calibration was made for {made_for[0]} version {made_for[1]}, not for "
            f"{this[0]} version {this[1]}; make one with: python run.py --mode=calibrate "
            f"--model={this[0]} --input=site.csv"
        )


def _check_signature(interpreter: Interpreter, metadata: _Metadata, path: Path) -> None:
    signature = interpreter.get_signature_list().get(SIGNATURE)
    if signature is None:
        raise ModelError(f"{path}: no signature {SIGNATURE}; {_remedy(path.parent)}")
    inputs, outputs = sorted(signature["inputs"]), sorted(signature["outputs"])
    if inputs != sorted((schema.IMAGE, schema.SEX)):
        raise ModelError(
            f"{path}: inputs are {', '.join(inputs)}, not {schema.IMAGE}, {schema.SEX}; "
            f"{_remedy(path.parent)}"
        )
    # A map may come beside them; nothing here reads it.
    named = metadata.outputs - {schema.MAP}
    if frozenset(outputs) - {schema.MAP} != named or schema.AGE_MONTHS not in outputs:
        raise ModelError(
            f"{path}: outputs are {', '.join(outputs)}, but {METADATA_FILE} names "
            f"{', '.join(sorted(metadata.outputs))}; {schema.AGE_MONTHS} must be among them; "
            f"{_remedy(path.parent)}"
        )
    details = interpreter.get_signature_runner(SIGNATURE).get_input_details()
    shapes = {
        schema.IMAGE: [1, metadata.size_px, metadata.size_px, 1],
        schema.SEX: [1, 1],
    }
    for name, shape in shapes.items():
        found, dtype = details[name]["shape"].tolist(), np.dtype(details[name]["dtype"])
        known = (np.float32, np.uint8) if name == schema.IMAGE else (np.float32,)
        if found != shape or dtype not in known:
            raise ModelError(
                f"{path}: input {name} is {found} {dtype}, not {shape} float32; "
                f"{_remedy(path.parent)}"
            )
