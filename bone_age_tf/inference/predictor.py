"""Bone age from an exported network through LiteRT; neither TensorFlow nor Keras is imported."""

import functools
from collections.abc import Mapping, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter

from bone_age_tf import schema
from bone_age_tf.errors import InputError, PredictionError
from bone_age_tf.evaluation.region_norms import RegionAge, RegionNorms
from bone_age_tf.evaluation.site_calibration import SiteCalibration
from bone_age_tf.images import resizing
from bone_age_tf.native_output import native_stderr_held_back


@dataclass(frozen=True)
class Prediction:
    """A bone age.

    Attributes:
        age_months: the predicted bone age in months.
        interval_90_months: lower and upper end of the 90 % interval in months; None if the model
            has none.
        distribution: [K] probability per age bin, None from a regression head or a server. A site's
            calibration does not change it.
        unfamiliarity: distance of the image from the training images; above 1 it is outside their
            distribution. None if the export does not compute it.
        regions: bone age of each ossification region, and how far it is ahead of the hand or
            behind, by the names in `schema.REGIONS`; None unless the model reads each region.
    """

    age_months: float
    interval_90_months: tuple[float, float] | None
    distribution: np.ndarray | None = field(default=None, repr=False)
    unfamiliarity: float | None = None
    regions: Mapping[str, RegionAge] | None = field(default=None, repr=False)

    @property
    def unusual_regions(self) -> list[tuple[str, RegionAge]]:
        """Regions that are unusually far ahead of the hand or behind, the farthest first."""
        unusual = [(name, one) for name, one in (self.regions or {}).items() if one.is_unusual]
        return sorted(unusual, key=lambda pair: -abs(pair[1].deviations))


class Predictor:
    """A loaded network. Not for use from several threads at once: each needs a `copy`.

    Most callers want `bone_age_tf.Reader`, which checks radiographs before it predicts.

    Attributes:
        size_px: side of the square that the network takes, in pixels.
        resize_mode: how a radiograph becomes the input, one of `schema.INPUT_MODES`.
        calibration: the site calibration that is applied to the predictions, or None.
        region_norms: usual differences between the regions' bone ages, or None.
    """

    def __init__(
        self,
        interpreter: Interpreter,
        path: Path,
        size_px: int,
        resize_mode: str,
        calibration: SiteCalibration | None = None,
        region_norms: RegionNorms | None = None,
    ):
        """See `Bundle.predictor`."""
        self._interpreter, self._path = interpreter, path
        self.region_norms = region_norms
        self.size_px, self.resize_mode, self.calibration = size_px, resize_mode, calibration

    @functools.cached_property
    def _runner(self) -> Any:
        return self._interpreter.get_signature_runner(schema.SERVING_SIGNATURE)

    @functools.cached_property
    def _takes_uint8(self) -> bool:
        return np.dtype(self._runner.get_input_details()[schema.IMAGE]["dtype"]) == np.uint8

    def copy(self) -> "Predictor":
        """Returns an independent copy, for another thread."""
        return Predictor(
            load_interpreter(self._path),
            self._path,
            self.size_px,
            self.resize_mode,
            self.calibration,
            self.region_norms,
        )

    def mismatch(self, outputs: Set[str]) -> str | None:
        """Returns how the file differs from its metadata, None if it does not.

        Args:
            outputs: names of the model's outputs in the metadata.
        """
        name = schema.SERVING_SIGNATURE
        signature = self._interpreter.get_signature_list().get(name)
        if signature is None:
            return f"no signature {name}"
        inputs, output_names = sorted(signature["inputs"]), sorted(signature["outputs"])
        if inputs != sorted((schema.IMAGE, schema.SEX)):
            return f"inputs are {', '.join(inputs)}, not {schema.IMAGE}, {schema.SEX}"
        # A map is optional; it is not used here.
        is_same = set(output_names) - {schema.MAP} == outputs - {schema.MAP}
        if not is_same or schema.AGE_MONTHS not in output_names:
            return (
                f"outputs are {', '.join(output_names)}, but {schema.METADATA_FILE} names "
                f"{', '.join(sorted(outputs))}; {schema.AGE_MONTHS} must be among them"
            )
        details = self._runner.get_input_details()
        shapes = {schema.IMAGE: [1, self.size_px, self.size_px, 1], schema.SEX: [1, 1]}
        for tensor, shape in shapes.items():
            real, dtype = details[tensor]["shape"].tolist(), np.dtype(details[tensor]["dtype"])
            known = (np.float32, np.uint8) if tensor == schema.IMAGE else (np.float32,)
            if real != shape or dtype not in known:
                return f"input {tensor} is {real} {dtype}, not {shape} float32"
        return None

    def fit_image(self, image: np.ndarray) -> np.ndarray:
        """Resizes an image to the network's input.

        A model that reads hands in their frame (`schema.FRAME`) is given the image padded to a
        square; `Reader.fit_image` frames the hand.

        Args:
            image: [H, W] float32, 0 to 255.

        Returns:
            [size_px, size_px] float32, 0 to 255.

        Raises:
            InputError: the image is not two-dimensional, or has no pixels.
        """
        if image.ndim != 2 or not image.size:
            raise InputError(f"image has shape {image.shape}; give [H, W] with at least one pixel")
        mode = "pad" if self.resize_mode == schema.FRAME else self.resize_mode
        return resizing.resize(np.asarray(image, np.float32), self.size_px, mode)

    def predict(self, image: np.ndarray, sex: int) -> Prediction:
        """Predicts the bone age in an image that `fit_image` returned.

        Args:
            image: [size_px, size_px] float32, 0 to 255.
            sex: `schema.FEMALE` or `schema.MALE`.

        Raises:
            InputError: the sex is not a code.
            PredictionError: an output of the network is not a finite number.
        """
        if sex not in (schema.FEMALE, schema.MALE):
            raise InputError(f"sex is {sex!r}; give {schema.FEMALE} (female) or {schema.MALE}")
        pixels = image[np.newaxis, :, :, np.newaxis]
        if self._takes_uint8:
            pixels = np.clip(np.rint(pixels), 0, 255).astype(np.uint8)
        outputs = self._runner(image=pixels, sex=np.full((1, 1), sex, np.float32))
        for name, values in outputs.items():
            if not np.isfinite(values).all():
                raise PredictionError(f"the model's prediction for {name} is not a finite number")
        age = float(outputs[schema.AGE_MONTHS].item())
        interval = outputs.get(schema.INTERVAL_90)
        if self.calibration is not None:
            age = float(self.calibration.apply(age, sex))
            interval = None if interval is None else self.calibration.apply(interval, sex)
        distribution = outputs.get(schema.DISTRIBUTION)
        distance = outputs.get(schema.UNFAMILIARITY)
        regions = None
        if self.region_norms is not None and schema.REGION_AGES in outputs:
            months, weights = (outputs[n][0] for n in (schema.REGION_AGES, schema.REGION_WEIGHTS))
            regions = self.region_norms.compare(months, weights, sex)
        return Prediction(
            age,
            None if interval is None else (float(interval[0, 0]), float(interval[0, 1])),
            None if distribution is None else distribution[0],
            None if distance is None else float(distance.item()),
            regions,
        )


def load_interpreter(path: Path) -> Interpreter:
    """Returns the interpreter of a LiteRT file, with one thread.

    Raises:
        ValueError: the file is not a LiteRT file.
        RuntimeError: the network cannot be run.
    """
    with native_stderr_held_back():
        interpreter = Interpreter(model_path=str(path), num_threads=1)
        interpreter.allocate_tensors()
    return interpreter
