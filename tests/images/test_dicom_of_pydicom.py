"""Files that pydicom is installed with: decoded as pydicom does, or refused with a reason."""

from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.pixels import apply_modality_lut, apply_windowing

from bone_age_tf import reasons
from bone_age_tf.errors import RadiographError
from bone_age_tf.images import decoding
from bone_age_tf.images.dicom import MODALITIES, read_dicom

FOLDER = Path(pydicom.__file__).parent / "data" / "test_files"
"""Files that pydicom is installed with."""
FILES = [
    *sorted(FOLDER.glob("*.dcm")),
    *sorted(FOLDER.glob("dicomdirtests/77654033/CR*/*")),
    *sorted((FOLDER.parent / "charset_files").glob("*.dcm")),
]


def dataset_of(path):
    return pydicom.dcmread(path, force=True)


def is_image(dataset):
    return "PixelData" in dataset and "Rows" in dataset


IMAGES = [path for path in FILES if is_image(dataset_of(path))]


def expected_reason(dataset):
    """The beginning of the reason for which a file of pydicom is refused; None if it is read."""
    modality = dataset.get("Modality")
    if modality and modality not in MODALITIES:
        return f"not a radiograph: modality {modality}; CR, DX, RG, OT, SC and MG are read"
    if "PixelData" not in dataset:
        is_headless = len(dataset) < 2 and not dataset.get("SOPClassUID")
        return reasons.NOT_DICOM if is_headless and not dataset.preamble else reasons.NO_PIXEL_DATA
    if "Rows" not in dataset:
        return reasons.DICOM_DAMAGED
    frames = dataset.get("NumberOfFrames")
    return f"{frames} frames" if frames and frames > 1 else None


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_each_file_of_pydicom_is_read_or_refused_with_its_reason(path):
    expected = expected_reason(dataset_of(path))
    if expected is None:
        pixels = read_dicom(path).pixels
        assert pixels.dtype == np.float32 and pixels.min() >= 0 and pixels.max() <= 255.001
        return
    with pytest.raises(RadiographError) as error:
        read_dicom(path, "hand.dcm")
    assert str(error.value).startswith(f"hand.dcm: {expected}")


def reference(dataset):
    """The grey levels [H, W] that pydicom's functions give."""
    values = dataset.pixel_array
    if values.ndim == 3:
        white = 2.0**dataset.BitsStored - 1
        return values @ np.array(decoding.LUMA) * 255 / white
    values = apply_modality_lut(values, dataset)
    if "WindowWidth" in dataset:
        extremes = np.array([[-1e9, 1e9]])
        low, high = apply_windowing(extremes, dataset)[0]
        grey = (apply_windowing(values, dataset) - low) / (high - low) * 255
    elif dataset.BitsStored <= 8:
        grey = values * 255.0 / (2**dataset.BitsStored - 1)
    elif dataset.BitsStored <= 16:
        grey = decoding.scale_sixteen_bit(np.float32(values - values.min()))
    else:
        grey = (values - values.min()) * (255.0 / np.ptp(values.astype(float)))
    return 255 - grey if dataset.PhotometricInterpretation == "MONOCHROME1" else grey


EVERY = sorted({dataset_of(path).get("Modality") for path in IMAGES} - {None})
"""All modalities in these files, to decode more of them."""
SEVERAL = {"examples_ybr_color", "rtdose", "rtdose_expb", "rtdose_rle"}
UNREADABLE = {
    "JPEG-lossy": "JPEG Extended (Process 2 and 4) pixel data of 12 bits cannot be decoded; save",
    "JPGExtended": "JPEG Extended (Process 2 and 4) pixel data of 12 bits cannot be decoded; save",
    "badVR": "the image is damaged (Explicit VR Little Endian pixel data cannot be decoded)",
    "JPEG2000-embedded-sequence-delimiter": "the image is damaged (JPEG 2000 Image Compression",
    "MR_truncated": "the pixel data is truncated (8130 of 8192 bytes)",
}
AS_RADIOGRAPHS = [
    path
    for path in IMAGES
    if path.stem not in SEVERAL | {"examples_palette"} and "2frame" not in path.stem
]


@pytest.mark.parametrize("path", AS_RADIOGRAPHS, ids=lambda path: path.stem)
def test_pixels_are_those_of_pydicom(path):
    """Each image, whatever its modality."""
    if path.stem in UNREADABLE:
        with pytest.raises(RadiographError) as error:
            read_dicom(path, modalities=EVERY)
        assert error.value.reason.startswith(UNREADABLE[path.stem])
        return
    np.testing.assert_allclose(
        read_dicom(path, modalities=EVERY).pixels, reference(dataset_of(path)), atol=1
    )


@pytest.mark.parametrize("name", ["examples_ybr_color", "SC_rgb_rle_2frame"])
def test_several_frames_are_refused_by_name(name):
    with pytest.raises(RadiographError, match=r": (30|2) frames; a radiograph has one$"):
        read_dicom(FOLDER / f"{name}.dcm", modalities=EVERY)


def test_palette_colours_become_grey():
    path = FOLDER / "examples_palette.dcm"
    dataset = dataset_of(path)
    colours = pydicom.pixels.apply_color_lut(dataset.pixel_array, dataset)
    expected = colours @ np.array(decoding.LUMA) * (255 / np.iinfo(colours.dtype).max)
    np.testing.assert_allclose(read_dicom(path, modalities=EVERY).pixels, expected, atol=1)


def test_pydicom_warns_neither_of_padding_nor_of_malformed_values(caplog, recwarn):
    for name in ("MR_small_padded", "SC_rgb_jpeg"):
        read_dicom(FOLDER / f"{name}.dcm", modalities=EVERY)
    assert not caplog.records and not recwarn.list
