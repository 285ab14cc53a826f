"""What a run leaves on disk while it trains, so that it can be killed at any moment.

Keras' BackupAndRestore writes weights and epoch as two files, one after the other, in place: a
kill in between leaves them apart. Here a resume point is one file, moved into place whole, whose
name holds the number of steps.
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
"""Name of the metric in months that chooses the best network."""

RESUME_SECONDS = 240.0
"""The longest time between two resume points; a step more and the writing stay below 5 minutes."""

_WRITING = "writing.weights.h5"
_RANDOM, _FIGURES = "random_states", "running_figures"


class ResumePoints(keras.callbacks.Callback):
    """Writes the whole training state now and then, within an epoch too, and keeps the last two.

    The state is the weights, the optimiser with its averages, the random state of the augmentation
    and of dropout, and the running figures of the epoch. A resumed run draws what it would have
    drawn (KerasCV's layers keep a state of their own and do not). Comes before callbacks that swap
    weights; the callback of `committer` comes last, so that a point of an epoch's end stands only
    when all else that the epoch leaves is written.

    Args:
        folder: where to write.
        steps_per_epoch: batches an epoch.
        seconds: the longest time between two points.
        stop_at: `time.monotonic()` at which to write a point and stop; None for never.
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
        """Loads the newest readable point; returns the steps that it has done.

        Args:
            model: compiled, its optimiser built.
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
        """Returns the callback that moves the point of an epoch's end into place."""
        return keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: self._commit(epoch))

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Sets random states to those of the epoch, or of the place in it that was restored."""
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
        """Writes a point between two steps when it is time to."""
        step, now = self._epoch * self.steps_per_epoch + batch, time.monotonic()
        if step <= max(self._restored, 0):
            return
        if step == self._restored + 1 and batch > 1:
            self._add_earlier_figures()
        if batch == self.steps_per_epoch - 1:  # the point of the epoch's end comes with this step
            return
        stop = self.stop_at is not None and now >= self.stop_at
        if stop or now - self._last >= self.seconds:
            self._write()
            self._move(step)
        if stop:
            raise OutOfTimeError(
                f"the time for this training is over after step {step}; the same command goes on"
            )

    def _add_earlier_figures(self) -> None:
        """Adds the sums of the epoch's steps that an earlier call has done to those of this one."""
        for variable, earlier in zip(_figures(self.model), self._states[_FIGURES], strict=True):
            variable.assign(variable + earlier)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Writes the point of the epoch's end beside its place."""
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
    """Returns the bytes of variables and a megabyte for what describes them in a file."""
    sizes = {id(one): math.prod(one.shape) * 4 for some in variables for one in some}
    return sum(sizes.values()) + 1_000_000


def _random_states(model: keras.Model) -> list[keras.Variable]:
    return [v for v in model.variables if v.path.endswith("seed_generator_state")]


def _figures(model: keras.Model) -> list[keras.Variable]:
    return [variable for metric in model.metrics for variable in metric.variables]


def _read_states(path: Path) -> dict[str, list[np.ndarray]]:
    with h5py.File(path) as file:
        return {
            name: [np.asarray(file[name][place]) for place in sorted(file[name])]
            for name in (_RANDOM, _FIGURES)
        }


class KeepNetworks(keras.callbacks.Callback):
    """Saves the network as `last.keras` each epoch, and as `best.keras` when its MAE is lowest.

    Comes after the callback that swaps averaged weights in, so that those are saved.

    Args:
        folder: where to write.
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
        """Saves what the epoch earned."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self._save("last.keras")
        mae = _validation_mae(logs or {})
        if mae < self.best:
            self._save_best(epoch + 1, mae)

    def save_untrained(self, logs: dict) -> None:
        """Saves the network as the best and as the last: there is no other.

        Args:
            logs: what Keras' `evaluate` returned for it.
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
    """Raises `TrainingDivergedError` as soon as the loss is no number."""

    async_safe = True  # the JAX trainer need not wait for each step's loss

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Looks at the running mean of the loss, which keeps a NaN."""
        loss = float((logs or {}).get("loss", 0.0))
        if not math.isfinite(loss):
            raise TrainingDivergedError(
                f"the loss is {loss} at batch {batch + 1} of this epoch. The last good state is "
                "kept. Try a lower --config.learning_rate or --precision=float32, in a new "
                "--workdir."
            )


def _validation_mae(logs: dict) -> float:
    """Keras puts the output's name before the metric's where there are several outputs."""
    (name,) = (name for name in logs if name.startswith("val_") and name.endswith(MAE_METRIC))
    return float(logs[name])


def forget_later_rows(log: Path, epochs: int) -> None:
    """Drops rows of epochs that a resumed run will do again from its CSV log.

    Lines that a kill or a full disk left broken are dropped too; a log without a header is removed,
    and Keras begins it anew.
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
