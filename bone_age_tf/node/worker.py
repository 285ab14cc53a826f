"""Reads the radiographs in the spool and writes their results to it."""

import hashlib
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import bone_age_tf
from bone_age_tf.clinical.report_files import write_reports
from bone_age_tf.clinical.report_kinds import SHOW_RADIOGRAPH
from bone_age_tf.errors import BoneAgeError, RadiographError
from bone_age_tf.inference.result import FAILED
from bone_age_tf.node.log import LOGGER, describe_bug
from bone_age_tf.node.metrics import Metrics
from bone_age_tf.node.spool import SUFFIX, Received, Spool
from bone_age_tf.radiograph import Radiograph

if TYPE_CHECKING:
    from bone_age_tf.inference.result import Result
    from bone_age_tf.reader import Reader

MOST_TRIES: Final = 5
"""Number of attempts after which a radiograph during which the node ended is not read again."""
_PAUSE_S: Final = 5.0
"""Time after an error of the disk, such as a full one, before the next attempt."""
_STEM: Final = "result"


class Worker:
    """Reads radiographs, the first to arrive first, one at a time."""

    def __init__(
        self,
        spool: Spool,
        reader: "Reader",
        kinds: Sequence[str],
        sds_reference: str,
        metrics: Metrics,
        answered: threading.Event,
    ):
        """Prepares the worker.

        Args:
            spool: the radiographs.
            reader: what reads them.
            kinds: kinds of reports, some of `settings.SENT_KINDS`.
            sds_reference: reference of the standard deviation scores.
            metrics: what is counted.
            answered: set when there are new results.
        """
        self._spool, self._reader, self._metrics = spool, reader, metrics
        self._kinds, self._reference, self._answered = tuple(kinds), sds_reference, answered
        parts = (bone_age_tf.__version__, reader.model, *self._kinds, sds_reference)
        options = (str(reader.calibration), str(reader.rejects_unfamiliar))
        self._version = hashlib.sha256(chr(0).join((*parts, *options)).encode()).hexdigest()

    def run(self, stop: threading.Event, arrived: threading.Event) -> None:
        """Reads until the node stops.

        Args:
            stop: set when the node stops.
            arrived: set when a radiograph has arrived.
        """
        while not stop.is_set():
            try:
                busy = self.step()
            except OSError as error:
                LOGGER.error("spool cannot be read or written: errno %s", error.errno)
                stop.wait(_PAUSE_S)
                continue
            except Exception as error:  # out of memory, for instance
                LOGGER.error("error while reading: %s", describe_bug(error))
                stop.wait(_PAUSE_S)
                continue
            if not busy:
                arrived.wait(0.5)
                arrived.clear()

    def step(self) -> bool:
        """Deals with one radiograph; returns whether there was one.

        Raises:
            OSError: the spool cannot be read or written; the radiograph still waits.
            MemoryError: there is too little memory; the radiograph still waits, `MOST_TRIES` times.
        """
        waiting = self._spool.received()
        if not waiting:
            return False
        received = waiting[0]
        if received.tries >= MOST_TRIES:
            self._bury(
                received, f"the node ended {received.tries} times while it read this radiograph"
            )
            return True
        content = received.path.read_bytes()
        digest = hashlib.sha256(content).hexdigest()
        if self._repeat(received, digest):
            return True
        received = self._spool.begin(received)
        began = time.monotonic()
        try:
            status = self._read(received, content, digest)
        except RadiographError as error:
            self._bury(received, error.reason)
        except OSError:
            self._spool.put_back(received)
            raise
        except MemoryError:  # counts as an attempt
            raise
        except BoneAgeError as error:
            self._bury(received, str(error))
        except Exception as error:
            self._bury(received, f"an error in the program: {describe_bug(error)}")
        else:
            seconds = time.monotonic() - began
            self._metrics.add("read_total", label=f'status="{status}"')
            self._metrics.add("read_seconds_total", seconds)
            LOGGER.info("%s read in %.2f s: %s", received.key, seconds, status)
            self._answered.set()
        return True

    def _read(self, received: Received, content: bytes, digest: str) -> str:
        """Reads a radiograph and writes its results; returns its status.

        Raises:
            BoneAgeError: it cannot be read, or no result can refer to it.
            OSError: the results cannot be written.
        """
        radiograph = Radiograph.open(content, name=f"{received.key}{SUFFIX}")
        result: Result = self._reader.read(radiograph)
        if result.status == FAILED:
            raise RadiographError(received.key, "; ".join(result.reasons))
        is_shown = any(kind in SHOW_RADIOGRAPH for kind in self._kinds)
        with self._spool.new_folder() as folder:
            written = write_reports(
                self._kinds,
                result,
                content,
                folder,
                reference=self._reference,
                radiograph=radiograph.pixels if is_shown else None,
                name=_STEM,
            )
            _keep_objects(written)
            facts = {"version": self._version, "digest": digest, "status": result.status}
            self._spool.answer(received, folder, facts)
        return result.status

    def _repeat(self, received: Received, digest: str) -> bool:
        """Sends the results of a radiograph again that this version has read; returns whether."""
        for folder, facts in self._spool.find_answers(received.key):
            if facts.get("version") == self._version and facts.get("digest") == digest:
                self._spool.send_again(folder, received)
                self._metrics.add("repeated_total")
                LOGGER.info("%s was read before; its results are sent again", received.key)
                self._answered.set()
                return True
        return False

    def _bury(self, received: Received, reason: str) -> None:
        """Moves a radiograph to `dead`. The log does not have the reason, which may quote it."""
        folder = self._spool.bury_radiograph(received, reason)
        self._metrics.add("read_total", label=f'status="{FAILED}"')
        self._metrics.add("dead_letters_total", label='kind="radiograph"')
        LOGGER.error(
            "%s cannot be read; moved to dead/%s, see reason.txt", received.key, folder.name
        )


def _keep_objects(paths: Sequence[Path]) -> None:
    """Removes the files of a report that are not DICOM objects."""
    for path in paths:
        if path.suffix != SUFFIX:
            path.unlink()
