"""Reads the header of a PNG or JPEG file with TensorFlow graph operations.

It gives type, size and orientation before the image is decoded. No operation raises an error for
any bytes: reading beyond the end of a file gives 0.
"""

from typing import Any

import tensorflow as tf

from bone_age_tf.images.encoded_pieces import GREY, GREY_ALPHA, PALETTE, RGB
from bone_age_tf.images.traced import traced_once
from bone_age_tf.tensors import Tensor

NO_IMAGE, GREY_PNG, PNG, CLEAR_PNG, JPEG, INK_JPEG = range(6)
"""Types of files: neither PNG nor JPEG; 8-bit grey PNG without transparency, as nearly all
radiographs are; other PNG without transparency; PNG with transparency; JPEG; CMYK JPEG without
Adobe's marker."""

_ORIENTATION_TAG = 0x0112
_MOST_ENTRIES = 256
_MOST_PIECES = 20_000
"""Maximum number of chunks or segments that are searched; libpng writes this many in 160 MB."""
_EXIF = b"Exif\x00\x00"
_PNG_CHUNKS = (b"tRNS", b"eXIf", b"IDAT")


@traced_once(tf.TensorSpec([], tf.string))
def read_header(data: tf.Tensor) -> dict[str, tf.Tensor]:
    """Reads the header of one file.

    Args:
        data: [] string, the file's bytes.

    Returns:
        Scalars: `kind` int32; `height` and `width` int64, in pixels; `white` float32, the decoded
        value of white, 0 if the image is scaled by its own range (16 bits); `orientation` int64, 1
        to 8, from EXIF.
    """
    png = tf.equal(tf.strings.substr(data, 0, 8), b"\x89PNG\r\n\x1a\n")
    jpeg = tf.equal(tf.strings.substr(data, 0, 3), b"\xff\xd8\xff")
    return tf.switch_case(
        tf.where(png, 1, tf.where(jpeg, 2, 0)),
        [
            lambda: _header(NO_IMAGE),
            lambda: _read_png(_Bytes(data)),
            lambda: _read_jpeg(_Bytes(data)),
        ],
    )


def _header(
    kind: Tensor,
    height: Tensor = 0,
    width: Tensor = 0,
    white: Tensor = 255.0,
    exif: Tensor = None,
    content: Any = None,
) -> dict[str, Tensor]:
    orientation = tf.ones([], tf.int64)
    if exif is not None:
        orientation = tf.cond(
            exif > 0, lambda: _tiff_orientation(content, exif), lambda: orientation
        )
    return {
        "kind": tf.cast(kind, tf.int32),
        "height": tf.cast(height, tf.int64),
        "width": tf.cast(width, tf.int64),
        "white": tf.cast(white, tf.float32),
        "orientation": orientation,
    }


def _read_png(content: "_Bytes") -> dict[str, Tensor]:
    depth, colour_type = content.number(24, 1), content.number(25, 1)
    transparent, exif = _png_chunks(content)
    length = content.number(transparent - 8, 4)  # transparency of other lengths is ignored
    has_key = (colour_type == GREY) & (length == 2) | (colour_type == RGB) & (length == 6)
    clear = (transparent > 0) & (has_key | (colour_type == PALETTE) & (length > 0))
    clear |= colour_type >= GREY_ALPHA
    plain = (colour_type == GREY) & (depth == 8)
    kind = tf.where(clear, CLEAR_PNG, tf.where(plain, GREY_PNG, PNG))
    white = tf.where(depth == 16, 0.0, tf.where(kind == GREY_PNG, 255.0, 65535.0))
    return _header(kind, content.number(20, 4), content.number(16, 4), white, exif, content)


def _read_jpeg(content: "_Bytes") -> dict[str, Tensor]:
    exif, frame, adobe = _jpeg_segments(content)
    sides = [tf.where(frame > 0, content.number(frame + at, 2), 0) for at in (5, 7)]
    has_inks = (frame > 0) & (content.at(frame + 9) == 4)
    kind = tf.where(has_inks & (adobe == 0), INK_JPEG, JPEG)
    return _header(kind, sides[0], sides[1], exif=exif, content=content)


def turn_upright(image: tf.Tensor, orientation: tf.Tensor) -> tf.Tensor:
    """Rotates and mirrors an image [H, W, C] to its EXIF orientation; may swap height and width."""
    return tf.cond(orientation > 1, lambda: _turned(image, orientation), lambda: image)


class _Bytes:
    """Reads numbers from the bytes of a file; 0 beyond its end."""

    def __init__(self, data: tf.Tensor):
        self.raw = tf.io.decode_raw(data, tf.uint8)
        self.size = tf.size(self.raw, out_type=tf.int64)

    def at(self, places: tf.Tensor) -> tf.Tensor:
        """Returns the bytes at `places` [...] int64 as int64."""
        inside = (places >= 0) & (places < self.size)
        return tf.where(
            inside, tf.cast(tf.gather(self.raw, tf.where(inside, places, 0)), tf.int64), 0
        )

    def number(self, place: Tensor, count: int, little: bool = False) -> tf.Tensor:
        """Returns the number in `count` bytes at `place` [...], big-endian unless `little`."""
        places = tf.cast(place, tf.int64)[..., None] + tf.range(count, dtype=tf.int64)
        big = tf.constant([256**power for power in reversed(range(count))], tf.int64)
        return tf.reduce_sum(self.at(places) * tf.where(little, tf.reverse(big, [0]), big), axis=-1)


def _jpeg_segments(content: _Bytes) -> tuple[tf.Tensor, ...]:
    """Returns the offsets of a JPEG's EXIF TIFF header, frame header and Adobe marker.

    The offset of a missing segment is 0.
    """
    name = tf.constant(list(_EXIF), tf.int64)

    def more(place: Tensor, *offsets: Any) -> Tensor:
        marker = content.at(place + 1)
        inside = (place + 4 < content.size) & (content.at(place) == 0xFF)
        return inside & (marker != 0xDA) & (marker != 0xD9)

    def step(place: Tensor, exif: Tensor, frame: Tensor, adobe: Tensor) -> tuple[Any, ...]:
        marker = content.at(place + 1)
        names_exif = tf.reduce_all(content.at(place + 4 + tf.range(6, dtype=tf.int64)) == name)
        is_exif = (exif == 0) & (marker == 0xE1) & names_exif
        # Frame headers are C0 to CF, except tables (C4), an extension (C8) and conditioning (CC).
        is_frame = (marker >= 0xC0) & (marker <= 0xCF) & (marker % 4 != 0) | (marker == 0xC0)
        names_adobe = content.number(place + 4, 5) == int.from_bytes(b"Adobe", "big")
        filler = marker == 0xFF  # fill bytes may precede a marker
        length = tf.where(filler, tf.ones([], tf.int64), 2 + content.number(place + 2, 2))
        return (
            place + length,
            tf.where(is_exif, place + 10, exif),
            tf.where(is_frame, place, frame),
            tf.where((marker == 0xEE) & names_adobe, place, adobe),
        )

    return _walk(more, step, 2, 3)


def _png_chunks(content: _Bytes) -> tuple[tf.Tensor, ...]:
    """Returns the offsets of a PNG's tRNS (before its pixels) and eXIf chunks; 0 if missing."""
    transparency, exif, pixels = (int.from_bytes(name, "big") for name in _PNG_CHUNKS)

    def more(place: Tensor, *offsets: Any) -> Tensor:
        return place + 12 <= content.size

    def step(
        place: Tensor, clear_at: Tensor, exif_at: Tensor, pixels_at: Tensor
    ) -> tuple[Any, ...]:
        kind = content.number(place + 4, 4)
        return (
            place + 12 + content.number(place, 4),
            tf.where((kind == transparency) & (pixels_at == 0), place + 8, clear_at),
            tf.where(kind == exif, place + 8, exif_at),
            tf.where(kind == pixels, place + 8, pixels_at),
        )

    return _walk(more, step, 8, 3)[:2]


def _walk(more: Tensor, step: Tensor, start: int, results: int) -> tuple[tf.Tensor, ...]:
    """Iterates over the chunks or segments of a file; returns the offsets, 0 if missing."""
    first = (tf.constant(start, tf.int64), *([tf.zeros([], tf.int64)] * results))
    return tf.while_loop(more, step, first, maximum_iterations=_MOST_PIECES)[1:]


def _tiff_orientation(content: _Bytes, start: tf.Tensor) -> tf.Tensor:
    little = content.at(start) == ord("I")
    directory = start + content.number(start + 4, 4, little)
    count = tf.minimum(content.number(directory, 2, little), _MOST_ENTRIES)
    entries = directory + 2 + 12 * tf.range(count)
    values = tf.where(
        content.number(entries, 2, little) == _ORIENTATION_TAG,
        content.number(entries + 8, 2, little),
        0,
    )
    orientation = tf.reduce_max(tf.concat([values, tf.ones([1], tf.int64)], axis=0))
    return tf.where(orientation <= 8, orientation, 1)


def _turned(image: tf.Tensor, orientation: tf.Tensor) -> tf.Tensor:
    """Reverts orientations 2 to 8: transposes the image from 5 on, then flips it."""

    def is_any_of(*codes: Any) -> Tensor:
        return tf.reduce_any(orientation == tf.constant(codes, tf.int64))

    crossed = tf.cond(is_any_of(5, 6, 7, 8), lambda: tf.transpose(image, [1, 0, 2]), lambda: image)
    sides = tf.cond(is_any_of(2, 3, 6, 7), lambda: tf.reverse(crossed, [1]), lambda: crossed)
    return tf.cond(is_any_of(3, 4, 7, 8), lambda: tf.reverse(sides, [0]), lambda: sides)
