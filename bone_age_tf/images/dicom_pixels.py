"""Decodes the pixel data of a DICOM file with pydicom and its plugins."""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from bone_age_tf import reasons
from bone_age_tf.errors import MissingExtraError, RadiographError
from bone_age_tf.images.dicom_syntaxes import (
    EXPLICIT_BIG,
    EXPLICIT_LITTLE,
    HTJ2K,
    HTJ2K_LOSSLESS,
    HTJ2K_RPCL,
    IMPLICIT_LITTLE,
    JPEG_2000,
    JPEG_2000_LOSSLESS,
    JPEG_EXTENDED,
    JPEG_LOSSLESS,
    JPEG_LOSSLESS_SV1,
    JPEG_LS,
    JPEG_LS_NEAR,
    LOSSY,
    UNCOMPRESSED,
    syntax_name,
)
from bone_age_tf.images.dicom_tags import Tags, quiet, quiet_log
from bone_age_tf.reasons import TEXTS, Reason

PALETTE: Final = "PALETTE COLOR"
_GREY: Final = ("MONOCHROME1", "MONOCHROME2")
_CONVERTED: Final = ("RGB", "YBR_RCT", "YBR_ICT")
"""Colours after decoding: decoders of JPEG 2000 return YBR_RCT and YBR_ICT as RGB."""
_SUBSAMPLED: Final = "YBR_FULL_422"

_OF_THE_EXTRA: Final = (
    *(JPEG_LOSSLESS, JPEG_LOSSLESS_SV1, JPEG_LS, JPEG_LS_NEAR),
    *(JPEG_2000_LOSSLESS, JPEG_2000, HTJ2K_LOSSLESS, HTJ2K_RPCL, HTJ2K),
)
"""Transfer syntaxes that the packages of the extra `dicom` decode."""


@dataclass(frozen=True)
class Layout:
    """How pixel data is stored.

    Attributes:
        syntax: the transfer syntax.
        is_little_endian: byte order of the file's words.
        is_lossy: whether decoded values may lie beyond the range of the stored bits.
        unused_low_bits: number of bits below the stored ones, in pixel data that is not compressed
            by JPEG; other than 0 in files before 1993 only.
        palette_white: value of white in the colours of a palette, 0 without a palette.
    """

    syntax: str
    is_little_endian: bool
    is_lossy: bool
    unused_low_bits: int = 0
    palette_white: int = 0


def read_layout(tags: Tags, name: str) -> Layout:
    """Reads how the pixel data of a file is stored, and checks that it can be decoded.

    Raises:
        RadiographError: the image has several frames or too many pixels, its pixel data is
            truncated, or there is no decoder for it.
    """
    frames = tags.whole("NumberOfFrames", 1)
    if frames > 1:
        raise RadiographError(name, f"{frames} {reasons.SEVERAL_FRAMES}")
    height, width = tags.whole("Rows"), tags.whole("Columns")
    allocated, stored = tags.whole("BitsAllocated"), tags.whole("BitsStored")
    if min(height, width, allocated) <= 0 or not 0 <= stored <= allocated:
        raise RadiographError(name, f"{reasons.DICOM_DAMAGED} (size or bits are not stated)")
    if height * width > reasons.MOST_PIXELS:
        raise RadiographError(name, f"{width} x {height} {TEXTS[Reason.TOO_LARGE]}")
    syntax = _transfer_syntax(tags)
    _require_decoder(syntax, stored or allocated, name)
    is_jpeg = syntax.startswith("1.2.840.10008.1.2.4.")
    if syntax in UNCOMPRESSED:
        _require_all_bytes(tags, height * width, allocated, name)
    high_bit = tags.whole("HighBit", stored - 1)
    low = high_bit + 1 - stored if stored and stored - 1 <= high_bit < allocated else 0
    palette = tags.numbers("RedPaletteColorLookupTableDescriptor")
    has_palette = tags.text("PhotometricInterpretation").upper() == PALETTE and len(palette) == 3
    return Layout(
        syntax,
        syntax != EXPLICIT_BIG,
        syntax in LOSSY,
        0 if is_jpeg else low,
        2 ** int(palette[2]) - 1 if has_palette else 0,
    )


def _transfer_syntax(tags: Tags) -> str:
    """Returns the transfer syntax, which a file without a header does not state."""
    dataset = tags.dataset
    stated = Tags(getattr(dataset, "file_meta", {})).text("TransferSyntaxUID")
    if stated:
        return stated
    is_implicit, is_little_endian = dataset.original_encoding
    if is_implicit:
        return IMPLICIT_LITTLE
    return EXPLICIT_LITTLE if is_little_endian else EXPLICIT_BIG


def _require_decoder(syntax: str, bits: int, name: str) -> None:
    """Raises an error with the syntax's name if nothing here decodes it."""
    from pydicom.pixels import get_decoder

    label = _label(syntax)
    if syntax == JPEG_EXTENDED and bits > 8:
        raise RadiographError(name, f"{label} of {bits} bits {reasons.UNDECODABLE}")
    try:
        is_available = get_decoder(syntax).is_available
    except NotImplementedError:  # videos, and what makers have defined for themselves
        is_available = False
    if is_available:
        return
    if syntax in _OF_THE_EXTRA:
        raise RadiographError(name, str(MissingExtraError(label, "dicom")))
    raise RadiographError(name, f"{label} {reasons.UNDECODABLE}")


def _label(syntax: str) -> str:
    """Returns the words for pixel data of a transfer syntax."""
    return f"{syntax_name(syntax)} pixel data"


def _require_all_bytes(tags: Tags, pixels: int, allocated: int, name: str) -> None:
    """Raises an error if uncompressed pixel data is shorter than its image."""
    bits = pixels * allocated * tags.whole("SamplesPerPixel", 1)
    if tags.text("PhotometricInterpretation").upper() == _SUBSAMPLED:
        bits = bits * 2 // 3
    needed, there = (bits + 7) // 8, len(tags.raw("PixelData"))
    if there < needed:
        text = f"{reasons.PIXEL_DATA_TRUNCATED} ({there} of {needed} bytes)"
        raise RadiographError(name, text)


def decode(dataset: Any, layout: Layout, name: str) -> np.ndarray:
    """Decodes the pixel data of a dataset.

    Args:
        dataset: a `pydicom.Dataset` with one frame.
        layout: how its pixel data is stored.
        name: name of the file in error messages.

    Returns:
        Integers, [H, W] for grey values and [H, W, 3] for red, green and blue.

    Raises:
        RadiographError: the pixel data is damaged, or has colours that cannot be converted.
    """
    from pydicom.pixels import apply_color_lut, get_decoder

    try:
        # Decoders of compressed pixel data are slow and give no warnings: several threads may run.
        with quiet() if layout.syntax in UNCOMPRESSED else quiet_log():
            decoder: Any = get_decoder(layout.syntax)
            values, properties = decoder.as_array(dataset, index=0, correct_unused_bits=False)
            if layout.palette_white:
                return apply_color_lut(values, dataset)[..., :3]
    except Exception as error:  # of any class, as decoders are many
        text = f"{TEXTS[Reason.DAMAGED]} ({_label(layout.syntax)} cannot be decoded)"
        raise RadiographError(name, text) from error
    colours = str(properties["photometric_interpretation"])
    if values.ndim == 2 and colours in _GREY:
        return values >> layout.unused_low_bits
    if values.ndim == 3 and values.shape[-1] == 3 and colours in _CONVERTED:
        return values
    raise RadiographError(name, f"{reasons.UNKNOWN_COLOURS} {colours}")
