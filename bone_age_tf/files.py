"""Files that a reader sees whole: the old one or the new one, never a part. Standard library."""

import os
from pathlib import Path


def replace_file(path: Path, content: bytes) -> None:
    """Writes a file under another name and moves it into place; folders are made as needed.

    Raises:
        OSError: the folder or the file cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        unfinished.write_bytes(content)
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)


def write_parts(path: Path, content: bytes, part_bytes: int) -> list[Path]:
    """Writes content as files of a limited size, PATH.000, PATH.001, and so on; see `read_parts`.

    Args:
        path: of the whole.
        content: what to write.
        part_bytes: the most that a file may take; 0 for a single file of the name itself.

    Returns:
        The files that were written. Those of an earlier content of that name are removed.

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
    """Returns what `write_parts` wrote.

    Raises:
        FileNotFoundError: neither the file nor its first part is there.
    """
    if path.is_file():
        return path.read_bytes()
    pieces: list[bytes] = []
    while (piece := _part(path, len(pieces))).is_file():
        pieces.append(piece.read_bytes())
    if not pieces:
        raise FileNotFoundError(f"{path}: no such file, nor its first part {_part(path, 0).name}")
    return b"".join(pieces)


def _part(path: Path, number: int) -> Path:
    return path.with_name(f"{path.name}.{number:03}")
