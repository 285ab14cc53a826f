"""Progress of a training: a bar on a terminal, a line a minute in a log."""

import sys
import time
from typing import Any

import keras
from tqdm import tqdm

from bone_age_tf.progress import LINE_SECONDS, time_left


class Progress(keras.callbacks.Callback):
    """Prints step, loss, images per second and remaining time.

    Args:
        schedule: the run's epochs and steps.
        batch_size: number of images in a step.
        done: number of steps before this call.
        seconds: time between two lines of a log.
    """

    async_safe = True

    def __init__(
        self, schedule: Any, batch_size: int, done: int = 0, seconds: float = LINE_SECONDS
    ) -> None:
        super().__init__()
        self.schedule, self.batch_size, self.seconds = schedule, batch_size, seconds
        self._first = self._done = self._printed = done
        self._epoch, self._bar, self._timed = 0, None, False
        self._start = self._last = 0.0

    def on_train_begin(self, logs: Any = None) -> None:
        """Starts the clock; on a terminal, opens the bar."""
        self._start = self._last = time.monotonic()
        if sys.stdout.isatty():
            self._bar = tqdm(
                total=self.schedule.steps, initial=self._done, unit="step", dynamic_ncols=True
            )

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Notes the epoch."""
        self._epoch = epoch

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Advances the bar, or prints a line if it is due."""
        done = self._epoch * self.schedule.steps_per_epoch + batch + 1
        if done <= self._done:  # skipped, since it was done before this call
            return
        if not self._timed:  # the first step includes compilation and waiting for images
            self._timed, self._first, self._start = True, done, time.monotonic()
        if self._bar is not None:
            self._bar.update(done - self._done)
            self._bar.set_postfix_str(_figures(logs or {}), refresh=False)
        self._done, now = done, time.monotonic()
        if self._bar is None and now - self._last >= self.seconds:
            speed = self.batch_size * (done - self._printed) / (now - self._last)
            self._print(f"{_figures(logs or {})}, {speed:.1f} images/s, {self._left()}")
            self._last, self._printed = now, done

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Prints the metrics of the epoch."""
        logs = logs or {}
        maes = {name: value for name, value in logs.items() if name.endswith("mae")}
        training = next((v for name, v in maes.items() if not name.startswith("val_")), None)
        validation = next((v for name, v in maes.items() if name.startswith("val_")), None)
        text = f"loss {logs.get('loss', float('nan')):.3f}"
        if training is not None:
            text += f", training MAE {training:.1f} months"
        if validation is not None:
            text += f", validation MAE {validation:.2f} months"
        text = f"epoch {epoch + 1} of {self.schedule.epochs} done: {text}, {self._left()}"
        if self._bar is None:
            print(text, flush=True)
        else:
            self._bar.write(text)

    def on_train_end(self, logs: Any = None) -> None:
        """Closes the bar."""
        if self._bar is not None:
            self._bar.close()

    def _print(self, text: str) -> None:
        place = f"epoch {self._epoch + 1} of {self.schedule.epochs}"
        print(f"{place}, step {self._done} of {self.schedule.steps}: {text}", flush=True)

    def _left(self) -> str:
        """Returns the remaining time at the mean speed so far, as a text."""
        done = self._done - self._first
        if not done:
            return "time left not known yet"
        return time_left(time.monotonic() - self._start, done, self.schedule.steps - self._first)


def _figures(logs: dict) -> str:
    text = f"loss {logs['loss']:.3f}" if "loss" in logs else "loss not known yet"
    maes = [value for name, value in logs.items() if name.endswith("mae")]
    return f"{text}, MAE {maes[0]:.1f} months" if maes else text
