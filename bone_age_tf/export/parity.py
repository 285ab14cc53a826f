"""Measures the difference of each exported file from the Keras model, in months, on real values."""

import dataclasses
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter

from bone_age_tf import schema
from bone_age_tf.errors import ParityError
from bone_age_tf.export.formats import DYNAMIC, FLOAT32_MAP, INT8, ONNX, UINT8
from bone_age_tf.export.lite_int8 import ask
from bone_age_tf.export.onnx import months_of_onnx
from bone_age_tf.progress import shown
from bone_age_tf.reasons import MARGINS_CROPPED, REASON, REASON_CODE, TEXTS, Reason

FLOAT_LIMIT_MONTHS = 0.5
"""Maximum difference in months of a float export; with a larger one it is not published."""
INTEGER_MEAN_LIMIT_MONTHS = 0.5
INTEGER_MAX_LIMIT_MONTHS = 3.0
"""Limits of the mean and maximum difference in months of a file with 8-bit weights; a file beyond
them is published with a warning."""
MAP_LIMIT = 0.1
"""Maximum difference of a map (0 to 1); with a larger one nothing is published."""
_MAPS = 16
"""Number of cases whose maps are compared."""
_BATCH = 25
"""Batch size of Keras and of the SavedModel."""
_INTEGER = (DYNAMIC, INT8, UINT8)
_SINGLE_THREAD_CASES = 40
_MEMORY = """
import re, sys
import numpy as np
from ai_edge_litert.interpreter import Interpreter
# Not of getrusage, which a child inherits from its parent.
peak = lambda: int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1])
before = peak()
interpreter = Interpreter(sys.argv[1], num_threads=1)
run = interpreter.get_signature_runner()
details = run.get_input_details()
inputs = {name: np.zeros(one["shape"], one["dtype"]) for name, one in details.items()}
for _ in range(2):
    run(**inputs)
print((peak() - before) / 1024)
"""
"""Script for a separate process: memory in megabytes for loading and running a file."""


@dataclasses.dataclass(frozen=True)
class Case:
    """An image as a file and as pixels.

    Attributes:
        encoded: bytes of a PNG or JPEG file.
        image: [size_px, size_px, 1] float32, 0 to 255.
        sex: 0 female, 1 male.
        age_months: the label in months.
    """

    encoded: bytes
    image: np.ndarray
    sex: int
    age_months: float

    @property
    def single(self) -> tuple[np.ndarray, np.ndarray]:
        """The image [1, H, W, 1] and the sex [1, 1], the inputs of LiteRT."""
        return self.image[None], np.full((1, 1), self.sex, np.float32)


def measure_parity(
    network: keras.Model, saved_model: Path, files: dict[str, Path], cases: list[Case]
) -> dict:
    """Predicts the same cases with every form of the model.

    Args:
        network: the Keras model, with or without the output `map`.
        saved_model: folder of the SavedModel.
        files: files by format.
        cases: held-out cases.

    Returns:
        JSON-ready: `n`; and for each form the mean and maximum difference from Keras in months and
        the MAE against the labels; for those with a map, its maximum difference `max_map` on the
        first cases; for the SavedModel, how many files it read `from_bytes` (its quality
        check rejected or corrected the others, which gave pixels); for files their `megabytes` too
        and, for LiteRT, milliseconds an image with two threads and with one, and the megabytes
        of memory that it takes.

    Raises:
        ParityError: a prediction is not finite, a float form differs by more than
            `FLOAT_LIMIT_MONTHS`, or a map by more than `MAP_LIMIT`.
    """
    images = np.stack([case.image for case in cases])
    sexes = np.array([[case.sex] for case in cases], np.float32)
    labels = np.array([case.age_months for case in cases])
    expected = _keras_outputs(network, images, sexes)
    keras_months = np.ravel(expected[schema.AGE_MONTHS])
    found: dict = {
        "n": len(cases),
        "keras": {"mae_months": _mean_difference(keras_months, labels)},
    }
    served_model = tf.saved_model.load(str(saved_model))  # takes seconds: once for everything
    served, from_bytes = _saved_model_months(served_model, cases, sexes)
    found["saved_model"] = _compared("saved_model", served, keras_months, labels)
    found["saved_model"]["from_bytes"] = from_bytes
    lite_files = {form: path for form, path in files.items() if form != ONNX}
    answers = _lite_months(lite_files, cases, threads=2)
    alone = _lite_months(lite_files, cases[:_SINGLE_THREAD_CASES], threads=1)
    for form, (months, milliseconds) in answers.items():
        found[f"litert_{form}"] = _compared(form, months, keras_months, labels) | {
            "megabytes": lite_files[form].stat().st_size / 1e6,
            "milliseconds": milliseconds,
            "milliseconds_one_thread": alone[form][1],
            "memory_megabytes": _memory(lite_files[form]),
        }
    if ONNX in files:
        months = months_of_onnx(files[ONNX], images, sexes)
        found[ONNX] = _compared(ONNX, months, keras_months, labels) | {
            "megabytes": files[ONNX].stat().st_size / 1e6
        }
    if schema.MAP in expected:
        maps = _maps_of(served_model, files.get(FLOAT32_MAP), cases[:_MAPS])
        for name, (of_cases, some) in maps.items():
            keras_maps = expected[schema.MAP][:_MAPS][of_cases]
            found[name]["max_map"] = _map_difference(name, some, keras_maps)
    return found


def parity_table(found: dict) -> str:
    """Formats the measurement as a table for the terminal."""
    lines = [
        f"On {found['n']} held-out images; difference from Keras and MAE in months, time of an "
        "image in ms with 1 and 2 threads, size and memory in MB",
        f"{'':18}{'size':>7}{'mean':>8}{'max':>8}{'MAE':>8}{'1 thr.':>8}{'2 thr.':>8}{'memory':>8}",
        f"{'keras':18}{'':>23}{found['keras']['mae_months']:8.2f}",
    ]
    warnings = []
    for name, row in found.items():
        if not isinstance(row, dict) or "max_months" not in row:
            continue
        text = f"{name:18}" + _cell(row, "megabytes", 7, 1)
        text += f"{row['mean_months']:8.3f}{row['max_months']:8.3f}{row['mae_months']:8.2f}"
        for key in ("milliseconds_one_thread", "milliseconds", "memory_megabytes"):
            text += _cell(row, key, 8, 1)
        lines.append(text.rstrip())
        far = row["mean_months"] > INTEGER_MEAN_LIMIT_MONTHS
        if far or row["max_months"] > INTEGER_MAX_LIMIT_MONTHS:
            warnings.append(
                f"WARNING: {name} is further from Keras than mean {INTEGER_MEAN_LIMIT_MONTHS} or "
                f"maximum {INTEGER_MAX_LIMIT_MONTHS} months; use another file"
            )
    return "\n".join(lines + warnings)


def _cell(row: dict, key: str, width: int, digits: int) -> str:
    return f"{row[key]:{width}.{digits}f}" if row.get(key) is not None else " " * width


def _memory(path: Path) -> float | None:
    """Returns the memory in megabytes, None if the system does not report it."""
    command = [sys.executable, "-c", _MEMORY, str(path)]
    done = subprocess.run(command, capture_output=True, text=True)
    return float(done.stdout.splitlines()[-1]) if done.returncode == 0 else None


def _compared(
    name: str, months: np.ndarray, reference: np.ndarray, labels: np.ndarray
) -> dict[str, float]:
    if not np.isfinite(months).all():
        raise ParityError(f"{name} answers {months[~np.isfinite(months)][0]} months")
    difference = np.abs(months - reference)
    if name not in _INTEGER and difference.max() > FLOAT_LIMIT_MONTHS:
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


def _keras_outputs(
    network: keras.Model, images: np.ndarray, sexes: np.ndarray
) -> dict[str, np.ndarray]:
    """Returns the outputs of a Keras model by name, first axis N.

    The layers run one by one, since tracing them as a graph takes longer than running them.
    """
    batches = []
    for first in range(0, len(images), _BATCH):
        these = slice(first, first + _BATCH)
        outputs = network({schema.IMAGE: images[these], schema.SEX: sexes[these]}, training=False)
        batches.append({name: np.asarray(value) for name, value in outputs.items()})
    return {name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]}


def _saved_model_months(
    loaded: tf.Module, cases: list[Case], sexes: np.ndarray
) -> tuple[np.ndarray, int]:
    """Returns the ages of a SavedModel, and the number that were predicted from bytes.

    Images that its quality check rejects or corrects are predicted from pixels instead, since the
    model is compared and not the check.
    """
    from_bytes, tensors = (
        loaded.signatures[one] for one in (schema.SERVING_SIGNATURE, schema.TENSORS_SIGNATURE)
    )
    months, untouched = [], []
    for first in range(0, len(cases), _BATCH):
        files = tf.constant([case.encoded for case in cases[first : first + _BATCH]])
        sex = tf.constant(sexes[first : first + _BATCH])
        answer = from_bytes(**{schema.IMAGE_BYTES: files, schema.SEX: sex})
        months.append(np.ravel(answer[schema.AGE_MONTHS]).astype(float))
        untouched.append(_untouched(answer))
    found, as_they_are = np.concatenate(months), np.concatenate(untouched)
    # At least one case, so that this signature is compared, too.
    others = np.union1d(np.flatnonzero(~as_they_are), [0])
    for first in range(0, len(others), _BATCH):
        these = others[first : first + _BATCH]
        images = tf.constant(np.stack([cases[place].image for place in these]), tf.float32)
        of_pixels = tensors(**{schema.IMAGE: images, schema.SEX: tf.constant(sexes[these])})
        found[these] = np.ravel(of_pixels[schema.AGE_MONTHS])
    return found, int(as_they_are.sum())


def _untouched(answer: dict[str, tf.Tensor]) -> np.ndarray:
    """Returns which images [N] were predicted without corrections other than cropped margins."""
    in_margins = f"{TEXTS[Reason.CORRECTED]} {MARGINS_CROPPED}".encode()
    return (answer[REASON_CODE].numpy() == Reason.NONE) | (answer[REASON].numpy() == in_margins)


def _maps_of(
    loaded: tf.Module, lite_file: Path | None, cases: list[Case]
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Returns by form which cases [N] have a map, and the maps [K, H, W].

    The maps of the SavedModel are those of images that its quality check did not correct.
    """
    answer = loaded.signatures[schema.EXPLAIN_SIGNATURE](
        **{
            schema.IMAGE_BYTES: tf.constant([case.encoded for case in cases]),
            schema.SEX: tf.constant([[float(case.sex)] for case in cases]),
        }
    )
    untouched = _untouched(answer)
    found = {"saved_model": (untouched, answer[schema.MAP].numpy()[untouched])}
    if lite_file is not None:
        runner = Interpreter(str(lite_file)).get_signature_runner(schema.SERVING_SIGNATURE)
        maps = np.stack([ask(runner, case.single)[schema.MAP][0] for case in cases])
        found[f"litert_{FLOAT32_MAP}"] = np.ones(len(cases), bool), maps
    return found


def _map_difference(name: str, maps: np.ndarray, expected: np.ndarray) -> float:
    most = float(np.abs(maps - expected).max(initial=0.0))
    if not most <= MAP_LIMIT:  # NaN fails too
        raise ParityError(
            f"the map of {name} is {most:.2f} from the Keras model's; at most {MAP_LIMIT} is "
            "allowed, so nothing was published"
        )
    return most


def _lite_months(
    files: dict[str, Path], cases: Sequence[Case], threads: int
) -> dict[str, tuple[np.ndarray, float]]:
    """Returns ages in months and milliseconds for an image, by format.

    The files alternate for each case, so that other load on the machine affects all of them.
    """
    runners = {
        form: Interpreter(str(path), num_threads=threads).get_signature_runner(
            schema.SERVING_SIGNATURE
        )
        for form, path in files.items()
    }
    months: dict[str, list[float]] = {form: [] for form in files}
    seconds: dict[str, list[float]] = {form: [] for form in files}
    what = f"comparing the LiteRT files on {threads} threads"
    for case in shown(cases, len(cases), what):
        for form, runner in runners.items():
            start = time.perf_counter()
            answer = ask(runner, case.single)
            seconds[form].append(time.perf_counter() - start)
            months[form].append(float(answer[schema.AGE_MONTHS].item()))
    return {
        form: (np.array(months[form]), float(np.median(seconds[form]) * 1000)) for form in files
    }
