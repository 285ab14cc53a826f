"""Decodes PNG and JPEG files of any colour type and depth to grey values, without TensorFlow."""

import io

import numpy as np
from PIL import Image, UnidentifiedImageError

from bone_age_tf.images.encoded_pieces import (
    GREY,
    GREY_ALPHA,
    JPEG_SIGNATURE,
    PALETTE,
    PNG_SIGNATURE,
    PngPieces,
    orientation_of,
    read_jpeg_pieces,
    read_png_pieces,
)

LUMA = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in a grey value (ITU-R BT.601)."""

FAR = 2
"""Distance from most of the 16-bit values, as a multiple of their range, above which a value is an
outlier and does not set the range of grey levels. The values of a 14-bit detector are 3 of their
ranges below a marker of 65,535."""


def decode(data: bytes) -> np.ndarray:
    """Decodes a file to grey values [H, W] float32, 0 to 255, in the orientation given by EXIF.

    Raises:
        UnidentifiedImageError: the bytes do not begin with the signature of PNG or JPEG.
        OSError, SyntaxError, ValueError: the file is damaged.
    """
    if data.startswith(PNG_SIGNATURE):
        png = read_png_pieces(data)
        return _upright(_png_to_grey(png), png.exif)
    if not data.startswith(JPEG_SIGNATURE):
        raise UnidentifiedImageError
    jpeg = read_jpeg_pieces(data)
    with _opened(jpeg.plain, "JPEG") as image:
        return _upright(
            _to_grey(_channels(image if image.mode == "L" else image.convert("RGB"))), jpeg.exif
        )


def scale_sixteen_bit(grey: np.ndarray) -> np.ndarray:
    """Scales 16-bit grey values [H, W] to 0 to 255 by their range.

    Outliers are excluded from the range and clipped. A value is an outlier if it is far (`FAR`)
    from the 1st and 99th percentiles of the values between the minimum and the maximum. Examples
    are padding of 0 around an image with an offset, a marker of 65,535, and defective pixels.
    """
    counts = np.bincount(np.rint(grey).astype(np.int64).ravel())
    used = np.flatnonzero(counts)
    counts[[used[0], used[-1]]] = 0
    sums = np.cumsum(counts)
    # Integers, so that every runtime computes the same result.
    first = int(np.argmax(100 * sums > sums[-1]))
    last = int(np.argmax(100 * sums >= 99 * sums[-1]))
    if first < last:
        reach = FAR * (last - first)
        used = used[(used >= first - reach) & (used <= last + reach)]
    low, high = int(used[0]), int(used[-1])
    return (np.clip(grey, low, high) - low) * np.float32(255 / max(high - low, 1))


def _opened(data: bytes, form: str) -> Image.Image:
    """Opens a file that is known to be of a format."""
    try:
        return Image.open(io.BytesIO(data), formats=(form,))
    except UnidentifiedImageError:
        raise ValueError("its header is malformed") from None


def _channels(image: Image.Image) -> np.ndarray:
    """Returns an image's samples, [H, W, C] float32."""
    return np.asarray(image, np.float32).reshape(image.height, image.width, -1)


def _to_grey(samples: np.ndarray) -> np.ndarray:
    """Returns the grey values [H, W] of a grey or colour image [H, W, C]; alpha is ignored."""
    if samples.shape[-1] < 3:
        return samples[..., 0]
    return samples[..., :3] @ np.array(LUMA, np.float32)


def _png_to_grey(png: PngPieces) -> np.ndarray:
    if png.depth == 16 and png.colour_type != GREY:
        samples = _sixteen_bit_colour(png)
    else:
        with _opened(png.plain, "PNG") as image:
            if png.colour_type == PALETTE:
                return _palette_greys(png)[np.asarray(image)]
            samples = _channels(image.convert("L") if image.mode == "1" else image)
    grey, white = _to_grey(samples), 2**png.depth - 1
    if png.colour_type >= GREY_ALPHA:
        grey = grey * (samples[..., -1] / np.float32(white))
    elif len(png.transparency) == 2 * samples.shape[-1]:
        key = np.frombuffer(png.transparency, ">u2") & white
        spread = 255 // white if png.depth < 8 else 1  # as Pillow scales samples of fewer bits
        grey = np.where((samples == key * spread).all(axis=-1), np.float32(0), grey)
    return scale_sixteen_bit(grey) if png.depth == 16 else grey


def _sixteen_bit_colour(png: PngPieces) -> np.ndarray:
    """Decodes 16-bit colour to [H, W, C] float32; Pillow would reduce such files to 8 bits."""
    import cv2  # imported only for this rare type, since the import takes time

    bgr = cv2.imdecode(np.frombuffer(png.plain, np.uint8), cv2.IMREAD_UNCHANGED)
    if bgr is None or bgr.ndim != 3:
        raise ValueError("16-bit colour could not be decoded")
    return np.concatenate([bgr[..., 2::-1], bgr[..., 3:]], axis=-1).astype(np.float32)


def _palette_greys(png: PngPieces) -> np.ndarray:
    """Returns the grey value of each palette index, [256] float32; black for missing entries."""
    if not png.palette or len(png.palette) % 3:
        raise ValueError("its palette is damaged")
    colours = np.frombuffer(png.palette, np.uint8).reshape(1, -1, 3).astype(np.float32)
    alpha = np.full(colours.shape[1], 255, np.float32)
    if len(png.transparency) <= len(alpha):
        alpha[: len(png.transparency)] = np.frombuffer(png.transparency, np.uint8)
    greys = np.zeros(256, np.float32)
    greys[: len(alpha)] = _to_grey(colours)[0] * (alpha / 255)
    return greys


def _upright(grey: np.ndarray, exif: bytes) -> np.ndarray:
    """Rotates and mirrors pixels [H, W] according to EXIF."""
    orientation = orientation_of(exif)
    if orientation >= 5:
        grey = grey.T
    if orientation in (2, 3, 6, 7):
        grey = grey[:, ::-1]
    if orientation in (3, 4, 7, 8):
        grey = grey[::-1]
    return np.ascontiguousarray(grey, np.float32)
