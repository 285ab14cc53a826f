"""Reads DICOM files. pydicom and the decoders of the extra `dicom` are imported when needed."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from bone_age_tf import reasons
from bone_age_tf.errors import MissingExtraError, RadiographError
from bone_age_tf.extras import named_extras
from bone_age_tf.images import dicom_facts, dicom_pixels, reading, resizing
from bone_age_tf.images.dicom_facts import Facts
from bone_age_tf.images.dicom_photometry import (
    Photometry,
    colour_to_grey,
    keep_stored_bits,
    read_photometry,
    to_grey,
)
from bone_age_tf.images.dicom_tags import Tags, quiet
from bone_age_tf.images.encoded_pieces import JPEG_SIGNATURE, PNG_SIGNATURE
from bone_age_tf.reasons import TEXTS, Reason

SUFFIXES: Final = (".dcm", ".dicom", ".dic")
"""File name extensions of DICOM files, which often have none."""
HEAD_BYTES: Final = 132
"""Number of bytes at the beginning of a file that show whether it is DICOM."""
MODALITIES: Final = ("CR", "DX", "RG", "OT", "SC", "MG")
"""Modalities that are read. OT and SC are digitised films and screenshots."""
DIRECTORY_CLASS: Final = "1.2.840.10008.1.3.10"
"""SOP class of a DICOMDIR (PS3.6, Media Storage Directory Storage)."""

_PREFIX = b"DICM"
_PIXEL_DATA_HEADS = (b"\xe0\x7f\x10\x00O", b"\x7f\xe0\x00\x10O")
"""Tag of the pixel data and first letter of its representation, in either byte order."""
LEAST_ASPECT_CHANGE: Final = 0.005
"""Minimum deviation of a pixel's aspect from a square at which an image is resampled."""


@dataclass(frozen=True, eq=False)
class DicomImage:
    """A radiograph in a DICOM file.

    Attributes:
        pixels: [H, W] float32, 0 to 255, with square pixels, as a viewer displays them.
        facts: what the file states about it.
        pixel_spacing_mm: distance of the pixels' centres, rows first, in millimetres, from
            PixelSpacing; None where unknown.
        notes: what the user should know.
    """

    pixels: np.ndarray
    facts: Facts
    pixel_spacing_mm: tuple[float, float] | None
    notes: tuple[str, ...]


def is_dicom(head: bytes, suffix: str = "") -> bool:
    """Returns whether a file is DICOM by its content, or should be by its name.

    Args:
        head: the file's bytes, or the first `HEAD_BYTES` of them.
        suffix: its extension. Files of old devices lack the header; they are tried if they have an
            extension of `SUFFIXES`.
    """
    if head[HEAD_BYTES - len(_PREFIX) : HEAD_BYTES] == _PREFIX:
        return True
    return suffix.lower() in SUFFIXES and not head.startswith((PNG_SIGNATURE, JPEG_SIGNATURE))


def read_dicom(
    source: str | Path | bytes,
    name: str | None = None,
    modalities: Sequence[str] = MODALITIES,
) -> DicomImage:
    """Reads the radiograph in a DICOM file.

    See `dicom_photometry` for its grey levels and `dicom_facts` for what is known about it. Images
    with other than square pixels are enlarged in one direction. Overlays, presentation states and
    the patient's name and number are not read.

    Args:
        source: a path, or the file's bytes.
        name: name of the file in error messages; the path by default.
        modalities: modalities that are read; a file that states none is read too.

    Raises:
        RadiographError: the file is missing, damaged or truncated, shows no radiograph, has several
            frames, is a result of this project, is compressed in a way that cannot be decoded, or
            pydicom is not installed.
    """
    name = name or ("image" if isinstance(source, bytes) else str(source))
    data = source if isinstance(source, bytes) else reading.read_file(source, name)
    if not data:
        raise RadiographError(name, TEXTS[Reason.EMPTY_FILE])
    try:
        with named_extras("a DICOM file"):
            import pydicom
    except MissingExtraError as error:
        raise RadiographError(name, str(error)) from None
    with quiet():
        try:
            dataset = pydicom.dcmread(io.BytesIO(data), force=True)
        except Exception as error:  # of any class, as the parser does not check the bytes
            cause = str(error).partition("\n")[0]
            raise RadiographError(name, f"{reasons.DICOM_DAMAGED} ({cause})") from None
        tags = Tags(dataset)
        _refuse_other_objects(tags, data, name, modalities)
        layout = dicom_pixels.read_layout(tags, name)
        facts = dicom_facts.read_facts(tags)
        photometry = read_photometry(tags, layout.is_little_endian)
        aspect, spacing_mm = dicom_facts.read_aspect(tags), dicom_facts.read_spacing_mm(tags)
    stored = dicom_pixels.decode(dataset, layout, name)
    grey, notes = _grey_of(stored, layout, photometry)
    pixels = _with_square_pixels(grey, aspect)
    if spacing_mm is not None:
        row_mm, column_mm = spacing_mm
        row_mm *= grey.shape[0] / pixels.shape[0]
        spacing_mm = row_mm, column_mm * grey.shape[1] / pixels.shape[1]
    return DicomImage(pixels, facts, spacing_mm, facts.notes + notes)


def _refuse_other_objects(tags: Tags, data: bytes, name: str, modalities: Sequence[str]) -> None:
    """Raises an error for a file that is no radiograph, by what it states."""
    sop_class, modality = tags.text("SOPClassUID"), tags.text("Modality").upper()
    if "DirectoryRecordSequence" in tags or sop_class == DIRECTORY_CLASS:
        raise RadiographError(name, reasons.DICOM_DIRECTORY)
    if dicom_facts.is_own_result(tags):
        raise RadiographError(name, reasons.OWN_RESULT)
    if modality and modality not in modalities:
        known = f"{', '.join(modalities[:-1])} and {modalities[-1]}"
        raise RadiographError(name, f"{reasons.WRONG_MODALITY} {modality}; {known} are read")
    if "PixelData" in tags:
        return
    if not (modality or sop_class or "Rows" in tags) and not is_dicom(data):
        raise RadiographError(name, reasons.NOT_DICOM)
    # pydicom leaves out compressed pixel data whose end is missing.
    is_cut = any(head in data for head in _PIXEL_DATA_HEADS)
    raise RadiographError(name, reasons.PIXEL_DATA_TRUNCATED if is_cut else reasons.NO_PIXEL_DATA)


def _grey_of(
    stored: np.ndarray, layout: dicom_pixels.Layout, photometry: Photometry
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Returns the grey levels [H, W] of decoded values [H, W] or [H, W, 3], and notes."""
    if layout.palette_white:
        white = layout.palette_white if stored.max() <= layout.palette_white else 2**16 - 1
        return colour_to_grey(stored, white), ()
    values = keep_stored_bits(stored, photometry, layout.is_lossy)
    if values.ndim == 3:
        return colour_to_grey(values, 2**photometry.bits - 1), ()
    return to_grey(values, photometry)


def _with_square_pixels(grey: np.ndarray, aspect: float) -> np.ndarray:
    """Enlarges an image [H, W] whose pixels are `aspect` times as high as wide."""
    height, width = grey.shape
    if abs(aspect - 1) < LEAST_ASPECT_CHANGE:
        return grey
    if aspect > 1:
        height = round(height * aspect)
    else:
        width = round(width / aspect)
    return resizing.resize_exactly(grey, height, width)
