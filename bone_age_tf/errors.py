"""Errors that a user can remedy; each message names the file or value, the cause and the remedy.

The command line prints them without a traceback. Any other exception is a bug and keeps its
traceback. Standard library only.
"""

import difflib
from collections.abc import Iterable


class BoneAgeError(Exception):
    """Base class of all errors that a user can remedy."""


class ConfigError(BoneAgeError, ValueError):
    """A flag or a setting that is unknown, malformed or contradicts another."""


class DataError(BoneAgeError, ValueError):
    """A dataset whose tables, rows, archives or splits cannot be used."""


class MissingFilesError(BoneAgeError, FileNotFoundError):
    """Files that a dataset or a command needs and that are not there."""


class MissingExtraError(BoneAgeError, ImportError):
    """A package of an optional extra that is not installed; the message names the extra."""

    def __init__(self, purpose: str, extra: str):
        super().__init__(
            f"{purpose} needs packages that are not installed: pip install 'bone-age-tf[{extra}]'"
        )


class InputError(BoneAgeError, ValueError):
    """An input that holds nothing to predict, or an argument that cannot be used."""


class RadiographError(BoneAgeError, ValueError):
    """An image file that cannot be read; the message names the file, what is wrong and what helps.

    Attributes:
        reason: the message without the file's name, for tables.
    """

    def __init__(self, name: str, reason: str):
        super().__init__(f"{name}: {reason}")
        self.reason = reason


class ModelError(BoneAgeError, ValueError):
    """An exported model that cannot be used."""


class PredictionError(BoneAgeError, ValueError):
    """A prediction for one radiograph that is not a finite number."""


class CalibrationError(BoneAgeError, ValueError):
    """A site calibration that cannot be read, or cases that cannot give one."""


class AnnotationError(BoneAgeError, ValueError):
    """An annotation of ossification regions that cannot be used."""


class TrainingDivergedError(BoneAgeError, RuntimeError):
    """A training whose loss or weights are no longer finite."""


class OutOfTimeError(BoneAgeError, RuntimeError):
    """A training that was interrupted because its time was up; it can be resumed."""


class ExportError(BoneAgeError, ValueError):
    """A model that cannot be exported in a requested format."""


class ParityError(BoneAgeError, RuntimeError):
    """An exported file whose predictions differ from those of the Keras model."""


class EngineError(BoneAgeError, RuntimeError):
    """An engine for many processes or machines, such as Beam or Spark, that failed."""


class PageError(BoneAgeError, ValueError):
    """A web page that cannot be built."""


class ServerError(BoneAgeError, RuntimeError):
    """A server that cannot be reached, or whose response cannot be used.

    Attributes:
        lasting: whether the error would also occur for other radiographs.
    """

    def __init__(self, message: str, lasting: bool):
        super().__init__(message)
        self.lasting = lasting


class OutputError(BoneAgeError, OSError):
    """An output that cannot be written; the message names it, the cause and the remedy."""


def require_known(what: str, value: str, known: Iterable[str]) -> None:
    """Raises a `ConfigError` with the known values and the nearest one if a value is unknown."""
    known = sorted(known)
    if value in known:
        return
    near = difflib.get_close_matches(value, known, n=1, cutoff=0.4)
    hint = f" Did you mean {near[0]}?" if near else ""
    raise ConfigError(f"unknown {what} {value!r}.{hint} Known: {', '.join(known)}")
