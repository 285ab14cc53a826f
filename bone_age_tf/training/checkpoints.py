"""What a run leaves on disk while it trains, so that it can be killed at any moment.

Keras' BackupAndRestore writes weights and epoch as two files, one after the other, in place: a
kill in between leaves them apart. Here a resume point is one file, moved into place whole, whose
name tells the epoch.
"""

import csv
import json
import math
import os
import re
from pathlib import Path

import keras
import numpy as np

MAE_METRIC = "mae"
"""Name of the metric in months that chooses the best network."""


class TrainingDivergedError(RuntimeError):
    """The loss became NaN or infinite."""


class ResumePoints(keras.callbacks.Callback):
    """Writes the whole training state after each epoch and keeps the last two.

    The state is the weights and the optimiser with its averages. Keras saves no random state: each
    epoch's augmentation and dropout draw from a state that the seed and the epoch decide, so that a
    resumed run draws what it would have drawn (KerasCV's layers keep a state of their own and do
    not). Comes before callbacks that swap weights.

    Args:
        folder: where to write.
    """

    _NAME = re.compile(r"epoch-(\d+)\.weights\.h5")

    def __init__(self, folder: Path):
        super().__init__()
        self.folder = folder

    def restore(self, model: keras.Model) -> int:
        """Loads the newest readable point; returns the epochs that it has done.

        Args:
            model: compiled, its optimiser built.
        """
        for epoch, path in reversed(self._points()):
            try:
                model.load_weights(path)
            except (OSError, KeyError, ValueError) as error:
                print(f"{path} cannot be read ({error}); trying the one before")
                continue
            return epoch
        return 0

    def on_epoch_begin(self, epoch, logs=None):
        """Sets the counter of every random state to one that belongs to the epoch."""
        for variable in self.model.variables:
            if variable.path.endswith("seed_generator_state"):
                seed = keras.ops.convert_to_numpy(variable)[0]
                variable.assign(np.array([seed, epoch << 20], variable.dtype))

    def on_epoch_end(self, epoch, logs=None):
        """Writes the point and drops all but the last two."""
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / f"epoch-{epoch + 1:05d}.weights.h5"
        temporary = self.folder / "writing.weights.h5"
        self.model.save_weights(temporary, overwrite=True)
        os.replace(temporary, path)
        for _, old in self._points()[:-2]:
            old.unlink()

    def _points(self) -> list[tuple[int, Path]]:
        matches = [(self._NAME.fullmatch(path.name), path) for path in self.folder.glob("*.h5")]
        return sorted((int(match[1]), path) for match, path in matches if match)


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

    def on_epoch_end(self, epoch, logs=None):
        """Saves what the epoch earned."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self._save("last.keras")
        mae = _validation_mae(logs or {})
        if mae < self.best:
            self._save("best.keras")
            self.best = mae
            temporary = self._record.with_suffix(".tmp")
            temporary.write_text(json.dumps({"epoch": epoch + 1, "val_mae_months": mae}) + "\n")
            os.replace(temporary, self._record)

    def save_all(self) -> None:
        """Saves the network as the best and as the last: there is no other."""
        for name in ("best.keras", "last.keras"):
            self._save(name)

    def _save(self, name: str) -> None:
        temporary = self.folder / "writing.keras"
        self.network.save(temporary)
        os.replace(temporary, self.folder / name)


class StopOnNaN(keras.callbacks.Callback):
    """Raises `TrainingDivergedError` as soon as the loss is no number."""

    def on_train_batch_end(self, batch, logs=None):
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
    """Drops rows of epochs that a resumed run will do again from its CSV log."""
    if not log.exists():
        return
    with log.open(newline="") as file:
        header, *rows = csv.reader(file)
    with log.open("w", newline="") as file:
        csv.writer(file).writerows([header, *(row for row in rows if int(row[0]) < epochs)])
