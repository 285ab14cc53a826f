"""Splits PNG and JPEG files into chunks and segments, and removes what decoding does not need.

Texts, colour profiles and EXIF do not affect the pixels, but a decoder fails if they are damaged or
very large. The decoder therefore receives a file without them. Standard library only.
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
    """Returns the width and height in the header, also of a damaged file; 0 if unknown."""
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
    """A PNG file and its parts that decoding needs.

    Attributes:
        depth: number of bits of a sample.
        colour_type: one of `GREY`, `RGB`, `PALETTE`, `GREY_ALPHA` and `RGBA`.
        palette: the palette, three bytes for each colour.
        transparency: content of the chunk tRNS.
        exif: content of the chunk eXIf.
        plain: a PNG file with only the header, the palette and the pixels.
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
        ValueError: the file ends too early, or a chunk that decoding needs is damaged.
    """
    contents = {b"PLTE": b"", b"tRNS": b"", b"eXIf": b""}
    header, kept, at, kind = None, [PNG_SIGNATURE], len(PNG_SIGNATURE), b""
    while kind != b"IEND":
        if at + 12 > len(data):
            raise ValueError("the file ends too early")
        length, kind = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8]
        end = at + 12 + length
        if end > len(data):
            raise ValueError("the file ends too early")
        body = data[at + 8 : end - 4]
        needed = not kind[0] & 0x20  # the name of a critical chunk begins with a capital letter
        is_whole = needed and zlib.crc32(data[at + 4 : end - 4]) == int.from_bytes(
            data[end - 4 : end], "big"
        )
        if needed and not (is_whole and kind in (b"IHDR", b"PLTE", b"IDAT", b"IEND")):
            raise ValueError("a part of it is damaged")
        if kind == b"IHDR":
            header = _read_header(body)
        elif kind == b"eXIf" or (kind in contents and kept[-1][4:8] != b"IDAT"):
            contents[kind] = body
        if needed:
            kept.append(data[at:end])
        at = end
    if header is None:
        raise ValueError("it has no header")
    return PngPieces(
        *header, contents[b"PLTE"], contents[b"tRNS"], contents[b"eXIf"], b"".join(kept)
    )


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
    """A JPEG file and its parts that decoding needs.

    Attributes:
        width: width in pixels.
        height: height in pixels.
        exif: TIFF content of its EXIF segment.
        plain: a JPEG file with only the segments that decoding needs.
    """

    width: int
    height: int
    exif: bytes
    plain: bytes


def read_jpeg_pieces(data: bytes) -> JpegPieces:
    """Reads the segments of a JPEG file that precede its pixels.

    Raises:
        ValueError: the segments are malformed, or the file ends too early.
    """
    size, exif, kept, at = b"", b"", [data[:2]], 2
    while True:
        if at + 4 > len(data):
            raise ValueError("the file ends too early")
        if data[at] != 0xFF:
            raise ValueError("its markers are malformed")
        marker = data[at + 1]
        if marker == 0xFF:  # fill bytes may precede a marker
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
    """Returns the orientation, 1 to 8, in the TIFF content of EXIF; 1 if there is none.

    It raises no error for any bytes.
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
