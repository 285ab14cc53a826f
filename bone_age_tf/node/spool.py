"""The spool of the node: where every radiograph and every result is until it has been dealt with.

The state of an object is the folder that it is in, and an object changes its state by one rename:

- `incoming/SEQUENCE-KEY.dcm`: a radiograph that was received and is not read yet.
- `outgoing/SEQUENCE-KEY/`: the results of a radiograph that are not sent yet.
- `done/KEY/`: results that were sent. They are sent again if the same radiograph arrives again.
- `dead/KEY/`: a radiograph that cannot be read, or results that the peer refuses, and `reason.txt`.
- `unfinished/`: what was being written when the node ended; removed at the next start.

Files are flushed to the disk before the rename, and folders after it. A process that is killed, or
a machine that loses power, therefore loses nothing: a radiograph is in one of these folders from
before its sender is answered. It may be read or sent twice, which gives the same objects.

Standard library and `filelock` only.
"""

import contextlib
import dataclasses
import hashlib
import itertools
import json
import os
import shutil
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from filelock import FileLock, Timeout

from bone_age_tf.errors import OutputError

INCOMING: Final = "incoming"
OUTGOING: Final = "outgoing"
DONE: Final = "done"
DEAD: Final = "dead"
_UNFINISHED: Final = "unfinished"
STATES: Final = (INCOMING, OUTGOING, DONE, DEAD)
"""Folders of the spool, of which each holds the objects of a state."""

SUFFIX: Final = ".dcm"
RADIOGRAPH_NAME: Final = f"radiograph{SUFFIX}"
REASON_NAME: Final = "reason.txt"
_FACTS_NAME: Final = "answer.json"
_KEY_DIGITS: Final = 16
"""Length of keys: 64 bits of a hash, so that two radiographs do not have the same one."""
_OWNER_ONLY: Final = 0o700
"""Permissions of the folders, which hold names and dates of birth of patients."""


@dataclasses.dataclass(frozen=True)
class Received:
    """A radiograph in `incoming`.

    Attributes:
        path: its file.
        key: see `object_key`.
        tries: how often it has been begun to be read.
    """

    path: Path
    key: str
    tries: int = 0

    @property
    def place(self) -> str:
        """Name without the number of tries, by which radiographs are ordered."""
        return self.path.name.partition(".")[0]


def object_key(sop_instance_uid: str) -> str:
    """Returns the name of a radiograph in the spool and in the log: a hash of its UID.

    A UID may contain the number of a patient or a date, and a hash does not show it. The command
    `printf %s UID | sha256sum | cut -c-16` prints the key of a UID.
    """
    return hashlib.sha256(sop_instance_uid.encode()).hexdigest()[:_KEY_DIGITS]


class Spool:
    """Radiographs and results on the disk. For use from several threads of one process.

    Attributes:
        folder: the spool's folder.
    """

    def __init__(self, folder: str | Path):
        """Opens a spool; a missing folder is created, with access for its owner alone.

        Raises:
            OutputError: the folder cannot be written, or another node uses it.
        """
        self.folder = Path(folder)
        self._moves = threading.RLock()
        self._last_time_ns, self._numbers = 0, itertools.count()
        try:
            for state in (*STATES, _UNFINISHED):
                (self.folder / state).mkdir(_OWNER_ONLY, parents=True, exist_ok=True)
            self.folder.chmod(_OWNER_ONLY)
            self._process_lock = FileLock(self.folder / ".lock")
            self._process_lock.acquire(timeout=0)
        except Timeout:
            raise OutputError(
                f"--spool={folder}: another node uses this folder; end it, or name another folder"
            ) from None
        except OSError as error:
            raise OutputError(
                f"--spool={folder}: cannot be written ({error.strerror}); name another folder"
            ) from None
        for path in (self.folder / _UNFINISHED).iterdir():
            _remove(path)

    def close(self) -> None:
        """Lets another process use the folder."""
        self._process_lock.release()

    def store(self, key: str, content: bytes) -> Path:
        """Writes a radiograph to `incoming` and returns when it is safely there.

        Raises:
            OSError: it cannot be written; nothing is left behind.
        """
        target = self.folder / INCOMING / f"{self._sequence()}-{key}{SUFFIX}"
        unfinished = self._new_name()
        try:
            _write_flushed(unfinished, content)
            self._move(unfinished, target)
        finally:
            unfinished.unlink(missing_ok=True)
        return target

    def received(self) -> list[Received]:
        """Returns the radiographs that wait to be read, the first to arrive first."""
        names = sorted(name for name in os.listdir(self.folder / INCOMING) if SUFFIX in name)
        return [_received(self.folder / INCOMING / name) for name in names]

    def begin(self, received: Received) -> Received:
        """Notes that a radiograph is about to be read, so that one that ends the node is seen."""
        return self._with_tries(received, received.tries + 1)

    def put_back(self, received: Received) -> Received:
        """Notes that a radiograph was not to blame for an attempt that failed."""
        return self._with_tries(received, 0)

    def drop(self, received: Received) -> None:
        """Removes a radiograph that has been dealt with."""
        received.path.unlink(missing_ok=True)

    @contextlib.contextmanager
    def new_folder(self) -> Iterator[Path]:
        """Lends an empty folder, which is removed at the end unless it was moved away."""
        folder = self._new_name()
        folder.mkdir(_OWNER_ONLY)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def answer(self, received: Received, folder: Path, facts: Mapping[str, Any]) -> Path:
        """Moves results to `outgoing` and removes their radiograph.

        Args:
            received: the radiograph.
            folder: a folder of `new_folder` with the files to send.
            facts: what `find_answers` shall know about them.

        Raises:
            OSError: the results cannot be written; the radiograph still waits.
        """
        (folder / _FACTS_NAME).write_text(json.dumps(facts), encoding="utf-8")
        for path in folder.iterdir():
            _flush(path)
        target = self.folder / OUTGOING / received.place
        with self._moves:
            self._move_folder(folder, target)
        self.drop(received)
        return target

    def find_answers(self, key: str) -> Iterator[tuple[Path, dict[str, Any]]]:
        """Yields the folders with results of a radiograph and their facts, unsent ones first."""
        waiting = [path for path in self.answers() if _key_of(path.name) == key]
        for path in (*waiting, self.folder / DONE / key):
            with contextlib.suppress(OSError, ValueError):
                yield path, json.loads((path / _FACTS_NAME).read_text(encoding="utf-8"))

    def send_again(self, folder: Path, received: Received) -> None:
        """Moves results that were sent back to `outgoing`, and removes the radiograph.

        Results that still wait to be sent stay where they are.
        """
        with self._moves:
            if folder.parent.name == DONE and folder.is_dir():
                self._move_folder(folder, self.folder / OUTGOING / received.place)
        self.drop(received)

    def answers(self) -> list[Path]:
        """Returns the folders with results that wait to be sent, the first to arrive first."""
        outgoing = self.folder / OUTGOING
        return [outgoing / name for name in sorted(os.listdir(outgoing))]

    def finish(self, folder: Path) -> None:
        """Moves results that were sent to `done`, and removes older ones of the radiograph."""
        key = _key_of(folder.name)
        with self._moves:
            os.utime(folder)
            self._move_folder(folder, self.folder / DONE / key)
            shutil.rmtree(self.folder / DEAD / key, ignore_errors=True)

    def bury_radiograph(self, received: Received, reason: str) -> Path:
        """Moves a radiograph that cannot be read to `dead`, with the reason."""
        target = self.folder / DEAD / received.key
        with self.new_folder() as folder, self._moves:
            _write_flushed(folder / REASON_NAME, f"{reason}\n".encode())
            try:
                os.link(received.path, folder / RADIOGRAPH_NAME)
            except OSError:  # a file system without hard links
                shutil.copyfile(received.path, folder / RADIOGRAPH_NAME)
                _flush(folder / RADIOGRAPH_NAME)
            self._move_folder(folder, target)
        self.drop(received)
        return target

    def bury_answer(self, folder: Path, reason: str) -> Path:
        """Moves results that the peer refuses to `dead`, with the reason."""
        target = self.folder / DEAD / _key_of(folder.name)
        _write_flushed(folder / REASON_NAME, f"{reason}\n".encode())
        with self._moves:
            self._move_folder(folder, target)
        return target

    def counts(self) -> dict[str, int]:
        """Returns the number of radiographs or results in each state."""
        return {state: len(os.listdir(self.folder / state)) for state in STATES}

    def number_waiting(self) -> int:
        """Returns the number of radiographs and results that wait."""
        return sum(len(os.listdir(self.folder / state)) for state in (INCOMING, OUTGOING))

    def oldest_s(self) -> float:
        """Returns the age in seconds of the oldest radiograph or result that waits; 0 for none."""
        waiting = [received.place for received in self.received()[:1]]
        waiting += [path.name for path in self.answers()[:1]]
        ages = [time.time() - time_ns / 1e9 for name in waiting if (time_ns := arrival_ns(name))]
        return max([0.0, *ages])

    def free_bytes(self) -> int:
        """Returns the free space of the disk."""
        return shutil.disk_usage(self.folder).free

    def prune(self, keep_s: float) -> int:
        """Removes results that were sent more than a time ago; returns their number.

        Args:
            keep_s: the time in seconds.
        """
        removed = 0
        for path in (self.folder / DONE).iterdir():
            with self._moves, contextlib.suppress(FileNotFoundError):
                if path.stat().st_mtime < time.time() - keep_s:
                    _remove(path)
                    removed += 1
        return removed

    def _with_tries(self, received: Received, tries: int) -> Received:
        number = f".{tries}" if tries else ""
        path = received.path.with_name(f"{received.place}{number}{SUFFIX}")
        os.rename(received.path, path)
        return dataclasses.replace(received, path=path, tries=tries)

    def _sequence(self) -> str:
        """Returns the present time in nanoseconds as a text; later calls return greater texts."""
        with self._moves:
            self._last_time_ns = max(time.time_ns(), self._last_time_ns + 1)
            return f"{self._last_time_ns:019d}"

    def _new_name(self) -> Path:
        return self.folder / _UNFINISHED / f"{os.getpid()}-{next(self._numbers)}"

    def _move(self, source: Path, target: Path) -> None:
        os.rename(source, target)
        _flush(target.parent)

    def _move_folder(self, source: Path, target: Path) -> None:
        """Renames a folder; an existing one of the target's name is removed."""
        _flush(source)
        if target.exists():
            old = self._new_name()
            os.rename(target, old)
            self._move(source, target)
            _remove(old)
        else:
            self._move(source, target)


def arrival_ns(name: str) -> int:
    """Returns the time in nanoseconds at which what has a name in the spool arrived; 0 if unknown.

    Args:
        name: name of a file in `incoming` or of a folder in `outgoing`.
    """
    sequence, dash, _ = name.partition("-")
    return int(sequence) if dash and sequence.isdigit() else 0


def _received(path: Path) -> Received:
    place, _, rest = path.name.partition(".")
    number = rest.partition(".")[0]
    return Received(path, _key_of(place), int(number) if number.isdigit() else 0)


def _key_of(place: str) -> str:
    return place.rpartition("-")[2]


def _write_flushed(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _flush(path: Path) -> None:
    """Writes a file, or the names in a folder, from the cache of the system to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
