"""Headers read by the graph against Pillow."""

import io

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from bone_age_tf.images import encoded_header, graph_reading, reading

PIXELS = np.add.outer(np.arange(30) * 5, np.arange(20) * 4).astype(np.uint8)


@tf.function(input_signature=[tf.TensorSpec([], tf.string)])
def upright(data):
    header = encoded_header.read_header(data)
    return encoded_header.turn_upright(graph_reading.decode_radiograph(data), header["orientation"])


@tf.function(input_signature=[tf.TensorSpec([], tf.string)])
def header_of(data):
    return encoded_header.read_header(data)


def encode(kind, endian="<", orientation=None, mode="L", **options):
    if orientation is not None:
        exif = Image.Exif()
        exif.endian = endian
        exif[0x010F], exif[0x0112] = "maker", orientation
        options["exif"] = exif.tobytes()
    file = io.BytesIO()
    Image.fromarray(PIXELS).convert(mode).save(file, kind, **options)
    return file.getvalue()


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
@pytest.mark.parametrize("endian", "<>")
def test_exif_orientation_is_followed(kind, endian):
    for orientation in range(10):
        data = encode(kind, endian, orientation)
        expected = reading.read_radiograph(data)
        found = upright(data).numpy()[..., 0]
        assert found.shape == expected.shape, orientation
        assert np.abs(found - expected).max() < 2.1, orientation


@pytest.mark.parametrize(
    ("data", "kind", "size"),
    [
        (encode("PNG"), encoded_header.GREY_PNG, (30, 20)),
        (encode("PNG", transparency=7), encoded_header.CLEAR_PNG, (30, 20)),
        (encode("PNG", mode="RGB"), encoded_header.PNG, (30, 20)),
        (encode("JPEG"), encoded_header.JPEG, (30, 20)),
        (encode("JPEG", progressive=True, orientation=3), encoded_header.JPEG, (30, 20)),
        (encode("BMP"), encoded_header.NO_IMAGE, (0, 0)),
        (b"", encoded_header.NO_IMAGE, (0, 0)),
        (b"\xff\xd8\xff" + b"\xff" * 9000, encoded_header.JPEG, (0, 0)),
    ],
)
def test_kind_and_size_come_before_decoding(data, kind, size):
    found = {name: value.numpy() for name, value in header_of(data).items()}
    assert found["kind"] == kind
    assert (found["height"], found["width"]) == size


def test_a_transparent_grey_is_black():
    data = encode("PNG", transparency=int(PIXELS[5, 5]))
    expected = reading.read_radiograph(data)
    np.testing.assert_allclose(upright(data)[..., 0], expected, atol=0.01)
    assert expected[5, 5] == 0


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_headers_of_damaged_files_never_raise(kind):
    rng, whole = np.random.default_rng(0), encode(kind, orientation=6)
    for _ in range(60):
        data = bytearray(whole[: rng.integers(3, len(whole))])
        for place in rng.integers(3, len(data), size=6) if len(data) > 3 else []:
            data[place] = rng.integers(256)
        assert 1 <= header_of(bytes(data))["orientation"].numpy() <= 8
