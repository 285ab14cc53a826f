"""The pieces that PNG and JPEG files consist of, and what of them decoding needs.

Texts, colour profiles and EXIF say nothing about the pixels. A decoder that reads them too fails
where they are broken or huge, so it is handed a file without them. Standard library only.
"""

import struct
import zlib
from dataclasses import dataclass

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
JPEG_SIGNATURE = b"\xff\xd8\xff"

GREY, RGB, PALETTE, GREY_ALPHA, RGBA = 0, 2, 3, 4, 6
"""Colour types of PNG files."""

_DEPTHS = {
    GREY: (1, 2, 4, 8, 16),
    RGB: (8, 16),
    PALETTE: (1, 2, 4, 8),
    GREY_ALPHA: (8, 16),
    RGBA: (8, 16),
}
_HEADER = struct.Struct(">IIBBBBB")
_EXIF = b"Exif\0\0"
_ORIENTATION_TAG = 0x0112


def size_of(data: bytes) -> tuple[int, int]:
    """Returns width and height as the file's bytes give them, damaged or not; 0 for unknown."""
    if data.startswith(PNG_SIGNATURE):
        width, height = data[16:20], data[20:24]
        return int.from_bytes(width, "big"), int.from_bytes(height, "big")
    if data.startswith(JPEG_SIGNATURE):
        try:
            jpeg = read_jpeg_pieces(data)
        except ValueError:
            return 0, 0
        return jpeg.width, jpeg.height
    return 0, 0


@dataclass(frozen=True)
class PngPieces:
    """A PNG file without what its pixels do not need.

    Attributes:
        depth: bits a sample.
        colour_type: one of `GREY`, `RGB`, `PALETTE`, `GREY_ALPHA` and `RGBA`.
        palette: three bytes a colour.
        transparency: content of the chunk tRNS.
        exif: content of the chunk eXIf.
        plain: a PNG file of the header, the palette and the pixels alone.
    """

    depth: int
    colour_type: int
    palette: bytes
    transparency: bytes
    exif: bytes
    plain: bytes


def read_png_pieces(data: bytes) -> PngPieces:
    """Reads the chunks of a PNG file.

    Raises:
        ValueError: the file ends too early, or a chunk that the pixels need is damaged.
    """
    found = {b"PLTE": b"", b"tRNS": b"", b"eXIf": b""}
    header, kept, at, kind = None, [PNG_SIGNATURE], len(PNG_SIGNATURE), b""
    while kind != b"IEND":
        if at + 12 > len(data):
            raise ValueError("the file ends too early")
        length, kind = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8]
        end = at + 12 + length
        if end > len(data):
            raise ValueError("the file ends too early")
        body = data[at + 8 : end - 4]
        needed = not kind[0] & 0x20  # of a critical chunk, the first letter is a capital one
        is_whole = needed and zlib.crc32(data[at + 4 : end - 4]) == int.from_bytes(
            data[end - 4 : end], "big"
        )
        if needed and not (is_whole and kind in (b"IHDR", b"PLTE", b"IDAT", b"IEND")):
            raise ValueError("a part of it is damaged")
        if kind == b"IHDR":
            header = _read_header(body)
        elif kind == b"eXIf" or (kind in found and kept[-1][4:8] != b"IDAT"):
            found[kind] = body
        if needed:
            kept.append(data[at:end])
        at = end
    if header is None:
        raise ValueError("it has no header")
    return PngPieces(*header, found[b"PLTE"], found[b"tRNS"], found[b"eXIf"], b"".join(kept))


def _read_header(body: bytes) -> tuple[int, int]:
    """Returns the depth and the colour type."""
    if len(body) == _HEADER.size:
        width, height, depth, colour_type, compression, filtering, interlace = _HEADER.unpack(body)
        ways_are_known = compression == filtering == 0 and interlace <= 1
        if width and height and ways_are_known and depth in _DEPTHS.get(colour_type, ()):
            return depth, colour_type
    raise ValueError("its header is malformed")


@dataclass(frozen=True)
class JpegPieces:
    """A JPEG file without what its pixels do not need.

    Attributes:
        width: in pixels.
        height: in pixels.
        exif: the TIFF content of its EXIF.
        plain: a JPEG file of the pixels and of what says how they are coded.
    """

    width: int
    height: int
    exif: bytes
    plain: bytes


def read_jpeg_pieces(data: bytes) -> JpegPieces:
    """Reads the segments of a JPEG file before its pixels.

    Raises:
        ValueError: they are malformed, or the file ends too early.
    """
    size, exif, kept, at = b"", b"", [data[:2]], 2
    while True:
        if at + 4 > len(data):
            raise ValueError("the file ends too early")
        if data[at] != 0xFF:
            raise ValueError("its markers are malformed")
        marker = data[at + 1]
        if marker == 0xFF:  # any number of them may stand before a marker
            at += 1
            continue
        if marker == 0xDA:
            break
        end = at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        body = data[at + 4 : end]
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            size = body[1:5]
        is_adobe = marker == 0xEE and body.startswith(b"Adobe")
        if marker == 0xE1 and body.startswith(_EXIF) and not exif:
            exif = body[len(_EXIF) :]
        if is_adobe or not (0xE1 <= marker <= 0xEF or marker == 0xFE):
            kept.append(data[at:end])
        at = end
    height, width = int.from_bytes(size[:2], "big"), int.from_bytes(size[2:], "big")
    return JpegPieces(width, height, exif, b"".join([*kept, data[at:]]))


def orientation_of(exif: bytes) -> int:
    """Returns the orientation, 1 to 8, that the TIFF content of EXIF gives; 1 where it gives none.

    Nothing here raises, whatever the bytes are.
    """
    order = "little" if exif[:1] == b"I" else "big"

    def number(place: int, count: int) -> int:
        return int.from_bytes(exif[place : place + count], order)  # type: ignore[arg-type]

    start = number(4, 4)
    for entry in range(number(start, 2)):
        at = start + 2 + 12 * entry
        if at + 12 > len(exif):
            break
        if number(at, 2) == _ORIENTATION_TAG:
            value = number(at + 8, 2)
            return value if 1 <= value <= 8 else 1
    return 1
