import io
import struct

import numpy as np
import pytest
from PIL import Image

from bone_age_tf import reasons
from bone_age_tf.errors import RadiographError
from bone_age_tf.images.encoded_pieces import GREY, GREY_ALPHA, PALETTE, RGB, RGBA
from bone_age_tf.images.reading import read_radiograph
from image_files import CHANNELS, png


def encoded(pixels, form="PNG", orientation=None, mode=None, **options):
    image = Image.fromarray(np.asarray(pixels, np.uint8), mode)
    if orientation is not None:
        options["exif"] = orientation_exif(orientation)
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def orientation_exif(orientation):
    exif = Image.Exif()
    exif[0x112] = orientation
    return exif


def check(data, expected, **tolerance):
    found = read_radiograph(data)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, **(tolerance or {"atol": 1e-3}))


@pytest.mark.parametrize(
    ("depth", "values", "expected"),
    [
        (1, [[1, 0, 1]], [[255, 0, 255]]),
        (2, [[0, 1, 2, 3]], [[0, 85, 170, 255]]),
        (4, [[0, 15, 8]], [[0, 255, 136]]),
        (8, [[0, 100, 255]], [[0, 100, 255]]),
    ],
)
def test_grey_of_up_to_eight_bits(depth, values, expected):
    check(png(values, depth, GREY), expected)


def test_eight_bit_grey_is_not_stretched():
    check(png([[90, 100]], 8, GREY), [[90, 100]])


@pytest.mark.parametrize("scale", [1, 16])
def test_sixteen_bit_grey_is_scaled_by_its_own_range(scale):
    """A 12-bit detector's 4,095 is white, whether it lies in the low or in the high bits."""
    values = np.array([[0, 1365, 2730, 4095]]) * scale
    check(png(values, 16, GREY), [[0, 85, 170, 255]])


def test_sixteen_bit_grey_starts_at_its_lowest_value():
    check(png([[1000, 1500, 3000]], 16, GREY), [[0, 63.75, 255]])


def test_sixteen_bit_grey_keeps_small_differences():
    found = read_radiograph(png([[0, 1, 2, 30000, 65535]], 16, GREY))
    assert np.all(np.diff(found[0]) > 0)


@pytest.mark.parametrize("value", [0, 7, 65535])
def test_sixteen_bit_grey_of_one_value_is_black(value):
    check(png([[value, value]], 16, GREY), [[0, 0]])


def test_colour_becomes_grey_by_luma():
    values = [[[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255], [80, 80, 80]]]
    check(png(values, 8, RGB), [[76.245, 149.685, 29.07, 255, 80]])


def test_palette():
    colours = bytes([0, 0, 255, 255, 255, 255, 10, 10, 10])
    check(png([[0, 1, 2]], 8, PALETTE, PLTE=colours), [[29.07, 255, 10]])
    check(png([[0, 1, 2]], 2, PALETTE, PLTE=colours), [[29.07, 255, 10]])


def test_transparent_parts_become_black():
    check(png([[[200, 255], [200, 51], [200, 0]]], 8, GREY_ALPHA), [[200, 40, 0]])
    check(png([[[255, 0, 0, 255], [255, 0, 0, 51]]], 8, RGBA), [[76.245, 15.249]])
    palette = bytes([255, 255, 255, 100, 100, 100])
    check(png([[0, 1]], 8, PALETTE, PLTE=palette, tRNS=b"\x33"), [[51, 100]])


def test_a_value_marked_transparent_becomes_black():
    check(png([[100, 200]], 8, GREY, tRNS=struct.pack(">H", 200)), [[100, 0]])
    mark = struct.pack(">3H", 200, 200, 200)
    check(png([[[100] * 3, [200] * 3]], 8, RGB, tRNS=mark), [[100, 0]])
    mark = struct.pack(">H", 4095)  # a film's white surround: the rest gets the whole range
    check(png([[0, 1000, 4095]], 16, GREY, tRNS=mark), [[0, 255, 0]])


def test_sixteen_bit_colour():
    values = [[[65535, 0, 0], [0, 65535, 0], [65535] * 3, [0] * 3]]
    check(png(values, 16, RGB), [[76.245, 149.685, 255, 0]])
    dim = np.array([[[4095] * 3, [2048, 2048, 2048], [0] * 3]])
    check(png(dim, 16, RGB), [[255, 127.531, 0]], atol=0.01)


def test_sixteen_bit_colour_and_grey_with_transparency():
    white = [65535] * 3
    check(png([[[*white, 65535], [*white, 13107], [*white, 0]]], 16, RGBA), [[255, 51, 0]])
    check(png([[[65535, 65535], [65535, 13107], [65535, 0]]], 16, GREY_ALPHA), [[255, 51, 0]])


def test_jpeg_of_grey_colour_and_four_inks():
    grey = np.full((16, 16), 120)
    check(encoded(grey, "JPEG"), grey, atol=1)
    check(encoded(np.stack([grey] * 3, -1), "JPEG"), grey, atol=1)
    inks = np.stack([grey * 0, grey * 0, grey * 0, 255 - grey], -1)
    check(encoded(inks, "JPEG", mode="CMYK"), grey, atol=2)


_UPRIGHT = np.array([[0, 50, 100], [150, 200, 255]])
# How the sensor's pixels lie in the file for each orientation tag (EXIF 2.3, section 4.6.4).
_STORED = {
    1: _UPRIGHT,
    2: _UPRIGHT[:, ::-1],
    3: _UPRIGHT[::-1, ::-1],
    4: _UPRIGHT[::-1],
    5: _UPRIGHT.T,
    6: np.rot90(_UPRIGHT, 1),
    7: _UPRIGHT[::-1, ::-1].T,
    8: np.rot90(_UPRIGHT, -1),
}


@pytest.mark.parametrize("orientation", _STORED)
def test_exif_orientation(orientation):
    stored = np.ascontiguousarray(_STORED[orientation])
    check(encoded(stored, orientation=orientation), _UPRIGHT)
    enlarged = np.kron(stored, np.ones((16, 16)))
    found = read_radiograph(encoded(enlarged, "JPEG", orientation, quality=100))
    np.testing.assert_allclose(found[8::16, 8::16], _UPRIGHT, atol=3)


@pytest.mark.parametrize("orientation", _STORED)
@pytest.mark.parametrize("colour_type", [GREY, GREY_ALPHA, RGB, RGBA])
def test_exif_orientation_of_sixteen_bits(orientation, colour_type):
    samples = np.stack([_STORED[orientation] * 257] * CHANNELS[colour_type], -1)
    if colour_type in (GREY_ALPHA, RGBA):
        samples[..., -1] = 65535
    exif = orientation_exif(orientation).tobytes().removeprefix(b"Exif\0\0")
    check(png(samples, 16, colour_type, eXIf=exif), _UPRIGHT)


def test_path_and_bytes_give_the_same(tmp_path):
    data = encoded([[1, 2], [3, 4]])
    (tmp_path / "hand.png").write_bytes(data)
    for source in (data, tmp_path / "hand.png", str(tmp_path / "hand.png")):
        np.testing.assert_array_equal(read_radiograph(source), [[1, 2], [3, 4]])


@pytest.mark.parametrize("form", ["PNG", "JPEG"])
@pytest.mark.parametrize("share", [0.05, 0.3, 0.6, 0.9])
def test_truncated_file(form, share):
    noise = np.random.default_rng(0).integers(0, 255, (64, 64))
    data = encoded(noise, form)
    with pytest.raises(RadiographError, match=r"^hand: (the image is damaged|not a PNG or JPEG)"):
        read_radiograph(data[: int(share * len(data))], "hand")


@pytest.mark.parametrize("colour_type", [GREY, RGB])
def test_truncated_file_of_sixteen_bits(colour_type):
    shape = (32, 32, CHANNELS[colour_type])
    noise = np.random.default_rng(0).integers(0, 65535, shape)
    with pytest.raises(RadiographError, match="damaged"):
        read_radiograph(png(noise, 16, colour_type)[:1500])


def test_damaged_pixels():
    data = bytearray(png([[1, 2, 3]], 8, GREY))
    data[45] ^= 0xFF
    with pytest.raises(RadiographError, match=r"damaged|not a PNG"):
        read_radiograph(bytes(data))


def test_any_damage_gives_an_image_or_a_radiograph_error():
    rng = np.random.default_rng(0)
    whole = encoded(rng.integers(0, 255, (16, 16)), "JPEG", orientation=6)
    for _ in range(200):
        data = bytearray(whole)
        for position in rng.integers(0, len(data), 3):
            data[position] = rng.integers(0, 256)
        try:
            found = read_radiograph(bytes(data))
        except RadiographError:
            continue
        assert found.ndim == 2
        assert found.min() >= 0
        assert found.max() <= 255.01


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "the file is empty"),
        (b"no image", "not a PNG or JPEG image"),
        (b"\x89PNG\r\n\x1a\n", "the image is damaged (the file ends too early)"),
        (b"BM" + bytes(60), "not a PNG or JPEG image but a BMP file; save it as PNG"),
    ],
)
def test_file_that_is_no_image(tmp_path, content, reason):
    path = tmp_path / "hand.png"
    path.write_bytes(content)
    with pytest.raises(RadiographError) as error:
        read_radiograph(path)
    assert error.value.reason == reason
    assert str(error.value) == f"{path}: {reason}"


def test_other_image_formats_are_refused():
    with pytest.raises(RadiographError, match="image: not a PNG or JPEG"):
        read_radiograph(encoded([[1, 2]], "GIF"))


def test_file_that_cannot_be_read(tmp_path):
    with pytest.raises(RadiographError, match="no such file"):
        read_radiograph(tmp_path / "none.png")
    with pytest.raises(RadiographError, match="cannot be read"):
        read_radiograph(tmp_path)
    with pytest.raises(RadiographError, match="not a possible file name"):
        read_radiograph("a\0b.png")


def test_too_large_an_image(monkeypatch):
    monkeypatch.setattr(reasons, "MOST_PIXELS", 5)
    with pytest.raises(RadiographError, match="3 x 2 pixels is too large; reduce it first"):
        read_radiograph(encoded(_UPRIGHT))
    monkeypatch.setattr(reasons, "MOST_PIXELS", 6)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 2)
    with pytest.raises(RadiographError, match="too many pixels"):
        read_radiograph(encoded(_UPRIGHT))
