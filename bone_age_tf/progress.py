"""Progress of long work: a bar on a terminal; in a log, a line a minute with the remaining time."""

import datetime
import sys
import time
from collections.abc import Iterable, Iterator
from typing import TextIO, TypeVar

from tqdm import tqdm

_Item = TypeVar("_Item")
LINE_SECONDS = 55.0
"""Seconds between two lines of a log, so that there is at least one line a minute."""


def shown(
    items: Iterable[_Item], total: int, what: str, stream: TextIO | None = None
) -> Iterator[_Item]:
    """Yields items and shows the progress.

    Args:
        items: the items.
        total: number of items; the progress of a single item is not shown.
        what: name of the work, such as "packing".
        stream: output of the progress; None for standard output.
    """
    stream = stream or sys.stdout
    if total < 2:
        yield from items
        return
    if stream.isatty():
        yield from tqdm(items, what, total, dynamic_ncols=True, file=stream)
        return
    start = last = time.monotonic()
    for done, item in enumerate(items):
        now = time.monotonic()
        if done and now - last >= LINE_SECONDS:
            left = time_left(now - start, done, total)
            print(f"{what}: {done} of {total}, {left}", file=stream, flush=True)
            last = now
        yield item


class Minutes:
    """Prints a line a minute about work of unknown duration."""

    def __init__(self, what: str):
        """Starts the work with a name, such as "quantising"."""
        self._what, self._done, self._last = what, 0, time.monotonic()

    def step(self) -> None:
        """Counts one step of the work."""
        self._done += 1
        if time.monotonic() - self._last >= LINE_SECONDS:
            print(f"{self._what}: {self._done} steps done", flush=True)
            self._last = time.monotonic()


def time_left(seconds: float, done: int, total: int) -> str:
    """Returns the remaining time at the mean speed so far, as a text.

    Args:
        seconds: time since the start.
        done: number of finished items, at least one.
        total: number of all items.
    """
    return f"{datetime.timedelta(seconds=round(seconds / done * (total - done)))} left"
