"""Stores encoded images as plain 8-bit grey PNGs in one temporary file."""

import contextlib
import dataclasses
import io
import tempfile
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from PIL import Image

from bone_age_tf.images import dicom, reading, resizing
from bone_age_tf.images.dicom_facts import Facts

# Chunks without text; the text in a PNG may contain a patient's name.
_PIXEL_CHUNKS = frozenset((b"IHDR", b"IDAT", b"IEND", b"pHYs"))


class PngStore:
    """Store of encoded images in a temporary file, so that they need no memory.

    A copy that was pickled to another process reads the same file, which the first one removes.
    """

    def __init__(self, folder: str | Path | None = None):
        """Opens the temporary file.

        Args:
            folder: folder of the file; the system's temporary folder by default.
        """
        self._file: IO[bytes] = tempfile.NamedTemporaryFile(dir=folder)  # noqa: SIM115, closed with the store
        self._end = 0
        weakref.finalize(self, _close, self._file)

    def __getstate__(self) -> dict[str, Any]:
        self._file.flush()
        return {"name": self._file.name, "end": self._end}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._file, self._end = open(state["name"], "rb"), state["end"]  # noqa: SIM115
        weakref.finalize(self, self._file.close)

    def add(self, png: bytes) -> tuple[int, int]:
        """Stores an image and returns its key for `read`."""
        key = (self._end, len(png))
        self._file.seek(self._end)
        self._file.write(png)
        self._end += len(png)
        return key

    def read(self, key: tuple[int, int]) -> bytes:
        """Returns the image with a key."""
        self._file.seek(key[0])
        return self._file.read(key[1])


def _close(file: IO[bytes]) -> None:
    with contextlib.suppress(FileNotFoundError):  # TFDS may have removed the folder
        file.close()


@dataclasses.dataclass(frozen=True)
class Encoded:
    """A radiograph as a PNG, and what its file states.

    Attributes:
        png: an 8-bit grey PNG.
        facts: what a DICOM file states; None for PNG and JPEG files.
    """

    png: bytes
    facts: Facts | None = None


def encode_png(data: bytes, longer_side_px: int | None = None, suffix: str = "") -> Encoded:
    """Encodes a radiograph file as an 8-bit grey PNG.

    Bytes that already are such a PNG, with a suitable size and without text, are returned
    unchanged, since encoding full-size radiographs is slow.

    Args:
        data: bytes of a PNG, JPEG or DICOM file.
        longer_side_px: maximum longer side in pixels; None keeps all sizes.
        suffix: extension of the file's name, for DICOM files without a header.

    Raises:
        RadiographError: the file cannot be decoded, or is a DICOM file without a radiograph.
    """
    facts = None
    if dicom.is_dicom(data, suffix):
        read = dicom.read_dicom(data)
        image, facts = read.pixels, read.facts
    else:
        image = reading.read_radiograph(data)
    small = image if longer_side_px is None else resizing.shrink(image, longer_side_px)
    if facts is None and small is image and _is_bare_grey_png(data):
        return Encoded(data)
    buffer = io.BytesIO()
    Image.fromarray(resizing.to_uint8(small)).save(buffer, "PNG")
    return Encoded(buffer.getvalue(), facts)


def _is_bare_grey_png(data: bytes) -> bool:
    """Returns whether the file is an 8-bit grey PNG that contains only pixels."""
    if data[24:26] != b"\x08\x00":  # bit depth 8, colour type grey
        return False
    return all(chunk in _PIXEL_CHUNKS for chunk in _png_chunks(data))


def _png_chunks(data: bytes) -> Iterator[bytes]:
    if not data.startswith(b"\x89PNG\r\n\x1a\n"):
        yield b""
        return
    position, chunk = 8, b""
    while position + 12 <= len(data):
        chunk = data[position + 4 : position + 8]
        yield chunk
        position += 12 + int.from_bytes(data[position : position + 4], "big")
    if chunk != b"IEND" or position != len(data):
        yield b""
