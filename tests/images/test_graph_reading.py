"""The graph's decoding and resizing against NumPy's, eager and in tf.data."""

import io

import cv2
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from bone_age_tf import schema
from bone_age_tf.images import graph_reading, reading, resizing
from bone_age_tf.images.encoded_pieces import GREY
from image_files import png

RNG = np.random.default_rng(0)


def encode(array, format="PNG", mode=None, **options):
    file = io.BytesIO()
    Image.fromarray(array, mode).save(file, format, **options)
    return file.getvalue()


def smooth(height, width, top=255):
    """A picture with structure at several scales, [H, W] float in 0..top."""
    y, x = np.mgrid[:height, :width]
    waves = np.sin(x / 7) + np.cos(y / 11) + np.sin((x + y) / 3) + RNG.normal(0, 0.2, x.shape)
    waves -= waves.min()
    return waves / waves.max() * top


def files():
    grey = smooth(90, 61).astype(np.uint8)
    rgb = np.stack([smooth(90, 61) for _ in range(3)], -1).astype(np.uint8)
    deep = smooth(90, 61, 4095).astype(np.uint16)
    deep_colour = np.stack([smooth(90, 61, 65535) for _ in range(3)], -1).astype(np.uint16)
    alpha = np.dstack([rgb, (smooth(90, 61)).astype(np.uint8)])
    palette = io.BytesIO()
    Image.fromarray(rgb).convert("P", palette=Image.Palette.ADAPTIVE).save(palette, "PNG")
    return {
        "grey": encode(grey),
        "rgb": encode(rgb),
        "rgba": encode(alpha),
        "grey and alpha": encode(np.dstack([grey, grey.T.copy().reshape(grey.shape)])),
        "12 in 16 bits": encode(deep),
        "16-bit colour": cv2.imencode(".png", deep_colour)[1].tobytes(),
        "palette": palette.getvalue(),
        "1 bit": encode(grey > 128),
        "2 bits": png(grey >> 6, 2, GREY),
        "4 bits": png(grey >> 4, 4, GREY),
        "jpeg": encode(grey, "JPEG", quality=90),
        "colour jpeg": encode(rgb, "JPEG", quality=90),
    }


def decode_in(runtime, data):
    if runtime == "eager":
        return graph_reading.decode_radiograph(tf.constant(data)).numpy()[..., 0]
    dataset = tf.data.Dataset.from_tensors(data).map(graph_reading.decode_radiograph)
    return next(iter(dataset)).numpy()[..., 0]


@pytest.mark.parametrize("runtime", ["eager", "tf.data"])
@pytest.mark.parametrize(("kind", "data"), files().items())
def test_decoding_agrees_with_numpy(kind, data, runtime):
    expected = reading.read_radiograph(data)
    found = decode_in(runtime, data)
    assert found.shape == expected.shape == (90, 61)
    # JPEG colour conversion rounds differently by up to a grey level or two.
    assert np.abs(found - expected).max() < (2.1 if "jpeg" in kind else 0.01)


@pytest.mark.parametrize("data", [b"", b"\x89PNG\r\n\x1a\n", b"text", files()["grey"][:200]])
def test_broken_bytes_raise(data):
    with pytest.raises(tf.errors.InvalidArgumentError):
        graph_reading.decode_radiograph(tf.constant(data))


@pytest.mark.parametrize("runtime", ["eager", "tf.data"])
@pytest.mark.parametrize("mode", schema.RESIZE_MODES)
@pytest.mark.parametrize("shape", [(90, 61), (61, 90), (33, 33), (400, 260), (7, 200), (1, 300)])
@pytest.mark.parametrize("size_px", [32, 101])
def test_resizing_agrees_with_numpy(shape, size_px, mode, runtime):
    image = smooth(*shape).astype(np.float32)
    expected = resizing.resize(image, size_px, mode)

    def resize_fn(pixels):
        return graph_reading.resize(pixels, size_px, mode)

    if runtime == "eager":
        found = resize_fn(tf.constant(image[..., None])).numpy()
    else:
        found = next(iter(tf.data.Dataset.from_tensors(image[..., None]).map(resize_fn))).numpy()
    assert found.shape == (size_px, size_px, 1)
    assert np.abs(found[..., 0] - expected).max() < 0.05


@pytest.mark.parametrize("border", [(0, 0, 0, 0), (9, 0, 4, 7), (0, 30, 1, 0)])
@pytest.mark.parametrize("grey", [0.0, 4.0, 5.0, 90.5, 255.0])
def test_trimming_agrees_with_numpy(border, grey):
    top, bottom, left, right = border
    image = np.pad(
        smooth(40, 30).astype(np.float32), [(top, bottom), (left, right)], constant_values=grey
    )
    found = graph_reading.trim_margins(tf.constant(image[..., None])).numpy()
    np.testing.assert_array_equal(found[..., 0], resizing.trim_margins(image))
    assert (found.shape[:2] == image.shape) == (not any(border))
    paged = np.pad(image, 9, constant_values=200)
    found = graph_reading.trim_margins(tf.constant(paged[..., None])).numpy()
    np.testing.assert_array_equal(found[..., 0], resizing.trim_margins(paged))
    black = np.full((5, 6, 1), grey, np.float32)
    assert graph_reading.trim_margins(tf.constant(black)).shape == (5, 6, 1)


def test_resizing_is_antialiased():
    stripes = np.tile([0.0, 255.0], (64, 32)).astype(np.float32)
    small = graph_reading.resize(stripes[..., None], 16, "stretch").numpy()
    assert np.abs(small[:, 2:-2] - 127.5).max() < 2  # aliasing would leave black and white


def test_an_unknown_mode_is_refused():
    with pytest.raises(ValueError, match="known: pad, stretch"):
        graph_reading.resize(np.zeros((4, 4, 1), np.float32), 8, "crop")
