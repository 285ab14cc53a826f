"""Writes files atomically, also to links and devices, and checks beforehand that it is possible.

Standard library and `filelock` only.
"""

import contextlib
import json
import os
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bone_age_tf.errors import MissingFilesError, OutputError

STANDARD_OUTPUT = "-"
"""Name of the output that stands for the standard output of the process."""
_STANDARD_OUTPUTS = (STANDARD_OUTPUT, "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1")


def is_standard_output(path: str | Path) -> bool:
    """Returns whether a path stands for the standard output of the process."""
    return str(path) in _STANDARD_OUTPUTS


def replace_file(path: Path, content: bytes) -> None:
    """Writes a file under a temporary name and moves it into place; creates missing folders.

    Readers see the old or the new file, never a part. Links are followed, and permissions are kept.
    Standard output, FIFOs and devices are written to directly.

    Raises:
        OSError: the folder or the file cannot be written; it names the path.
    """
    try:
        _write_or_replace(path, content)
    except OSError as error:
        if error.errno is not None and error.filename is None:  # a full disk names none
            error.filename = str(path)
        raise


def _write_or_replace(path: Path, content: bytes) -> None:
    if is_standard_output(path):
        sys.stdout.flush()
        sys.stdout.buffer.write(content)
        sys.stdout.buffer.flush()
        return
    path = Path(os.path.realpath(path)) if path.is_symlink() else path
    if path.exists() and not path.is_file():
        with path.open("ab") as file:
            file.write(content)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        unfinished.write_bytes(content)
        if path.exists():
            unfinished.chmod(stat.S_IMODE(path.stat().st_mode))
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)


def write_json(path: Path, content: Any) -> None:
    """Writes a value as indented JSON; see `replace_file`.

    Raises:
        OSError: the folder or the file cannot be written.
    """
    replace_file(path, (json.dumps(content, indent=2) + "\n").encode())


def require_writable_file(path: str | Path) -> None:
    """Checks that a file can be written, before the work whose result is written to it.

    Missing folders are created. An existing file is not changed.

    Raises:
        OutputError: the file cannot be written.
    """
    if is_standard_output(path):
        return
    path = Path(os.path.realpath(path))
    if path.is_dir():
        raise OutputError(f"{path}: this is a folder; name a file to write")
    if path.exists() and not path.is_file():  # opening a FIFO would wait for its reader
        if not os.access(path, os.W_OK):
            raise OutputError(f"{path}: cannot be written (permission denied)")
        return
    require_writable_folder(path.parent)


def require_writable_folder(folder: str | Path) -> None:
    """Checks that files can be created in a folder; a missing folder is created.

    Raises:
        OutputError: files cannot be created.
    """
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(bytes(4096))
    except (FileExistsError, NotADirectoryError):
        raise OutputError(f"{folder}: no folder can be made there, since a file is") from None
    except OSError as error:
        raise OutputError(
            f"{folder}: cannot be written ({error.strerror}); name another place, or make room"
        ) from None


def require_room(folder: Path, content_bytes: int) -> None:
    """Checks that a disk has room for a file, for libraries that crash on a full disk.

    Raises:
        OutputError: there is not enough room.
    """
    free = shutil.disk_usage(folder).free
    if free < content_bytes:
        raise OutputError(
            f"{folder}: no space left: {content_bytes / 1e6:.0f} MB are needed, "
            f"{free / 1e6:.0f} MB are free; make room"
        )


@contextlib.contextmanager
def only_one_process(folder: Path, work: str) -> Iterator[None]:
    """Prevents other processes from doing the same work while the block runs.

    If another process does the work, this one waits for it. The lock is released when the process
    ends, for any reason.

    Args:
        folder: folder to which the work writes; the lock is a hidden file beside it.
        work: name of the work, for the message while waiting.
    """
    from filelock import FileLock, Timeout  # the import takes time, and few commands lock

    folder.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder.with_name(f".{folder.name}.lock"))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        print(f"waiting for another process: {work}", flush=True)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def write_parts(path: Path, content: bytes, part_bytes: int) -> list[Path]:
    """Writes content to files of a limited size, PATH.000, PATH.001, and so on; see `read_parts`.

    Args:
        path: path without the numbers.
        content: the content.
        part_bytes: maximum size of a file in bytes; 0 writes a single file with the path itself.

    Returns:
        The files that were written. Earlier files with that path are removed.

    Raises:
        OSError: a file cannot be written.
    """
    if part_bytes:
        pieces = [content[n : n + part_bytes] for n in range(0, len(content), part_bytes)]
        written = [_part(path, number) for number in range(len(pieces))]
    else:
        pieces, written = [content], [path]
    for target, piece in zip(written, pieces, strict=True):
        replace_file(target, piece)
    for old in {path, *path.parent.glob(f"{path.name}.[0-9][0-9][0-9]")} - set(written):
        old.unlink(missing_ok=True)
    return written


def read_parts(path: Path) -> bytes:
    """Reads content that `write_parts` wrote.

    Raises:
        MissingFilesError: neither the file nor its first part exists.
    """
    if path.is_file():
        return path.read_bytes()
    pieces: list[bytes] = []
    while (piece := _part(path, len(pieces))).is_file():
        pieces.append(piece.read_bytes())
    if not pieces:
        raise MissingFilesError(f"{path}: no such file, nor its first part {_part(path, 0).name}")
    return b"".join(pieces)


def _part(path: Path, number: int) -> Path:
    return path.with_name(f"{path.name}.{number:03}")
