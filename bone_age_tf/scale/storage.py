"""Files on the disk or, by their URLs, in any file system that Apache Beam can open.

A location is a path or a URL such as `gs://bucket/folder/hand.png`. Beam is imported for URLs
alone.
"""

import glob
import io
import os
import posixpath
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from bone_age_tf.errors import InputError
from bone_age_tf.extras import named_extras
from bone_age_tf.files import replace_file

_SCHEME = "://"
_PATTERN_CHARACTERS = "*?["


def is_url(location: str) -> bool:
    """Returns whether a location is a URL, not a path."""
    return _SCHEME in location


def is_pattern(location: str) -> bool:
    """Returns whether a location stands for all files whose names match it."""
    return any(character in location for character in _PATTERN_CHARACTERS)


def join(folder: str, name: str) -> str:
    """Returns the location of a name in a folder; a name that is a location stays as it is."""
    if is_url(name):
        return name
    return posixpath.join(folder, name) if is_url(folder) else os.path.join(folder, name)


def folder_of(location: str) -> str:
    """Returns the folder of a file."""
    return posixpath.dirname(location) if is_url(location) else os.path.dirname(location)


def is_folder(location: str) -> bool:
    """Returns whether there are files below a location."""
    if not is_url(location):
        return os.path.isdir(location)
    return bool(_matches(location.rstrip("/") + "/*", 1))


def matching(pattern: str) -> list[str]:
    """Returns the files that match a pattern, sorted; `**` also matches folders.

    Raises:
        InputError: a URL cannot be listed.
    """
    if is_url(pattern):
        return sorted(_matches(pattern))
    return sorted(path for path in glob.glob(pattern, recursive=True) if os.path.isfile(path))


def open_file(location: str) -> BinaryIO:
    """Opens a file for reading.

    Raises:
        OSError: it cannot be opened.
    """
    if not is_url(location):
        return open(location, "rb")
    return _file_systems().open(location, "application/octet-stream", compression_type=_as_it_is())


def read_file(location: str) -> bytes:
    """Returns the bytes of a file.

    Raises:
        OSError: it cannot be read.
    """
    with open_file(location) as file:
        return file.read()


def write_file(location: str, content: bytes) -> None:
    """Writes a file that readers see whole or not at all; an earlier one is replaced.

    Raises:
        OSError: it cannot be written.
    """
    if not is_url(location):
        replace_file(Path(location), content)
        return
    systems = _file_systems()
    folder, name = posixpath.split(location)
    unfinished = f"{folder}/.unfinished/{uuid.uuid4().hex}-{name}"
    with systems.create(unfinished, "application/octet-stream", _as_it_is()) as file:
        file.write(content)
    if systems.exists(location):
        systems.delete([location])
    systems.rename([unfinished], [location])


def exists(location: str) -> bool:
    """Returns whether there is such a file."""
    return _file_systems().exists(location) if is_url(location) else os.path.exists(location)


def remove(location: str) -> None:
    """Removes a file; one that is gone already is no error.

    Raises:
        OSError: it cannot be removed.
    """
    if is_url(location):
        if exists(location):
            _file_systems().delete([location])
    else:
        Path(location).unlink(missing_ok=True)


def names_in(folder: str) -> Iterator[str]:
    """Yields the names of the files in a folder; none if there is no such folder."""
    if not is_url(folder):
        if os.path.isdir(folder):
            yield from os.listdir(folder)
        return
    for location in _matches(folder.rstrip("/") + "/*"):
        yield posixpath.basename(location)


def as_seekable(file: BinaryIO) -> BinaryIO:
    """Returns a file in which one can seek; others are read into memory."""
    return file if file.seekable() else io.BytesIO(file.read())


def _matches(pattern: str, most: int | None = None) -> list[str]:
    limits = None if most is None else [most]
    try:
        (result,) = _file_systems().match([pattern], limits)
    except Exception as error:  # of any class, by file system
        raise InputError(f"{pattern}: cannot be listed ({error})") from None
    return [found.path for found in result.metadata_list]


def _file_systems() -> Any:
    with named_extras("a URL as a location"):
        from apache_beam.io.filesystems import FileSystems
    return FileSystems


def _as_it_is() -> str:
    from apache_beam.io.filesystem import CompressionTypes

    return CompressionTypes.UNCOMPRESSED
