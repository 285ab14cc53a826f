"""Finds radiographs in folders, ZIP files and DICOMDIRs."""

import functools
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Final

from bone_age_tf.errors import InputError, RadiographError
from bone_age_tf.extras import named_extras
from bone_age_tf.images import dicom, reading

ZIP_SUFFIX: Final = ".zip"
DIRECTORY_NAME: Final = "DICOMDIR"
"""Name of the file that lists the DICOM files of a medium (PS3.10, 8.6)."""
MOST_MEMBER_BYTES: Final = 2**30
"""Maximum size of a file in a ZIP file; an uncompressed image of `reasons.MOST_PIXELS` is smaller.
"""
_IMAGE_RECORD = "IMAGE"


def is_radiograph(name: str, read_head: Callable[[], bytes]) -> bool:
    """Returns whether a file should be read, by its name's extension or as DICOM by its content.

    Args:
        name: the file's name.
        read_head: returns its first `dicom.HEAD_BYTES` bytes; not called if the name is enough.
    """
    suffix = PurePosixPath(name).suffix.lower()
    return suffix in reading.SUFFIXES or dicom.is_dicom(read_head(), suffix)


def is_radiograph_file(path: Path) -> bool:
    """Returns whether a file on the disk should be read; see `is_radiograph`."""
    return is_radiograph(path.name, lambda: _read_head(path))


def is_directory(name: str) -> bool:
    """Returns whether a file is a DICOMDIR, by its name."""
    return PurePosixPath(name).name.upper() == DIRECTORY_NAME


def is_hidden(relative: str) -> bool:
    """Returns whether a file or one of its folders is hidden, or a copy of macOS's attributes."""
    parts = PurePosixPath(relative).parts
    return any(part.startswith(".") or part == "__MACOSX" for part in parts)


def _read_head(path: Path) -> bytes:
    """Returns the first bytes of a file; empty if it cannot be read."""
    try:
        with path.open("rb") as file:
            return file.read(dicom.HEAD_BYTES)
    except OSError:
        return b""


def list_zip(path: Path) -> list[str]:
    """Returns the names of the radiographs in a ZIP file, in their order.

    Raises:
        InputError: it is no ZIP file, or has no radiographs.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            names = radiographs_in(archive)
    except (zipfile.BadZipFile, OSError) as error:
        raise InputError(f"{path}: not a readable ZIP file ({error})") from None
    if not names:
        raise InputError(f"{path}: no radiographs in this ZIP file")
    return names


def radiographs_in(archive: zipfile.ZipFile) -> list[str]:
    """Returns the names of the radiographs in an open ZIP file, in their order."""
    return [
        info.filename
        for info in archive.infolist()
        if not info.is_dir()
        and not is_hidden(info.filename)
        and not is_directory(info.filename)
        and is_radiograph(info.filename, functools.partial(_head_in_zip, archive, info))
    ]


def _head_in_zip(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes:
    """Returns the first bytes of a member; empty if it is damaged or encrypted."""
    try:
        with archive.open(info) as file:
            return file.read(dicom.HEAD_BYTES)
    except (zipfile.BadZipFile, RuntimeError, NotImplementedError, OSError, zlib.error, EOFError):
        return b""


def read_member(path: Path, member: str, name: str) -> bytes:
    """Returns the bytes of a file in a ZIP file.

    Raises:
        RadiographError: it is missing, damaged, encrypted or too large.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            if archive.getinfo(member).file_size > MOST_MEMBER_BYTES:
                raise RadiographError(name, "too large a file in a ZIP file")
            return archive.read(member)
    except KeyError:
        raise RadiographError(name, "no such file") from None
    except RuntimeError:  # the message of zipfile names the member again
        raise RadiographError(name, "encrypted in the ZIP file; unpack it first") from None
    except (zipfile.BadZipFile, NotImplementedError, OSError, zlib.error, EOFError) as error:
        raise RadiographError(name, f"cannot be read from the ZIP file ({error})") from None


def list_dicomdir(path: Path) -> list[Path]:
    """Returns the paths of the images that a DICOMDIR lists, in its order.

    Raises:
        InputError: it is damaged or lists no images.
        MissingExtraError: pydicom is not installed.
    """
    with named_extras(f"{path}: a DICOMDIR"):
        import pydicom

    from bone_age_tf.images.dicom_tags import Tags, quiet

    with quiet():
        try:
            tags = Tags(pydicom.dcmread(path, force=True))
        except Exception as error:  # of any class, as the parser does not check the bytes
            raise InputError(f"{path}: the DICOMDIR is damaged ({error})") from None
        names = [
            record.words("ReferencedFileID")
            for record in tags.items("DirectoryRecordSequence")
            if record.text("DirectoryRecordType").upper() == _IMAGE_RECORD
        ]
    paths = [_on_disk(path.parent, parts) for parts in names if parts]
    if not paths:
        raise InputError(f"{path}: this DICOMDIR lists no images")
    return paths


def _on_disk(folder: Path, parts: tuple[str, ...]) -> Path:
    """Returns the path of a file ID, which copies of a medium may spell in lower case."""
    stated = folder.joinpath(*parts)
    lower = folder.joinpath(*(part.lower() for part in parts))
    return lower if lower.is_file() and not stated.is_file() else stated
