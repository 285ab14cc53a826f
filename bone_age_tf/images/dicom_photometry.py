"""From the stored values of a DICOM image to the grey levels that a viewer displays.

The order is that of DICOM PS3.3, C.7.6.3 and C.11 and PS3.4, N.2: stored bits, sign, modality
transformation, values of interest (VOI), and inversion of MONOCHROME1. Presentation states and
overlays are not applied.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np

from bone_age_tf import reasons
from bone_age_tf.images import decoding
from bone_age_tf.images.dicom_tags import Tags

MONOCHROME1: Final = "MONOCHROME1"
"""Photometric interpretation in which the lowest value is white."""
LINEAR, LINEAR_EXACT, SIGMOID = "LINEAR", "LINEAR_EXACT", "SIGMOID"
_TABLE_BITS: Final = 16
"""Maximum number of stored bits for which the grey level of every possible value is tabulated."""
_DISPLAY_BITS: Final = 8
"""Maximum number of bits of values that are grey levels themselves, as in PNG files of 8 bits."""
SAMPLE_STEP: Final = 7
"""Distance of the rows and columns in which an image's contrast is measured."""


@dataclass(frozen=True, eq=False)
class LookupTable:
    """A modality LUT or VOI LUT (PS3.3, C.11.1.1 and C.11.2.1.1).

    Attributes:
        first: the value that is mapped to the first entry; lower values are mapped to it too.
        entries: [N] int64.
    """

    first: int
    entries: np.ndarray

    @property
    def bits(self) -> int:
        """Bits of the largest entry; the stated number is often wrong."""
        return max(1, int(self.entries.max()).bit_length())

    def apply(self, values: np.ndarray) -> np.ndarray:
        """Maps values of any shape."""
        places = np.rint(values).astype(np.int64) - self.first
        return self.entries[np.clip(places, 0, len(self.entries) - 1)]


@dataclass(frozen=True)
class Window:
    """A window (PS3.3, C.11.2.1.2 and C.11.2.1.3).

    Attributes:
        centre: centre of the window, a value after the modality transformation.
        width: its width.
        function: `LINEAR`, `LINEAR_EXACT` or `SIGMOID`.
    """

    centre: float
    width: float
    function: str = LINEAR

    def apply(self, values: np.ndarray) -> np.ndarray:
        """Maps values of any shape to 0 to 1."""
        centre, width = self.centre, self.width
        if self.function == SIGMOID:
            return 1 / (1 + np.exp(np.clip(-4 * (values - centre) / width, -700, 700)))
        if self.function == LINEAR:
            centre, width = centre - 0.5, width - 1
        if width == 0:  # LINEAR and a width of 1: a threshold
            return (values > centre).astype(np.float64)
        return np.clip((values - centre) / width + 0.5, 0, 1)


@dataclass(frozen=True, eq=False)
class Photometry:
    """How stored values become grey levels.

    Attributes:
        bits: number of stored bits of a value.
        is_signed: whether values are signed.
        is_inverted: whether the lowest value is white.
        slope: factor of the modality transformation, where there is no table.
        intercept: its summand.
        modality_table: modality LUT, or None.
        voi_table: VOI LUT, or None.
        window: window, or None; not used if there is a VOI LUT.
    """

    bits: int
    is_signed: bool
    is_inverted: bool = False
    slope: float = 1.0
    intercept: float = 0.0
    modality_table: LookupTable | None = None
    voi_table: LookupTable | None = None
    window: Window | None = None

    @property
    def lowest(self) -> int:
        """Lowest value that can be stored."""
        return -(2 ** (self.bits - 1)) if self.is_signed else 0

    def modality_values(self, stored: np.ndarray) -> np.ndarray:
        """Applies the modality transformation to stored values of any shape."""
        if self.modality_table is not None:
            return self.modality_table.apply(stored)
        return stored * self.slope + self.intercept

    def grey_levels(self, stored: np.ndarray) -> np.ndarray:
        """Returns the grey levels, 0 to 255, that a VOI LUT or window gives stored values."""
        values = self.modality_values(stored)
        if self.voi_table is not None:
            return self.voi_table.apply(values) * (255 / (2**self.voi_table.bits - 1))
        if self.window is None:
            raise ValueError("there is neither a VOI LUT nor a window")
        return self.window.apply(values) * 255


def read_photometry(tags: Tags, is_little_endian: bool) -> Photometry:
    """Reads how an image of grey values is displayed.

    A VOI LUT is preferred to a window, and the first of several is used, since they are
    alternatives. A malformed table or window is left out.

    Args:
        tags: attributes of the image.
        is_little_endian: byte order of the file.
    """
    slope, intercept = tags.numbers("RescaleSlope"), tags.numbers("RescaleIntercept")
    centres, widths = tags.numbers("WindowCenter"), tags.numbers("WindowWidth")
    function = tags.text("VOILUTFunction").upper() or LINEAR
    window = None
    if centres and widths and function in (LINEAR, LINEAR_EXACT, SIGMOID):
        is_valid = widths[0] >= 1 if function == LINEAR else widths[0] > 0
        window = Window(centres[0], widths[0], function) if is_valid else None
    is_signed = tags.whole("PixelRepresentation") == 1
    may_be_negative = is_signed or (*slope, 1.0)[0] < 0 or (*intercept, 0.0)[0] < 0
    return Photometry(
        tags.whole("BitsStored") or tags.whole("BitsAllocated"),
        is_signed,
        tags.text("PhotometricInterpretation").upper() == MONOCHROME1,
        slope[0] if slope and slope[0] else 1.0,
        intercept[0] if intercept else 0.0,
        _read_table(tags, "ModalityLUTSequence", is_little_endian, is_signed),
        _read_table(tags, "VOILUTSequence", is_little_endian, may_be_negative),
        window,
    )


def _read_table(
    tags: Tags, sequence: str, is_little_endian: bool, may_be_negative: bool
) -> LookupTable | None:
    """Returns the first table of a sequence, or None if it is missing or malformed."""
    for item in tags.items(sequence)[:1]:
        descriptor = item.numbers("LUTDescriptor")
        data = item.raw("LUTData")
        if data:
            kind = "<u2" if is_little_endian else ">u2"
            entries = np.frombuffer(data[: len(data) // 2 * 2], kind).astype(np.int64)
        else:
            entries = np.array(item.numbers("LUTData"), np.int64) & 0xFFFF
        if len(descriptor) != 3 or not entries.size:
            return None
        count = int(descriptor[0]) & 0xFFFF or 2**16  # 0 stands for 65,536 entries
        if 2 * len(entries) == count + count % 2:  # two entries of 8 bits in a word
            entries = np.stack([entries & 0xFF, entries >> 8], axis=1).ravel()
        first = int(descriptor[1])
        # The first value is signed where values may be negative, whatever its representation says.
        if first >= 2**15 and (may_be_negative or first + count > 2**16):
            first -= 2**16
        return LookupTable(first, entries[:count])
    return None


def keep_stored_bits(stored: np.ndarray, photometry: Photometry, is_lossy: bool) -> np.ndarray:
    """Returns the values of the stored bits, without what other bits hold, such as overlays.

    Args:
        stored: decoded integers of any shape.
        photometry: bits and sign of the values.
        is_lossy: whether values of a lossy compression may lie beyond the range. They are clipped,
            since they would become black where they are brighter than white.

    Returns:
        Integers of the same shape.
    """
    values = stored.astype(np.int32 if photometry.bits <= _TABLE_BITS else np.int64)
    span = 2**photometry.bits
    if is_lossy:
        return np.clip(values, photometry.lowest, photometry.lowest + span - 1)
    values &= span - 1
    return np.where(values >= span + photometry.lowest, values - span, values)


def to_grey(stored: np.ndarray, photometry: Photometry) -> tuple[np.ndarray, tuple[str, ...]]:
    """Returns the displayed image of grey values.

    Without a VOI LUT or window, and with one in which the image has no contrast, more than 8 bits
    are scaled by the image's own range, as PNG files of 16 bits are (`decoding.scale_sixteen_bit`),
    and up to 8 bits by the range of the bits. Bright bones are not ensured: the quality check
    corrects an image that is displayed as a negative.

    Args:
        stored: [H, W] integers, from `keep_stored_bits`.
        photometry: how it is displayed.

    Returns:
        [H, W] float32, 0 to 255, and notes.
    """
    notes: tuple[str, ...] = ()
    grey = None
    if photometry.voi_table is not None or photometry.window is not None:
        grey = _displayed(stored, photometry)
        if _has_no_contrast(grey):
            own = _scaled_by_range(stored, photometry)
            if not _has_no_contrast(own):
                grey, notes = own, (reasons.WINDOW_UNUSABLE,)
    if grey is None:
        grey = _scaled_by_range(stored, photometry)
    if photometry.is_inverted:
        grey = 255 - grey
    return grey.astype(np.float32), notes


def _displayed(stored: np.ndarray, photometry: Photometry) -> np.ndarray:
    if photometry.bits > _TABLE_BITS:
        return photometry.grey_levels(stored)
    possible = np.arange(photometry.lowest, photometry.lowest + 2**photometry.bits)
    return photometry.grey_levels(possible).astype(np.float32)[stored - photometry.lowest]


def _scaled_by_range(stored: np.ndarray, photometry: Photometry) -> np.ndarray:
    """Scales an image [H, W] without a VOI transformation to 0 to 255.

    A linear modality transformation then changes nothing but the direction.
    """
    table = photometry.modality_table
    if table is not None:
        values, lowest, bits = table.apply(stored), 0, table.bits
    else:
        values, lowest, bits = stored, photometry.lowest, photometry.bits
    if bits <= _DISPLAY_BITS:
        grey = (values - lowest) * np.float32(255 / (2**bits - 1))
    elif bits <= _TABLE_BITS:
        grey = decoding.scale_sixteen_bit((values - values.min()).astype(np.float32))
    else:
        low, high = int(values.min()), int(values.max())
        grey = (values - low) * (255 / max(high - low, 1))
    return 255 - grey if table is None and photometry.slope < 0 else grey


def _has_no_contrast(grey: np.ndarray) -> bool:
    low, high = np.percentile(grey[::SAMPLE_STEP, ::SAMPLE_STEP], [1, 99])
    return bool(high - low < reasons.LEAST_RANGE)


def colour_to_grey(colours: np.ndarray, white: int) -> np.ndarray:
    """Returns the grey values [H, W] float32, 0 to 255, of red, green and blue [H, W, 3].

    Args:
        colours: integers, 0 to `white`.
        white: the value of white.
    """
    scaled = colours.astype(np.float32) * np.float32(255 / white)
    return scaled @ np.array(decoding.LUMA, np.float32)
