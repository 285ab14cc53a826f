import io

import numpy as np
import pytest
from PIL import Image

from bone_age_tf.data import pack, packing, pipeline
from bone_age_tf.data.packed import PackedData
from bone_age_tf.errors import ConfigError
from bone_age_tf.images import reading, resizing

PARTS = {"train": pipeline.Part("train"), "validation": pipeline.Part("validation")}


def drawn(size=(40, 30), seed=0):
    """Bytes of a PNG file of smooth random greys."""
    small = np.random.default_rng(seed).integers(0, 255, (5, 4), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(small).resize(size[::-1], Image.Resampling.BICUBIC).save(file, "PNG")
    return file.getvalue()


def example(image_id="a", part="train", **changes):
    fields = {"sex": 0, "age_months": 90.5, "image": drawn()} | changes
    return pack.Example(image_id, part, **fields)


@pytest.mark.parametrize("part_bytes", [0, 700])
def test_what_comes_out_is_what_went_in(tmp_path, part_bytes):
    boxes = np.random.default_rng(0).random((17, 4)).astype(np.float32)
    rows = [
        example("1377", sex=1, image=drawn(seed=1)),
        example("Ä 2", "validation", boxes=boxes, age_months=12.25, image=drawn(seed=2)),
        example("1377", "test", image=drawn((90, 20), seed=3)),
    ]
    written = pack.make_pack(rows, {"dataset": "made up"})
    path = tmp_path / "some.npz"
    pack.write_pack(path, written, part_bytes)
    files = sorted(file.name for file in tmp_path.iterdir())
    assert files[0] == ("some.npz.000" if part_bytes else "some.npz")
    assert all(file.stat().st_size <= (part_bytes or 10**9) for file in tmp_path.iterdir())
    read = pack.read_pack(path)
    assert read.digest == written.digest
    assert read.facts["dataset"] == "made up"
    assert read.image_id == ("1377", "Ä 2", "1377")
    for place, row in enumerate(rows):
        assert read.encoded(place) == row.image
        assert pack.PARTS[read.part[place]] == row.part
        assert read.sex[place] == row.sex
        assert read.age_months[place] == np.float32(row.age_months)
    np.testing.assert_array_equal(read.boxes[1], boxes)
    assert np.isnan(read.boxes[0]).all()
    images = read.images([0, 2], 32, "pad")
    for image, row in zip(images, (rows[0], rows[2]), strict=True):
        wanted = resizing.resize(reading.read_radiograph(row.image), 32)
        np.testing.assert_array_equal(image, resizing.to_uint8(wanted))


def test_smaller_packs_leave_no_parts_of_larger_ones(tmp_path):
    path = tmp_path / "some.npz"
    pack.write_pack(path, pack.make_pack([example(str(n)) for n in range(9)]), 500)
    small = pack.make_pack([example()])
    pack.write_pack(path, small, 2000)
    assert pack.read_pack(path).digest == small.digest
    pack.write_pack(path, small)
    assert [file.name for file in tmp_path.iterdir()] == ["some.npz"]


def test_a_prepared_dataset_is_packed_with_its_boxes(phantoms):
    rows = list(packing.examples(phantoms, PARTS))
    assert len(rows) == packing.count(phantoms, PARTS) == 64
    made = pack.make_pack(rows)
    table = pipeline.read_table(phantoms, PARTS["validation"])
    places = made.places("validation")
    assert [made.image_id[place] for place in places] == table.image_id
    np.testing.assert_array_equal(made.age_months[places], table.age_months)
    np.testing.assert_array_equal(made.sex[places], table.sex)
    pixels = pipeline.read_images(phantoms, PARTS["validation"], 32, "pad")
    assert np.abs(made.images(places, 32, "pad").astype(int) - pixels).max() <= 1
    known = made.boxes[~np.isnan(made.boxes)]
    assert known.size > 0.9 * made.boxes.size
    assert known.min() >= 0 and known.max() <= 1


def test_images_are_encoded_anew():
    data = drawn((200, 100))
    jpeg = pack.encode_image(data, 80, 90)
    with Image.open(io.BytesIO(jpeg)) as image:
        assert (image.format, image.mode, image.size) == ("JPEG", "L", (40, 80))
    wanted = resizing.shrink(reading.read_radiograph(data), 80)
    assert np.abs(reading.read_radiograph(jpeg) - wanted).mean() < 3
    lossless = pack.encode_image(data, 0, 0)
    np.testing.assert_array_equal(reading.read_radiograph(lossless), reading.read_radiograph(data))


def test_what_cannot_be_packed_or_read_is_named(tmp_path):
    with pytest.raises(ConfigError, match="no image to pack"):
        pack.make_pack([])
    with pytest.raises(ConfigError, match="'a' is twice among the train images"):
        pack.make_pack([example(), example()])
    path = tmp_path / "some.npz"
    with pytest.raises(ConfigError, match=r"some\.npz: no such file, nor its first part"):
        pack.read_pack(path)
    path.write_bytes(b"no archive")
    with pytest.raises(ConfigError, match=r"some\.npz: not a pack"):
        pack.read_pack(path)
    made = pack.make_pack([example()])
    made.age_months[0] = 91
    pack.write_pack(path, made)
    with pytest.raises(ConfigError, match=r"some\.npz: damaged, its checksum differs"):
        pack.read_pack(path)


def test_batches_of_a_pack_follow_their_step_alone(tiny_config):
    made = pack.make_pack(
        [example(str(n), age_months=10 + n, image=drawn(seed=n)) for n in range(10)]
        + [example("v", "validation")]
    )
    tiny_config.batch_size = 4

    def batches(start):
        data = PackedData(made).training_batches(
            tiny_config, [(0, 16), (3, 32)], 5, start, lambda inputs, ages: (inputs, ages)
        )
        return [(inputs["image"].numpy(), ages.numpy()) for inputs, ages in data.take(5)]

    first, later = batches(0), batches(2)
    assert [image.shape[1] for image, _ in first] == [16, 16, 16, 32, 32]
    for (image, ages), (same_image, same_ages) in zip(first[2:], later, strict=False):
        np.testing.assert_array_equal(image, same_image)
        np.testing.assert_array_equal(ages, same_ages)
    seen = np.concatenate([ages[:, 0] for _, ages in first])
    for start in (0, 10):  # each pass shows each image once
        np.testing.assert_array_equal(np.sort(seen[start : start + 10]), np.arange(10, 20))
    assert not np.array_equal(seen[:10], seen[10:20])


def test_hands_are_packed_in_their_frame(phantoms):
    with pytest.raises(ConfigError, match="--pack_px=320"):
        next(packing.examples(phantoms, PARTS, resize="frame"))
    parts = {"validation": PARTS["validation"]}
    made = pack.make_pack(
        packing.examples(phantoms, parts, 64, resize="frame"), {"resize": "frame"}
    )
    found = made.images(made.places("validation"), 64, "frame")
    pixels = pipeline.read_images(phantoms, PARTS["validation"], 64, "frame")
    assert np.abs(found.astype(int) - pixels).max() <= 1
    assert np.isnan(made.boxes).all()
    with pytest.raises(ConfigError, match=r"hands in their frame.*--config\.resize=pad"):
        made.images(made.places("validation"), 64, "pad")
