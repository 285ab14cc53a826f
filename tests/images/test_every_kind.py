"""Every kind of PNG and JPEG: Pillow's word on simple ones, and the graph against NumPy."""

import io

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from bone_age_tf.errors import RadiographError
from bone_age_tf.images import encoded_header, graph_reading
from bone_age_tf.images.reading import read_radiograph
from bone_age_tf.quality.graph import check_files
from bone_age_tf.reasons import TEXTS
from image_files import (
    burdened_files,
    every_file,
    every_jpeg,
    every_png,
    smooth,
    spoiled_sixteen_bits,
)

JPEG_STEP = 2.1
"""Of 255: colour conversion of JPEG files rounds differently by up to a grey level or two."""


@tf.function(input_signature=[tf.TensorSpec([], tf.string)])
def upright(data):
    header = encoded_header.read_header(data)
    return encoded_header.turn_upright(graph_reading.decode_radiograph(data), header["orientation"])


@tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
def reasons_of(files):
    return check_files(files, 16, "pad", None)["reason"]


@pytest.mark.parametrize("name", every_file())
def test_the_graph_agrees_with_numpy(name):
    data = every_file()[name]
    try:
        expected = read_radiograph(data)
    except RadiographError as error:
        code = reasons_of(tf.constant([data])).numpy()[0]
        assert TEXTS[code] == error.reason.partition(" (")[0]
        return
    found = upright(tf.constant(data)).numpy()[..., 0]
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, atol=JPEG_STEP if "jpeg" in name else 0.01)


@pytest.mark.parametrize("name", [name for name in every_png() if "16 bits" not in name])
def test_png_files_agree_with_pillow(name):
    data = every_png()[name]
    with Image.open(io.BytesIO(data)) as image:
        if "grey" in name and "tRNS" in name and " 8 " not in name:
            pytest.skip("Pillow compares the transparent value with spread samples")
        rgba = np.asarray(image.convert("RGBA"), np.float64)
    expected = rgba[..., :3] @ [0.299, 0.587, 0.114] * rgba[..., 3] / 255
    np.testing.assert_allclose(read_radiograph(data), expected, atol=1e-3)


@pytest.mark.parametrize("depth", [1, 2, 4])
def test_a_transparent_value_of_few_bits_is_black(depth):
    with_key = read_radiograph(every_png()[f"grey {depth} bits tRNS"])
    key = with_key[5, 5]
    assert key == 0
    levels = np.unique(with_key)
    assert 0 < len(levels) <= 2**depth
    assert np.all(levels * (2**depth - 1) % 255 == 0)


def test_inks_are_read_the_same_with_and_without_adobes_marker():
    files = every_jpeg()
    marked, bare = (read_radiograph(files[f"jpeg CMYK{word}"]) for word in ("", " without Adobe"))
    np.testing.assert_array_equal(marked, bare)
    inks = smooth((64, 48, 4), 2).astype(np.float64)
    expected = (255 - inks[..., :3]) @ [0.299, 0.587, 0.114] * (255 - inks[..., 3]) / 255
    assert np.abs(marked - expected).mean() < 2


def test_nothing_but_the_film_sets_the_range_of_sixteen_bits():
    found = {name: read_radiograph(data) for name, data in spoiled_sixteen_bits().items()}
    sound = found["16 bits, sound"]
    assert (sound.min(), sound.max()) == (0, pytest.approx(255))
    marked = found["16 bits, marker"]
    np.testing.assert_allclose(marked[6:], sound[6:], atol=2)
    assert marked[:6, :20].min() == pytest.approx(255)
    np.testing.assert_allclose(found["16 bits, colour, marker"], marked, atol=0.02)
    assert np.count_nonzero(abs(found["16 bits, hot pixels"] - sound) > 0.01) == 3
    padded = found["16 bits, offset and padding"]
    np.testing.assert_allclose(padded[40:-40, 40:-40], sound, atol=0.02)
    assert padded[:40].max() == 0


@pytest.mark.parametrize("name", burdened_files())
def test_other_pieces_do_not_touch_the_pixels(name):
    found = read_radiograph(burdened_files()[name])
    if "palette" in name:
        # Luma of (0, 1, 2) and (3, 4, 5); the palette has no third and fourth colour.
        np.testing.assert_allclose(np.unique(found), [0, 0.815, 3.815], atol=1e-3)
    elif "jpeg" in name:
        assert np.abs(found - smooth((64, 48))).mean() < 1
    elif "behind" in name and "eXIf" in name:
        np.testing.assert_array_equal(found, np.rot90(smooth((37, 53)), -1))
    else:
        np.testing.assert_array_equal(found, smooth((37, 53)))
