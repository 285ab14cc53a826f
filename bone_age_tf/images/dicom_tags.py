"""Typed access to the attributes of a DICOM dataset, for files that break the standard's rules."""

import contextlib
import datetime
import logging
import math
import threading
import warnings
from collections.abc import Iterator
from typing import Any

_ONE_AT_A_TIME = threading.RLock()
"""Held while warnings are ignored: `warnings.catch_warnings` changes the state of the process."""
_LOGGERS = ("pydicom", "pydicom.pixels.decoders.base")
"""Loggers of pydicom that print warnings and the tracebacks of decoders that failed."""


class Tags:
    """Reads attributes of a dataset; a missing or malformed value is an empty one.

    pydicom converts a value when it is read and raises errors of many classes for a malformed one.
    """

    def __init__(self, dataset: Any):
        """Wraps a `pydicom.Dataset`."""
        self.dataset = dataset

    def values(self, keyword: str) -> tuple[Any, ...]:
        """Returns the values of an attribute; empty if there are none."""
        try:
            value = self.dataset[keyword].value
        except Exception:  # of any class, for a malformed value
            return ()
        if value is None or value == "":
            return ()
        if isinstance(value, (str, bytes)) or not hasattr(value, "__iter__"):
            return (value,)
        return tuple(value)

    def text(self, keyword: str) -> str:
        """Returns the first value as a text without surrounding spaces."""
        values = self.values(keyword)
        return str(values[0]).strip(" \0") if values else ""

    def words(self, keyword: str) -> tuple[str, ...]:
        """Returns all values as texts."""
        return tuple(str(value).strip(" \0") for value in self.values(keyword))

    def numbers(self, keyword: str) -> tuple[float, ...]:
        """Returns the values as numbers; empty if one of them is not a finite number."""
        try:
            numbers = tuple(float(value) for value in self.values(keyword))
        except (TypeError, ValueError, OverflowError):
            return ()
        return numbers if all(map(math.isfinite, numbers)) else ()

    def whole(self, keyword: str, default: int = 0) -> int:
        """Returns the first value as a whole number."""
        numbers = self.numbers(keyword)
        return int(numbers[0]) if numbers else default

    def raw(self, keyword: str) -> bytes:
        """Returns the value of an attribute that holds bytes."""
        values = self.values(keyword)
        return values[0] if values and isinstance(values[0], bytes) else b""

    def date(self, keyword: str) -> datetime.date | None:
        """Returns a date, or the date of a date and time, that is complete and valid."""
        digits = self.text(keyword).replace(".", "")[:8]  # ACR-NEMA separated with points
        try:
            return datetime.datetime.strptime(digits, "%Y%m%d").date()
        except ValueError:
            return None

    def items(self, keyword: str) -> tuple["Tags", ...]:
        """Returns the items of a sequence."""
        return tuple(Tags(item) for item in self.values(keyword) if hasattr(item, "walk"))

    def __contains__(self, keyword: str) -> bool:
        """Returns whether the dataset has an attribute, also an empty one."""
        return keyword in self.dataset


@contextlib.contextmanager
def quiet_log() -> Iterator[None]:
    """Keeps pydicom's log of malformed values and failed decoders from the user.

    Only records of this thread are dropped. Errors are not affected.
    """
    thread = threading.get_ident()

    def is_of_another_thread(record: logging.LogRecord) -> bool:
        return record.thread != thread

    loggers = [logging.getLogger(name) for name in _LOGGERS]
    for logger in loggers:
        logger.addFilter(is_of_another_thread)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeFilter(is_of_another_thread)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keeps pydicom's log and warnings from the user; for one thread at a time."""
    with _ONE_AT_A_TIME, quiet_log(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
