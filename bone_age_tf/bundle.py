"""Exported models: writes and reads the metadata of an export's folder.

An export is a folder `<exports>/<model>/<version>/` with `metadata.json`, LiteRT files, usually a
SavedModel, and the Keras model. The networks for the quality check and for the ossification regions
have folders beside the models. No TensorFlow.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bone_age_tf import catalog, schema
from bone_age_tf.errors import ModelError
from bone_age_tf.evaluation.region_norms import RegionNorms
from bone_age_tf.evaluation.site_calibration import SiteCalibration
from bone_age_tf.inference.predictor import Predictor, load_interpreter
from bone_age_tf.program import program
from bone_age_tf.quality.checker import QualityChecker
from bone_age_tf.reasons import MOST_PIXELS, TEXTS, Reason, status_of
from bone_age_tf.regions.detector import RegionDetector

MOST_EXACT_FIRST = ("float32", "float32_map", "float16", "int8", "dynamic", "uint8")
"""LiteRT variants in the order of preference when no variant is named."""
INTENDED_USE = (
    "Research on bone age estimation from radiographs of the left hand and wrist of children. "
    "Not a medical device; not for diagnosis or treatment."
)

_SEX_CODES = {name: code for code, name in enumerate(schema.SEX_NAMES)}
_PIXEL_RANGE = [0, 255]


class _ResizeModeError(ValueError):
    """The metadata contain a resize mode that this version does not support."""


def make_metadata(
    name: str,
    version: int,
    size_px: int,
    resize: str,
    outputs: Mapping[str, Sequence[int]],
    bin_months: float,
    files: Mapping[str, str],
    signatures: Mapping[str, Any],
    versions: Mapping[str, str],
    facts: Mapping[str, Any],
) -> dict[str, Any]:
    """Returns the metadata of a model's export, ready for JSON.

    Args:
        name: name of the model.
        version: number of the export.
        size_px: side of the model's square input in pixels.
        resize: one of `schema.INPUT_MODES`.
        outputs: shapes of the outputs of a LiteRT file by name.
        bin_months: width of a bin of the distribution in months.
        files: file names by variant.
        signatures: signatures of the SavedModel by name.
        versions: versions of the software that wrote the export.
        facts: entries about data, metrics and training.
    """
    described: dict[str, dict] = {
        output: {"shape": list(shape), "dtype": "float32"} for output, shape in outputs.items()
    }
    described[schema.AGE_MONTHS]["unit"] = "months"
    if schema.DISTRIBUTION in described:
        described[schema.DISTRIBUTION] |= {"bin_months": bin_months, "first_edge_months": 0}
    if schema.INTERVAL_90 in described:
        described[schema.INTERVAL_90]["unit"] = "months"
    return {
        "name": name,
        "version": version,
        "intended_use": INTENDED_USE,
        "inputs": {
            schema.IMAGE: {
                "shape": [1, size_px, size_px, 1],
                "dtype": "float32",
                "range": _PIXEL_RANGE,
            },
            schema.SEX: {"shape": [1, 1], "dtype": "float32", "values": _SEX_CODES},
        },
        "outputs": described,
        "preprocessing": {
            "size_px": size_px,
            "resize": resize,
            "filter": "triangle, antialiased, half-pixel centres",
            "pad_value": 0,
            "grey": "0.299 R + 0.587 G + 0.114 B, transparent parts black",
            "sixteen_bit": "scaled from the image's own range to 0 to 255",
            "exif_orientation": "applied to files, by the SavedModel too",
            "most_pixels": MOST_PIXELS,
        },
        "signatures": dict(signatures),
        "reasons": {
            int(reason): {"status": status_of(reason), "text": TEXTS[reason]} for reason in Reason
        },
        "files": dict(files),
        "versions": dict(versions),
        **facts,
    }


@dataclass(frozen=True)
class Bundle:
    """An export's folder with its validated metadata.

    Attributes:
        folder: `<exports>/<model>/<version>`.
        name: name of the model.
        version: number of the export.
        size_px: side of the model's square input in pixels.
        resize: how a radiograph becomes the input, one of `schema.INPUT_MODES`.
        outputs: names of the model's outputs.
        site_calibrated: whether the files contain a site calibration.
        scatter_months: root mean squared error on the test data in months, None if unknown.
        files: LiteRT and ONNX file names by variant.
        settings: config of the training, flat.
        region_norms: usual differences between the regions' bone ages; None unless the model reads
            each region.
    """

    folder: Path
    name: str
    version: int
    size_px: int
    resize: str
    outputs: frozenset[str]
    site_calibrated: bool
    scatter_months: float | None
    files: Mapping[str, str]
    settings: Mapping[str, Any]
    region_norms: RegionNorms | None = None

    @classmethod
    def open(cls, folder: str | Path) -> "Bundle":
        """Reads an export's folder.

        Raises:
            ModelError: the metadata is missing or malformed.
        """
        folder = Path(folder)
        path = folder / schema.METADATA_FILE
        try:
            return cls(folder, **_parse(json.loads(path.read_text("utf-8"))))
        except FileNotFoundError:
            raise ModelError(f"{path}: no such file; {remedy(folder)}") from None
        except OSError as error:
            raise ModelError(f"{path}: cannot be read ({error.strerror})") from None
        except _ResizeModeError as error:
            raise ModelError(
                f"{path}: {error}. Export again with this version: "
                f"{program()} --mode=export --workdir=runs/NAME"
            ) from None
        except KeyError as error:
            raise ModelError(f"{path}: lacks the entry {error}; {remedy(folder)}") from None
        except (AttributeError, TypeError, ValueError) as error:
            raise ModelError(f"{path}: malformed ({error}); {remedy(folder)}") from None

    @classmethod
    def find(
        cls,
        model: str | None = None,
        exports_dir: str | Path | None = None,
        version: int | None = None,
    ) -> "Bundle":
        """Opens an exported model by its name.

        Args:
            model: name of the model; None for the shipped model or, without it, the newest.
            exports_dir: the folder with `<model>/<version>/`; None for
                `catalog.DEFAULT_EXPORTS_DIR` in the working directory, then the exports of the
                package.
            version: number of the export; None for the highest.

        Raises:
            ModelError: there is no such export, or it cannot be used; the message lists the
                existing exports and the command that makes one.
        """
        name = catalog.default_model(exports_dir) if model is None else model
        for place in catalog.search_path(exports_dir):
            folders = catalog.exported_versions(place).get(name, [])
            if version is not None:
                folders = [folder for folder in folders if int(folder.name) == version]
            if folders:
                return cls.open(folders[-1])
        raise ModelError(_not_found(name, exports_dir, version))

    @property
    def exports_dir(self) -> Path:
        """The folder of all exports."""
        return self.folder.absolute().parents[1]

    @property
    def keras_file(self) -> Path:
        """The file of the Keras model.

        Raises:
            ModelError: the export has no Keras model.
        """
        path = self.folder / schema.KERAS_FILE
        if not path.exists():
            raise ModelError(
                f"{path}: no such file, which this command needs; export the run again "
                f"with: {program()} --mode=export --model={self.name}"
            )
        return path

    def variant(self, name: str | None = None) -> str:
        """Returns the variant to load: the named variant, or by default the most exact one.

        Raises:
            ModelError: there is no such variant.
        """
        if name is None:
            return next(
                (variant for variant in MOST_EXACT_FIRST if variant in self.files), "float32"
            )
        if name not in self.files:
            raise ModelError(
                f"{self.folder / schema.METADATA_FILE}: no variant {name!r}; "
                f"it has: {', '.join(sorted(self.files))}"
            )
        return name

    def predictor(
        self, variant: str | None = None, calibration: SiteCalibration | None = None
    ) -> Predictor:
        """Loads the network.

        Args:
            variant: a key of `files` with a LiteRT file; None for the most exact one.
            calibration: a site calibration for this export.

        Raises:
            ModelError: the file is missing, damaged or contradicts the metadata, the variant is
                unknown, the calibration is for another model, or the export already contains one.
        """
        self._check_calibration(calibration)
        variant = self.variant(variant)
        if variant not in self.files:
            raise ModelError(f"{self.folder}: no LiteRT file; {remedy(self.folder)}")
        path = self.folder / self.files[variant]
        if not path.is_file():
            raise ModelError(f"{path}: no such file; {remedy(self.folder)}")
        try:
            interpreter = load_interpreter(path)
        except (ValueError, RuntimeError) as error:
            raise ModelError(
                f"{path}: not a usable LiteRT model ({error}); {remedy(self.folder)}"
            ) from None
        predictor = Predictor(
            interpreter, path, self.size_px, self.resize, calibration, self.region_norms
        )
        if problem := predictor.mismatch(self.outputs):
            raise ModelError(f"{path}: {problem}; {remedy(self.folder)}")
        return predictor

    def _check_calibration(self, calibration: SiteCalibration | None) -> None:
        if calibration is None:
            return
        if self.site_calibrated:
            raise ModelError(
                f"{self.folder}: this export holds a site's calibration; give no second one"
            )
        if (calibration.model, calibration.version) != (self.name, self.version):
            raise ModelError(
                f"the site calibration was made for {calibration.model} version "
                f"{calibration.version}, not for {self.name} version {self.version}; make one "
                f"with: {program()} --mode=calibrate --model={self.name} --input=site.csv"
            )


def load_quality_checker(exports_dir: str | Path | None = None) -> QualityChecker | None:
    """Returns the newest exported quality check, None if there is none.

    Args:
        exports_dir: see `catalog.find_network`.

    Raises:
        ModelError: the export cannot be used.
    """
    folder = catalog.find_network(schema.QUALITY_CHECK, exports_dir)
    return None if folder is None else QualityChecker.load(folder)


def load_region_detector(exports_dir: str | Path | None = None) -> RegionDetector | None:
    """Returns the newest exported region detector, None if there is none.

    Args:
        exports_dir: see `catalog.find_network`.

    Raises:
        ModelError: the export cannot be used.
    """
    folder = catalog.find_network(schema.REGION_DETECTOR, exports_dir)
    return None if folder is None else RegionDetector.load(folder)


def remedy(folder: Path) -> str:
    """Returns the remedy for an export's folder that cannot be used."""
    return f"make the export again with: {program()} --model={folder.absolute().parent.name}"


def _not_found(model: str, exports_dir: str | Path | None, version: int | None) -> str:
    known = catalog.list_exports(exports_dir)
    there = ", ".join(known) or "none"
    place = " and ".join(map(str, catalog.search_path(exports_dir)))
    if version is not None and model in known:
        numbers = ", ".join(map(str, known[model]))
        return f"{place}: no version {version} of {model!r} (exported: {numbers})"
    return (
        f"{place}: no exported model {model!r} (exported: {there}); "
        f"make it with: {program()} --model={model}"
    )


def _parse(raw: Mapping[str, Any]) -> dict[str, Any]:
    inputs, preprocessing = raw["inputs"], raw["preprocessing"]
    size_px, mode = preprocessing["size_px"], preprocessing["resize"]
    if mode not in schema.INPUT_MODES:
        raise _ResizeModeError(
            f"preprocessing.resize is {mode!r}, which this version does not read; "
            f"possible: {', '.join(schema.INPUT_MODES)}"
        )
    expected = {
        "inputs.image.shape": (inputs["image"]["shape"], [1, size_px, size_px, 1]),
        "inputs.image.range": (inputs["image"]["range"], _PIXEL_RANGE),
        "inputs.sex.values": (inputs["sex"]["values"], _SEX_CODES),
    }
    for entry, (value, only) in expected.items():
        if value != only:
            raise ValueError(f"{entry} is {value!r}; possible: {only}")
    rmse = raw.get("metrics", {}).get("rmse_months")
    return {
        "name": str(raw["name"]),
        "version": int(raw["version"]),
        "size_px": int(size_px),
        "resize": mode,
        "outputs": frozenset(raw["outputs"].keys()),
        "site_calibrated": raw.get("site_calibration") is not None,
        "scatter_months": None if rmse is None else float(rmse["value"]),
        "files": {str(variant): str(name) for variant, name in raw["files"].items()},
        "settings": raw.get("training", {}).get("config", {}),
        "region_norms": None if raw.get("regions") is None else RegionNorms.read(raw["regions"]),
    }
