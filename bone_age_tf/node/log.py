"""The log of the node: one line an event, without anything that identifies a patient.

Lines name a radiograph by the hash of its UID (`spool.object_key`). They have neither names,
numbers and dates of patients nor texts of other libraries, which quote the values of attributes.
"""

import logging
import sys
import time
import traceback
import warnings
from typing import Final, TextIO

LOGGER: Final = logging.getLogger("bone_age_tf.node")
_OTHERS: Final = (
    *("pydicom", "pynetdicom", "highdicom", "dicomweb_client", "urllib3", "PIL", "matplotlib"),
    "py.warnings",
)
"""Loggers of libraries, whose messages may quote values of a patient."""


def start_log(stream: TextIO | None = None) -> None:
    """Writes the node's log to a stream, standard error by default, and silences libraries."""
    handler = logging.StreamHandler(stream or sys.stderr)
    formatter = logging.Formatter("%(asctime)sZ %(levelname)s %(message)s", "%Y-%m-%dT%H:%M:%S")
    formatter.converter = time.gmtime
    handler.setFormatter(formatter)
    LOGGER.handlers[:] = [handler]
    LOGGER.setLevel(logging.INFO)
    LOGGER.propagate = False
    for name in _OTHERS:
        logger = logging.getLogger(name)
        logger.setLevel(logging.CRITICAL + 1)
        logger.propagate = False
    warnings.simplefilter("ignore")


def describe_bug(error: BaseException) -> str:
    """Returns the class of an unexpected error and where it was raised, without its message."""
    frames = traceback.extract_tb(error.__traceback__)
    places = [f"{frame.filename.rpartition('/')[2]}:{frame.lineno}" for frame in frames[-4:]]
    return f"{type(error).__name__} at {' > '.join(places)}"
