"""Grey levels of made-up hands in DICOM files of many forms."""

import io
from pathlib import Path

import numpy as np
import pydicom
import pytest

from bone_age_tf.errors import RadiographError
from bone_age_tf.images import decoding
from bone_age_tf.images.dicom import read_dicom
from bone_age_tf.radiograph import Radiograph
from dicom_files import (
    SYNTAXES,
    drawn_hand,
    file_bytes,
    lookup_table,
    make_dataset,
    to_bytes,
    with_frame,
)

# pydicom warns of malformed values when it writes them.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:pydicom")
FOLDER = Path(pydicom.__file__).parent / "data" / "test_files"
HAND = drawn_hand()
STORED = np.rint(HAND * 10 + 300).astype(int)
"""The hand as a detector of 12 bits stores it: 300 to 2850."""


def gamma_table():
    return np.rint(4095 * (np.arange(4096) / 4095) ** 0.5).astype(int)


def clipped(share):
    return 255 * np.clip(share, 0, 1)


def linear(values, centre, width):
    return clipped((values - (centre - 0.5)) / (width - 1) + 0.5)


VARIANTS = {
    "window": (
        STORED,
        {"WindowCenter": 1500, "WindowWidth": 2000},
        lambda stored: linear(stored, 1500, 2000),
    ),
    "exact window": (
        STORED,
        {"WindowCenter": 1500, "WindowWidth": 2000, "VOILUTFunction": "LINEAR_EXACT"},
        lambda stored: clipped((stored - 1500) / 2000 + 0.5),
    ),
    "sigmoid": (
        STORED,
        {"WindowCenter": 1500, "WindowWidth": 1500, "VOILUTFunction": "SIGMOID"},
        lambda stored: 255 / (1 + np.exp(-4 * (stored - 1500) / 1500)),
    ),
    "table and window": (
        STORED,
        {
            "VOILUTSequence": lookup_table(gamma_table(), bits=12),
            "WindowCenter": 9,
            "WindowWidth": 9,
        },
        lambda stored: gamma_table()[stored] * (255 / 4095),
    ),
    "table that begins late": (
        STORED,
        {"VOILUTSequence": lookup_table(np.arange(0, 65536, 64), first=1000)},
        lambda stored: np.clip(stored - 1000, 0, 1023) * (255 / 1023),
    ),
    "nothing": (
        STORED,
        {},
        lambda stored: (stored - stored.min()) * (255 / np.ptp(stored)),
    ),
    "negative slope": (
        4095 - STORED,
        {"RescaleSlope": -1, "RescaleIntercept": 4095, "WindowCenter": 1500, "WindowWidth": 2000},
        lambda stored: linear(4095 - stored, 1500, 2000),
    ),
    "negative slope alone": (
        4095 - STORED,
        {"RescaleSlope": -0.5, "RescaleIntercept": 0},
        lambda stored: (stored.max() - stored) * (255 / np.ptp(stored)),
    ),
    "signed": (
        STORED - 2048,
        {"WindowCenter": -500, "WindowWidth": 2000},
        lambda stored: linear(stored, -500, 2000),
    ),
    "signed with a table": (
        STORED - 2048,
        {"VOILUTSequence": lookup_table(gamma_table(), first=-2048, bits=12)},
        lambda stored: gamma_table()[stored + 2048] * (255 / 4095),
    ),
    "modality table": (
        STORED,
        {
            "ModalityLUTSequence": lookup_table(gamma_table(), bits=12),
            "WindowCenter": 2500,
            "WindowWidth": 3000,
        },
        lambda stored: linear(gamma_table()[stored], 2500, 3000),
    ),
}
LOSSLESS = [name for name in SYNTAXES if name != "JPEG baseline"]


@pytest.mark.parametrize("syntax", LOSSLESS)
@pytest.mark.parametrize("variant", VARIANTS)
def test_a_hand_is_read_as_it_is_displayed(variant, syntax):
    stored, tags, display = VARIANTS[variant]
    for colours in ("MONOCHROME2", "MONOCHROME1"):
        expected = display(stored)
        expected = 255 - expected if colours == "MONOCHROME1" else expected
        data = file_bytes(stored, syntax=syntax, PhotometricInterpretation=colours, **tags)
        image = read_dicom(data)
        np.testing.assert_allclose(image.pixels, expected, atol=1)
        assert image.notes == ()


def test_tables_of_words_and_of_bytes():
    """LUTData may be a list of numbers, or hold two entries of 8 bits in a word."""
    entries = np.rint(255 * (np.arange(4096) / 4095) ** 0.5).astype(int)
    expected = entries[STORED]
    words = lookup_table(entries, bits=8)
    numbers = lookup_table(entries, bits=8)
    del numbers[0].LUTData
    numbers[0].add_new("LUTData", "US", entries.tolist())
    packed = lookup_table(entries, bits=8)
    packed[0].LUTData = entries.astype(np.uint8).tobytes()
    for table in (words, numbers, packed):
        for syntax in ("explicit", "implicit"):
            pixels = read_dicom(file_bytes(STORED, syntax=syntax, VOILUTSequence=table)).pixels
            np.testing.assert_allclose(pixels, expected, atol=1)


@pytest.mark.parametrize("colours", ["MONOCHROME2", "MONOCHROME1"])
def test_lossy_and_eight_bits_are_read_as_png(colours):
    eight = np.rint(HAND).astype(int)
    expected = eight if colours == "MONOCHROME2" else 255 - eight
    for syntax, tolerance in (("JPEG baseline", 3), ("explicit", 1e-4)):
        data = file_bytes(eight, 8, syntax, PhotometricInterpretation=colours)
        np.testing.assert_allclose(read_dicom(data).pixels, expected, atol=tolerance)


def test_the_first_of_two_windows_is_used():
    tags = {"WindowCenter": [1500, 600], "WindowWidth": [2000, 100]}
    pixels = read_dicom(file_bytes(STORED, **tags)).pixels
    np.testing.assert_allclose(pixels, linear(STORED, 1500, 2000), atol=1)


@pytest.mark.parametrize("stored", [STORED, STORED - 2048], ids=["unsigned", "signed"])
@pytest.mark.parametrize("syntax", ["explicit", "big endian", "RLE", "JPEG 2000", "JPEG-LS"])
def test_overlay_in_unused_high_bits_is_not_seen(stored, syntax):
    """JPEG 2000 and JPEG-LS are compressed with all 16 bits, as in pydicom's issue 2260."""
    drawing = np.zeros(stored.shape, np.uint16)
    drawing[20:40, 20:60] = 0xA000
    dataset = make_dataset(stored)
    words = np.frombuffer(dataset.PixelData, "<u2").reshape(stored.shape) & 0x0FFF | drawing
    dataset.PixelData = words.astype("<u2").tobytes()
    if syntax.startswith("JPEG"):
        dataset.BitsStored, dataset.HighBit = 16, 15
    packed = pydicom.dcmread(io.BytesIO(SYNTAXES[syntax](dataset)))
    packed.BitsStored, packed.HighBit = 12, 11
    expected = read_dicom(file_bytes(stored)).pixels
    np.testing.assert_allclose(read_dicom(to_bytes(packed)).pixels, expected, atol=1e-3)


def test_overlays_are_not_burned_in():
    dataset = make_dataset(STORED)
    plain = read_dicom(to_bytes(dataset)).pixels
    group = 0x6000
    for element, vr, value in (
        (0x10, "US", STORED.shape[0]),
        (0x11, "US", STORED.shape[1]),
        (0x40, "CS", "G"),
        (0x50, "SS", [1, 1]),
        (0x100, "US", 1),
        (0x102, "US", 0),
        (0x3000, "OW", b"\xff" * (STORED.size // 8)),
    ):
        dataset.add_new((group, element), vr, value)
    np.testing.assert_array_equal(read_dicom(to_bytes(dataset)).pixels, plain)


def test_stored_bits_at_the_high_end_are_shifted():
    dataset = make_dataset(STORED)
    expected = read_dicom(to_bytes(dataset)).pixels
    words = np.frombuffer(dataset.PixelData, "<u2") << 4
    dataset.PixelData, dataset.HighBit = words.astype("<u2").tobytes(), 15
    np.testing.assert_array_equal(read_dicom(to_bytes(dataset)).pixels, expected)


def test_window_that_shows_nothing_is_not_used():
    image = read_dicom(file_bytes(STORED, WindowCenter=30000, WindowWidth=10))
    np.testing.assert_array_equal(image.pixels, read_dicom(file_bytes(STORED)).pixels)
    assert image.notes == ("its window shows nothing and was not used",)


@pytest.mark.parametrize(
    "tags",
    [
        {"WindowCenter": 1500, "WindowWidth": 0},
        {"WindowCenter": 1500},
        {"WindowCenter": 1500, "WindowWidth": 200, "VOILUTFunction": "CUBIC"},
        {"VOILUTSequence": []},
        {"RescaleSlope": 0, "RescaleIntercept": 5},
    ],
)
def test_malformed_photometry_is_left_out(tags):
    image = read_dicom(file_bytes(STORED, **tags))
    np.testing.assert_array_equal(image.pixels, read_dicom(file_bytes(STORED)).pixels)


def test_pixels_become_square_and_the_spacing_is_that_of_pixel_spacing():
    image = read_dicom(file_bytes(STORED, PixelSpacing=[0.2, 0.1]))
    assert image.pixels.shape == (2 * STORED.shape[0], STORED.shape[1])
    assert image.pixel_spacing_mm == pytest.approx((0.1, 0.1))
    plain = read_dicom(file_bytes(STORED)).pixels
    np.testing.assert_allclose(image.pixels[::2], plain, atol=40)
    assert np.abs(image.pixels[::2] - plain).mean() < 3
    wide = read_dicom(file_bytes(STORED, ImagerPixelSpacing=[0.1, 0.15]))
    assert wide.pixels.shape == (STORED.shape[0], round(1.5 * STORED.shape[1]))
    assert wide.pixel_spacing_mm is None
    ratio = read_dicom(file_bytes(STORED, PixelAspectRatio=[1, 2])).pixels
    assert ratio.shape == (STORED.shape[0], 2 * STORED.shape[1])
    absurd = read_dicom(file_bytes(STORED, PixelSpacing=[0.1, 10]))
    assert absurd.pixels.shape == STORED.shape


def test_colours_become_grey():
    colours = np.stack([np.rint(HAND), np.rint(HAND / 2), np.zeros_like(HAND)], -1).astype(int)
    for syntax in ("explicit", "RLE", "JPEG 2000"):
        pixels = read_dicom(file_bytes(colours, 8, syntax)).pixels
        np.testing.assert_allclose(pixels, colours @ np.array(decoding.LUMA), atol=1)


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_truncated_pixel_data_is_refused(syntax):
    bits, stored = (8, np.rint(HAND).astype(int)) if syntax == "JPEG baseline" else (12, STORED)
    data = file_bytes(stored, bits, syntax)
    for share in (0.5, 0.95):
        with pytest.raises(RadiographError, match=r"truncated|damaged"):
            read_dicom(data[: int(share * len(data))])


def test_any_bytes_give_pixels_or_a_reason():
    """Files of pydicom with random bytes in their headers, and other bytes."""
    random = np.random.default_rng(0)
    files = [
        FOLDER / f"{name}.dcm" for name in ("SC_rgb_rle", "image_dfl", "SC_rgb_jls_lossy_line")
    ]
    originals = [path.read_bytes() for path in files] + [
        file_bytes(STORED, **VARIANTS["window"][1])
    ]
    outcomes = set()
    for place in range(240):
        data = bytearray(originals[place % len(originals)])
        for _ in range(random.integers(1, 6)):
            data[random.integers(132, min(1200, len(data)))] = random.integers(256)
        try:
            read_dicom(bytes(data))
            outcomes.add("read")
        except RadiographError as error:
            outcomes.add(error.reason.split(" ")[0])
    assert "read" in outcomes and len(outcomes) > 3
    for data in (b"x", b"text " * 100, bytes(400), b"\xff" * 400):
        with pytest.raises(RadiographError, match=r"not a DICOM file|damaged"):
            read_dicom(data)
    with pytest.raises(RadiographError, match="the file is empty"):
        read_dicom(b"")


def test_a_file_without_a_header_is_read_by_its_suffix(tmp_path):
    dataset = make_dataset(STORED)
    expected = read_dicom(to_bytes(dataset)).pixels
    buffer = io.BytesIO()
    del dataset.file_meta
    dataset.save_as(buffer, implicit_vr=True, little_endian=True)
    path = tmp_path / "hand.DCM"
    path.write_bytes(buffer.getvalue())
    np.testing.assert_array_equal(Radiograph.open(path).pixels, expected)
    named = Radiograph.open(buffer.getvalue(), name="study/hand.dcm")
    np.testing.assert_array_equal(named.pixels, expected)
    with pytest.raises(RadiographError, match="not a PNG or JPEG"):
        Radiograph.open(buffer.getvalue())


def test_unusual_syntaxes_are_named(monkeypatch):
    film = with_frame(make_dataset(STORED), pydicom.uid.MPEG4HP41, b"video")
    with pytest.raises(RadiographError, match=r"^image: MPEG-4 AVC.* cannot be decoded; save"):
        read_dicom(film)
    data = file_bytes(STORED, syntax="JPEG lossless")
    monkeypatch.setattr(pydicom.pixels.decoders.gdcm, "HAVE_GDCM", False)
    monkeypatch.setattr(
        pydicom.pixels.decoders.base.Decoder, "is_available", property(lambda decoder: False)
    )
    with pytest.raises(RadiographError, match=r"JPEG Lossless.*pip install 'bone-age-tf\[dicom\]'"):
        read_dicom(data)


def test_a_failed_decoder_leaves_no_traceback_in_the_log(caplog):
    data = file_bytes(STORED, syntax="JPEG-LS")
    at = data.index(b"\xff\xd8\xff") + 40
    with pytest.raises(RadiographError, match=r"^image: the image is damaged \("):
        read_dicom(data[:at] + bytes(200) + data[at + 200 :])
    assert not caplog.records
