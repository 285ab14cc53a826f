"""The page decodes and resizes as the Python code does, on the same files."""

import base64
import io
import struct

import cv2
import numpy as np
import pytest
from PIL import Image, ImageCms, PngImagePlugin

from bone_age_tf.errors import RadiographError
from bone_age_tf.images import reading, resizing
from bone_age_tf.images.encoded_pieces import GREY
from image_files import chunk, every_file, png

pytestmark = pytest.mark.slow

EXACT = 2e-3
"""Of 255: sums in another order."""
JPEG_COLOUR = 1.0
"""Of 255: browsers may turn colour differences to RGB in other steps than Pillow."""

DECODE = """
async (data) => {
  const { decode } = await import("/js/decode.js");
  const settings = await (await fetch("/settings.json")).json();
  const bytes = Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0));
  const { width, height, pixels } = await decode(bytes, settings);
  const raw = new Uint8Array(pixels.buffer);
  let text = "";
  for (let at = 0; at < raw.length; at += 8192) {
    text += String.fromCharCode(...raw.subarray(at, at + 8192));
  }
  return { width, height, pixels: btoa(text) };
}
"""
FIT = """
async ({ data, width, height, size, mode }) => {
  const { fit } = await import("/js/image.js");
  const bytes = Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0));
  const pixels = new Float32Array(bytes.buffer);
  return Array.from(fit({ width, height, pixels }, size, mode).square.pixels);
}
"""
TRIM = """
async ({ data, width, height }) => {
  const { trimMargins } = await import("/js/image.js");
  const settings = await (await fetch("/settings.json")).json();
  const bytes = Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0));
  const found = trimMargins({ width, height, pixels: new Float32Array(bytes.buffer) }, settings);
  return { width: found.width, height: found.height, pixels: Array.from(found.pixels) };
}
"""


@pytest.fixture(scope="module")
def page(browser, address):
    page = browser.new_page()
    page.goto(address)
    yield page
    page.close()


def decode(page, data):
    found = page.evaluate(DECODE, base64.b64encode(data).decode())
    pixels = np.frombuffer(base64.b64decode(found["pixels"]), np.float32)
    return pixels.reshape(found["height"], found["width"])


def _smooth(random, shape):
    return cv2.GaussianBlur(random.uniform(0, 255, shape), (0, 0), 2).clip(0, 255)


def _noise(channels=None, depth=8, seed=0):
    shape = (37, 53) if channels is None else (37, 53, channels)
    kind = np.uint8 if depth == 8 else np.uint16
    return np.random.default_rng(seed).integers(0, 2**depth, shape).astype(kind)


def _saved(image, kind="PNG", **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def _with_chunk(data, kind, body):
    """A PNG with one more chunk behind its header."""
    return data[:33] + chunk(kind, body) + data[33:]


def _with_profile(kind):
    """A colour file whose profile swaps red and green: colour management would show it."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    profile = profile.replace(b"rXYZ", b"____").replace(b"gXYZ", b"rXYZ").replace(b"____", b"gXYZ")
    rgb = Image.fromarray(_smooth(np.random.default_rng(4), (40, 60, 3)).astype(np.uint8))
    return _saved(rgb, kind, icc_profile=profile)


def _jpeg(pixels, orientation=1, **options):
    image = Image.fromarray(pixels)
    exif = Image.Exif()
    exif[0x0112] = orientation
    return _saved(image, "JPEG", exif=exif, **options)


def _png_files():
    grey, deep = _noise(), _noise(depth=16)
    twelve = (_noise(depth=16, seed=1) >> 4) + 100
    palette = Image.fromarray(_noise(3)).quantize(16)
    exif = Image.Exif()
    exif[0x0112] = 6
    comment = PngImagePlugin.PngInfo()
    comment.add_text("Comment", "a film")
    smooth = _smooth(np.random.default_rng(3), (90, 70)).astype(np.uint8)
    return {
        "grey": _saved(Image.fromarray(grey)),
        "grey, every filter": _saved(Image.fromarray(smooth), optimize=True),
        "grey, comment": _saved(Image.fromarray(grey), pnginfo=comment),
        "grey, interlaced": png(grey, 8, GREY, interlaced=True),
        "grey, 3 pixels, interlaced": png(grey[:1, :3], 8, GREY, interlaced=True),
        "grey, one value transparent": _saved(Image.fromarray(grey), transparency=int(grey[0, 0])),
        "grey, gamma": _with_chunk(
            _saved(Image.fromarray(grey)), b"gAMA", struct.pack(">I", 100000)
        ),
        "1 bit": png(grey >> 7, 1, GREY),
        "2 bits": png(grey >> 6, 2, GREY),
        "4 bits": png(grey >> 4, 4, GREY),
        "16 bits": _saved(Image.fromarray(deep)),
        "12 bits in 16": _saved(Image.fromarray(twelve)),
        "16 bits, interlaced": png(deep, 16, GREY, interlaced=True),
        "16 bits, flat": _saved(Image.fromarray(np.full((9, 9), 700, np.uint16))),
        "16 bits, one value transparent": _with_chunk(
            _saved(Image.fromarray(twelve)), b"tRNS", struct.pack(">H", int(twelve[0, 0]))
        ),
        "colour": _saved(Image.fromarray(_noise(3))),
        "colour and alpha": _saved(Image.fromarray(_noise(4))),
        "grey and alpha": _saved(Image.fromarray(_noise(2), "LA")),
        "16 bits colour": cv2.imencode(".png", _noise(3, 16))[1].tobytes(),
        "16 bits colour and alpha": cv2.imencode(".png", _noise(4, 16))[1].tobytes(),
        "palette": _saved(palette),
        "palette, 4 bits": _saved(palette, bits=4),
        "palette, transparent": _saved(palette, transparency=bytes(range(0, 160, 10))),
        "turned by EXIF": _saved(Image.fromarray(grey), exif=exif),
        "foreign profile": _with_profile("PNG"),
    }


@pytest.mark.parametrize("name", _png_files())
def test_png_to_grey(page, name):
    data = _png_files()[name]
    expected = reading.read_radiograph(data)
    found = decode(page, data)
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, atol=EXACT)


@pytest.mark.parametrize("name", every_file())
def test_every_kind_of_file(page, name):
    """The same pixels, or the same refusal, as in Python."""
    data = every_file()[name]
    try:
        expected = reading.read_radiograph(data)
    except RadiographError as error:
        with pytest.raises(Exception, match=error.reason.partition(" (")[0]):
            decode(page, data)
        return
    found = decode(page, data)
    assert found.shape == expected.shape
    np.testing.assert_allclose(
        found, expected, atol=JPEG_COLOUR + EXACT if "jpeg" in name else EXACT
    )


def test_large_png_in_many_pieces(page):
    deep = (_smooth(np.random.default_rng(5), (700, 900)) * 200).astype(np.uint16)
    data = _saved(Image.fromarray(deep))
    assert len(data) > 100_000
    np.testing.assert_allclose(decode(page, data), reading.read_radiograph(data), atol=EXACT)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_grey_jpeg_in_every_orientation(page, orientation):
    # Taller than the strips that a bitmap is read in.
    data = _jpeg(_smooth(np.random.default_rng(1), (560, 40)).astype(np.uint8), orientation)
    expected = reading.read_radiograph(data)
    found = decode(page, data)
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, atol=EXACT)


@pytest.mark.parametrize("options", [{"subsampling": 0}, {"subsampling": 2}, {"progressive": True}])
def test_colour_jpeg(page, options):
    pixels = _smooth(np.random.default_rng(2), (60, 80, 3)).astype(np.uint8)
    data = _jpeg(pixels, quality=90, **options)
    found = decode(page, data)
    np.testing.assert_allclose(found, reading.read_radiograph(data), atol=JPEG_COLOUR)


def test_jpeg_with_a_foreign_profile(page):
    data = _with_profile("JPEG")
    found = decode(page, data)
    np.testing.assert_allclose(found, reading.read_radiograph(data), atol=JPEG_COLOUR)


def _framed(height, width):
    """A film with black frames, one of them thin enough to stay."""
    film = _smooth(np.random.default_rng(height), (height, width)).astype(np.float32)
    film[: height // 5] = 3
    film[:, -1:] = 0
    film[:, : width // 8] = 4
    if height > 200:  # a page around a frame
        film = np.pad(film[:-60], [(30, 30), (0, 0)], constant_values=230)
    return film


@pytest.mark.parametrize("mode", ["pad", "stretch"])
@pytest.mark.parametrize("shape", [(300, 211), (150, 400), (64, 64), (31, 20), (1, 7)])
@pytest.mark.parametrize("size", [100, 64, 33])
def test_resizing(page, mode, shape, size):
    film = _framed(*shape)
    data = base64.b64encode(film.tobytes()).decode()
    case = {"data": data, "height": shape[0], "width": shape[1], "size": size, "mode": mode}
    found = np.reshape(page.evaluate(FIT, case), (size, size))
    np.testing.assert_allclose(found, resizing.resize(film, size, mode), atol=EXACT)


@pytest.mark.parametrize(
    "film",
    [
        _framed(300, 211),
        _framed(150, 400),
        _framed(1, 7),
        np.zeros((20, 30), np.float32),
        np.pad(_framed(120, 90), 30, constant_values=128),
        np.pad(np.pad(_framed(120, 90), 20), 15, constant_values=255),
    ],
    ids=["tall", "wide", "one row", "black", "grey", "nested"],
)
def test_margins_are_cut_off(page, film):
    data = base64.b64encode(film.tobytes()).decode()
    case = {"data": data, "height": film.shape[0], "width": film.shape[1]}
    found = page.evaluate(TRIM, case)
    pixels = np.reshape(np.array(found["pixels"], np.float32), (found["height"], found["width"]))
    np.testing.assert_array_equal(pixels, resizing.trim_margins(film))


def test_an_unknown_resize_mode_is_an_error(page):
    data = base64.b64encode(np.zeros((4, 4), np.float32).tobytes()).decode()
    case = {"data": data, "height": 4, "width": 4, "size": 8, "mode": "portrait"}
    with pytest.raises(Exception, match="unknown resize mode: portrait"):
        page.evaluate(FIT, case)
