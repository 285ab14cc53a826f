"""How far long work is: a bar on a terminal, a line a minute with the time left in a log."""

import datetime
import sys
import time
from collections.abc import Iterable, Iterator
from typing import TextIO, TypeVar

from tqdm import tqdm

_Item = TypeVar("_Item")
LINE_SECONDS = 55.0
"""Seconds between two lines of a log, so that there is one at least once a minute."""


def shown(
    items: Iterable[_Item], total: int, what: str, stream: TextIO | None = None
) -> Iterator[_Item]:
    """Yields the items and shows how many of them have been taken.

    Args:
        items: what is worked on.
        total: how many there are; a single one is not worth showing.
        what: the work, such as "packing".
        stream: where to show it; None for standard output.
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
    """Prints a line a minute about work whose end is not known beforehand."""

    def __init__(self, what: str):
        """Takes what the work is called, such as "quantising"."""
        self._what, self._done, self._last = what, 0, time.monotonic()

    def step(self) -> None:
        """Counts one step of the work."""
        self._done += 1
        if time.monotonic() - self._last >= LINE_SECONDS:
            print(f"{self._what}: {self._done} steps done", flush=True)
            self._last = time.monotonic()


def time_left(seconds: float, done: int, total: int) -> str:
    """Returns the time that the rest will take at the mean speed so far, as text.

    Args:
        seconds: since the start.
        done: items finished in that time, at least one.
        total: items in all.
    """
    return f"{datetime.timedelta(seconds=round(seconds / done * (total - done)))} left"
