"""Checkpoints of a run, with which training resumes after an interruption at any time.

Keras' BackupAndRestore writes weights and epoch to two files in place, which are inconsistent after
an interruption between the two. Here a resume point is a single file that is moved into place, with
the number of steps in its name.
"""

import csv
import io
import json
import math
import os
import re
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np

from bone_age_tf.errors import OutOfTimeError, TrainingDivergedError
from bone_age_tf.files import replace_file, require_room

MAE_METRIC = "mae"
"""Name of the metric (in months) by which the best network is chosen."""

RESUME_SECONDS = 240.0
"""Maximum time between two resume points in seconds; with a step and the writing it stays below 5
minutes."""

_WRITING = "writing.weights.h5"
_RANDOM, _FIGURES = "random_states", "running_figures"


class ResumePoints(keras.callbacks.Callback):
    """Writes resume points regularly, also within an epoch, and keeps the last two.

    A resume point contains the weights, the optimiser with its averages, the random states of the
    augmentation and of dropout, and the running metrics of the epoch. A resumed run draws the same
    random numbers as an uninterrupted run, except for KerasCV's layers, which have another random
    state. This callback must precede callbacks that swap weights. The callback of `committer` must
    be the last one, so that the resume point at the end of an epoch only exists after all other
    files of the epoch have been written.

    Args:
        folder: folder of the resume points.
        steps_per_epoch: number of batches in an epoch.
        seconds: maximum time between two resume points.
        stop_at: `time.monotonic()` at which to write a resume point and stop; None for never.
    """

    _NAME = re.compile(r"step-(\d+)\.weights\.h5")

    def __init__(
        self,
        folder: Path,
        steps_per_epoch: int,
        seconds: float = RESUME_SECONDS,
        stop_at: float | None = None,
    ):
        super().__init__()
        self.folder, self.steps_per_epoch, self.seconds = folder, steps_per_epoch, seconds
        self.stop_at = stop_at
        self._epoch, self._last, self._restored = 0, time.monotonic(), -1
        self._states: dict[str, list[np.ndarray]] = {}

    def restore(self, model: keras.Model) -> int:
        """Loads the newest readable resume point; returns its number of steps.

        Args:
            model: a compiled model with a built optimiser.
        """
        for step, path in reversed(self._points()):
            try:
                model.load_weights(path)
                self._states = _read_states(path)
            except (OSError, KeyError, ValueError) as error:
                print(f"{path} cannot be read ({error}); trying the one before")
                continue
            self._restored = step
            return step
        return 0

    def committer(self) -> keras.callbacks.Callback:
        """Returns the callback that moves the resume point of an epoch's end into place."""
        return keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: self._commit(epoch))

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Sets the random states to those of the epoch, or to those that were restored."""
        self._epoch, model = epoch, self.model
        inside = self._restored - epoch * self.steps_per_epoch
        if 0 < inside < self.steps_per_epoch:
            for variable, value in zip(_random_states(model), self._states[_RANDOM], strict=True):
                variable.assign(value)
            return
        for variable in _random_states(model):
            seed = keras.ops.convert_to_numpy(variable)[0]
            variable.assign(np.array([seed, epoch << 20], variable.dtype))

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        """Writes a resume point between two steps if it is due."""
        step, now = self._epoch * self.steps_per_epoch + batch, time.monotonic()
        if step <= max(self._restored, 0):
            return
        if step == self._restored + 1 and batch > 1:
            self._add_earlier_figures()
        if (
            batch == self.steps_per_epoch - 1
        ):  # this step is followed by the resume point of the epoch's end
            return
        stop = self.stop_at is not None and now >= self.stop_at
        if stop or now - self._last >= self.seconds:
            self._write()
            self._move(step)
        if stop:
            raise OutOfTimeError(
                f"the time for this training is over after step {step}; the same command continues"
            )

    def _add_earlier_figures(self) -> None:
        """Adds the metric sums of the epoch's steps before the interruption."""
        for variable, earlier in zip(_figures(self.model), self._states[_FIGURES], strict=True):
            variable.assign(variable + earlier)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Writes the resume point of the epoch's end under a temporary name."""
        self._write()

    def _write(self) -> None:
        model = self.model
        self.folder.mkdir(parents=True, exist_ok=True)
        require_room(self.folder, _file_bytes(model.variables, model.optimizer.variables))
        model.save_weights(self.folder / _WRITING, overwrite=True)
        states = {_RANDOM: _random_states(model), _FIGURES: _figures(model)}
        with h5py.File(self.folder / _WRITING, "a") as file:
            for name, variables in states.items():
                for place, variable in enumerate(variables):
                    value = keras.ops.convert_to_numpy(variable)
                    file.create_dataset(f"{name}/{place:05}", data=value)

    def _commit(self, epoch: int) -> None:
        self._move((epoch + 1) * self.steps_per_epoch)

    def _move(self, step: int) -> None:
        os.replace(self.folder / _WRITING, self.folder / f"step-{step:08}.weights.h5")
        for _, old in self._points()[:-2]:
            old.unlink()
        self._last = time.monotonic()

    def _points(self) -> list[tuple[int, Path]]:
        matches = [(self._NAME.fullmatch(path.name), path) for path in self.folder.glob("*.h5")]
        return sorted((int(match[1]), path) for match, path in matches if match)


def _file_bytes(*variables: Sequence[keras.Variable]) -> int:
    """Returns the size of variables in bytes, plus a megabyte for the file's metadata."""
    sizes = {id(v): math.prod(v.shape) * 4 for group in variables for v in group}
    return sum(sizes.values()) + 1_000_000


def _random_states(model: keras.Model) -> list[keras.Variable]:
    return [v for v in model.variables if is_random_state(v)]


def is_random_state(variable: keras.Variable) -> bool:
    """Returns whether a variable is the state [2] of random numbers: a seed and a counter."""
    return variable.path.endswith("seed_generator_state")


def _figures(model: keras.Model) -> list[keras.Variable]:
    return [variable for metric in model.metrics for variable in metric.variables]


def _read_states(path: Path) -> dict[str, list[np.ndarray]]:
    with h5py.File(path) as file:  # a network without dropout and augmentation has no random state
        groups = {name: file.get(name, {}) for name in (_RANDOM, _FIGURES)}
        return {
            name: [np.asarray(group[place]) for place in sorted(group)]
            for name, group in groups.items()
        }


class KeepNetworks(keras.callbacks.Callback):
    """Saves the network as `last.keras` after each epoch, and as `best.keras` at the lowest MAE.

    It must follow the callback that swaps in the averaged weights, so that these are saved.

    Args:
        folder: folder of the files.
        network: the network without augmentation.
    """

    def __init__(self, folder: Path, network: keras.Model):
        super().__init__()
        self.folder = folder
        self.network = network
        self._record = folder / "best.json"
        self.best = math.inf
        if self._record.exists():
            self.best = json.loads(self._record.read_text())["val_mae_months"]

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Saves the network after an epoch."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self._save("last.keras")
        mae = _validation_mae(logs or {})
        if mae < self.best:
            self._save_best(epoch + 1, mae)

    def save_untrained(self, logs: dict) -> None:
        """Saves an untrained network as the best and as the last network.

        Args:
            logs: metrics from Keras' `evaluate`.
        """
        self._save("last.keras")
        self._save_best(0, _validation_mae({f"val_{name}": value for name, value in logs.items()}))

    def _save_best(self, epochs: int, mae: float) -> None:
        self._save("best.keras")
        self.best = mae
        record = json.dumps({"epoch": epochs, "val_mae_months": mae}) + "\n"
        replace_file(self._record, record.encode())

    def _save(self, name: str) -> None:
        temporary = self.folder / "writing.keras"
        require_room(self.folder, _file_bytes(self.network.variables))
        self.network.save(temporary)
        os.replace(temporary, self.folder / name)


class StopOnNaN(keras.callbacks.Callback):
    """Raises `TrainingDivergedError` as soon as the loss is not finite."""

    async_safe = True  # the JAX trainer need not wait for each step's loss

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Checks the running mean of the loss, in which a NaN remains."""
        loss = float((logs or {}).get("loss", 0.0))
        if not math.isfinite(loss):
            raise TrainingDivergedError(
                f"the loss is {loss} at batch {batch + 1} of this epoch. The last good state is "
                "kept. Try a lower --config.learning_rate or --precision=float32, in a new "
                "--workdir."
            )


def _validation_mae(logs: dict) -> float:
    """Returns the validation MAE; with several outputs, its name has the output's as a prefix."""
    (name,) = (name for name in logs if name.startswith("val_") and name.endswith(MAE_METRIC))
    return float(logs[name])


def forget_later_rows(log: Path, epochs: int) -> None:
    """Removes rows of epochs that a resumed run repeats from the CSV log.

    Incomplete lines are removed too. A log without a header is deleted; Keras then creates it.
    """
    if not log.exists():
        return
    text = log.read_text(errors="replace").replace("\0", "")
    rows = [row for row in csv.reader(text.splitlines()) if row]
    if not rows or rows[0][0] != "epoch":
        log.unlink()
        return
    header, *rows = rows
    kept = [
        row
        for row in rows
        if len(row) == len(header) and row[0].isdecimal() and int(row[0]) < epochs
    ]
    lines = io.StringIO()
    csv.writer(lines).writerows([header, *kept])
    replace_file(log, lines.getvalue().encode())
