"""How far each exported file is from the Keras model, in months, on real values."""

import dataclasses
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter

from bone_age_tf import schema
from bone_age_tf.export.saved_model import BYTES_SIGNATURE, IMAGE_BYTES

FLOAT_LIMIT_MONTHS = 0.5
"""A float export that is further off than this anywhere is broken and is not published."""
INT8_MEAN_LIMIT_MONTHS = 0.5
INT8_MAX_LIMIT_MONTHS = 3.0


class ParityError(RuntimeError):
    """An exported file does not answer as the model does."""


@dataclasses.dataclass(frozen=True)
class Case:
    """One image as file and as pixels.

    Attributes:
        encoded: bytes of a PNG or JPEG file.
        image: [size_px, size_px, 1] float32, 0 to 255.
        sex: 0 female, 1 male.
        age_months: the label.
    """

    encoded: bytes
    image: np.ndarray
    sex: int
    age_months: float

    @property
    def single(self) -> tuple[np.ndarray, np.ndarray]:
        """The image [1, H, W, 1] and the sex [1, 1], as LiteRT takes them."""
        return self.image[None], np.full((1, 1), self.sex, np.float32)


def measure_parity(
    network: keras.Model, saved_model: Path, lite_files: dict[str, Path], cases: list[Case]
) -> dict:
    """Runs the same cases through every form of the model.

    Args:
        network: the Keras model.
        saved_model: folder with the bytes signature.
        lite_files: LiteRT files by name: `float32`, `int8`.
        cases: from images that were not trained on.

    Returns:
        JSON-ready: `n`, and for each form the mean and maximum difference in months, the MAE
        against the labels and, for LiteRT, milliseconds an image with two threads.

    Raises:
        ParityError: an answer is no number, or a float form is off by over `FLOAT_LIMIT_MONTHS`.
    """
    images = np.stack([case.image for case in cases])
    sexes = np.array([[case.sex] for case in cases], np.float32)
    labels = np.array([case.age_months for case in cases])
    keras_months = np.ravel(
        network.predict({schema.IMAGE: images, schema.SEX: sexes}, verbose=0)[schema.AGE_MONTHS]
    )
    # Each form with its months and its milliseconds an image.
    answers: dict[str, tuple[np.ndarray, float | None]] = {
        "saved_model": (_saved_model_months(saved_model, cases, sexes), None)
    }
    runners = {name: _lite_runner(path) for name, path in lite_files.items()}
    answers |= {f"litert_{name}": found for name, found in _lite_months(runners, cases).items()}
    found: dict = {
        "n": len(cases),
        "keras": {"mae_months": _mean_difference(keras_months, labels)},
    }
    for name, (months, milliseconds) in answers.items():
        found[name] = _compared(name, months, keras_months, labels)
        if milliseconds is not None:
            found[name]["milliseconds"] = milliseconds
    if {"litert_float32", "litert_int8"} <= answers.keys():
        found["int8_against_float32"] = _compared(
            "int8", answers["litert_int8"][0], answers["litert_float32"][0], labels
        ) | {
            "latency_ratio": found["litert_int8"]["milliseconds"]
            / found["litert_float32"]["milliseconds"]
        }
    return found


def parity_table(found: dict) -> str:
    """Returns the measurement as lines of text for a terminal."""
    lines = [
        f"Parity on {found['n']} images, in months",
        f"{'':24}{'mean':>8}{'max':>8}{'MAE':>8}{'ms':>8}",
        f"{'keras':24}{'':>16}{found['keras']['mae_months']:8.2f}",
    ]
    for name, row in found.items():
        if isinstance(row, dict) and "max_months" in row:
            time_text = f"{row['milliseconds']:8.1f}" if "milliseconds" in row else ""
            lines.append(
                f"{name:24}{row['mean_months']:8.3f}{row['max_months']:8.3f}"
                f"{row['mae_months']:8.2f}{time_text}"
            )
    int8 = found.get("int8_against_float32")
    if int8:
        lines.append(f"int8 takes {int8['latency_ratio']:.2f} of float32's time")
        if (
            int8["mean_months"] > INT8_MEAN_LIMIT_MONTHS
            or int8["max_months"] > INT8_MAX_LIMIT_MONTHS
        ):
            lines.append(
                f"WARNING: int8 is further from float32 than mean {INT8_MEAN_LIMIT_MONTHS} or "
                f"maximum {INT8_MAX_LIMIT_MONTHS} months; use the float32 file"
            )
    return "\n".join(lines)


def _compared(
    name: str, months: np.ndarray, reference: np.ndarray, labels: np.ndarray
) -> dict[str, float]:
    if not np.isfinite(months).all():
        raise ParityError(f"{name} answers {months[~np.isfinite(months)][0]} months")
    difference = np.abs(months - reference)
    if "int8" not in name and difference.max() > FLOAT_LIMIT_MONTHS:
        raise ParityError(
            f"{name} is {difference.max():.2f} months from the Keras model; "
            f"at most {FLOAT_LIMIT_MONTHS} is allowed, so nothing was published"
        )
    return {
        "mean_months": float(difference.mean()),
        "max_months": float(difference.max()),
        "mae_months": _mean_difference(months, labels),
    }


def _mean_difference(months: np.ndarray, labels: np.ndarray) -> float:
    return float(np.abs(months - labels).mean())


def _saved_model_months(folder: Path, cases: list[Case], sexes: np.ndarray) -> np.ndarray:
    loaded = tf.saved_model.load(str(folder))  # must outlive its signature
    serve = loaded.signatures[BYTES_SIGNATURE]
    months = [
        serve(
            **{
                IMAGE_BYTES: tf.constant([case.encoded for case in cases[first : first + 16]]),
                schema.SEX: tf.constant(sexes[first : first + 16]),
            }
        )[schema.AGE_MONTHS].numpy()
        for first in range(0, len(cases), 16)
    ]
    return np.ravel(np.concatenate(months))


def _lite_runner(path: Path) -> Callable:
    return Interpreter(model_path=str(path), num_threads=2).get_signature_runner(BYTES_SIGNATURE)


def _lite_months(
    runners: dict[str, Callable], cases: Iterable[Case]
) -> dict[str, tuple[np.ndarray, float]]:
    """Takes the files in turn at each case, so that a noisy machine is noisy for all of them."""
    months: dict[str, list[float]] = {name: [] for name in runners}
    seconds: dict[str, list[float]] = {name: [] for name in runners}
    for case in cases:
        image, sex = case.single
        for name, runner in runners.items():
            start = time.perf_counter()
            answer = runner(image=image, sex=sex)
            seconds[name].append(time.perf_counter() - start)
            months[name].append(float(np.ravel(answer[schema.AGE_MONTHS])[0]))
    return {
        name: (np.array(months[name]), float(np.median(seconds[name]) * 1000)) for name in runners
    }
