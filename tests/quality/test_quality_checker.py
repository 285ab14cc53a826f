import csv
import json
import shutil

import numpy as np
import pytest
from PIL import Image

from bone_age_tf.bundle import load_quality_checker
from bone_age_tf.errors import ModelError
from bone_age_tf.quality.checker import (
    QualityChecker,
    corrected,
    has_dark_rim,
    is_too_small,
    likely_pose,
)
from bone_age_tf.quality.samples import posed
from bone_age_tf.reasons import LEAST_LEVELS, POSE_CORRECTIONS
from command_words import predict

SIZE = 16


@pytest.fixture(scope="module")
def checked_exports(exports, tmp_path_factory):
    """The exports and a film check that knows pictures of quarters of grey.

    A hand has its brightest quarter at the upper left. Each pose moves it, inversion darkens it;
    pictures whose lower half is black are cut, and those of stripes are something else.
    """
    import keras
    import tensorflow as tf
    from keras import ops

    image = keras.Input((SIZE, SIZE, 1), name="image")
    grid = keras.layers.AveragePooling2D(SIZE // 4)(image)  # 4 x 4
    flat = keras.layers.Flatten()(grid) / 255.0
    patterns = np.stack([posed(corner(), pose).ravel() for pose in range(8)])
    both = np.concatenate([patterns, 1 - patterns]).astype("float32")
    distance = ops.sum(ops.square(flat[:, None, :] - both), axis=2)
    likely = ops.softmax(-40 * distance)
    pose = likely[:, :8] + likely[:, 8:]
    inverted = ops.sum(likely[:, 8:], axis=1, keepdims=True)
    near = ops.cast(ops.min(distance, axis=1, keepdims=True) < 0.2, "float32")
    dark = ops.cast(ops.max(grid[:, 2:], axis=(1, 2, 3))[:, None] < 20, "float32") * (1 - near)
    zero = ops.zeros_like(near)
    kind = ops.concatenate([near, dark, zero, 1 - near - dark], axis=1)
    model = keras.Model(image, {"film_kind": kind, "film_pose": pose, "film_inverted": inverted})
    root = tmp_path_factory.mktemp("checked")
    shutil.copytree(exports, root, dirs_exist_ok=True)
    folder = root / "film_check" / "1"
    folder.mkdir(parents=True)
    archive = keras.export.ExportArchive()
    archive.track(model)
    signature = [tf.TensorSpec((1, SIZE, SIZE, 1), tf.float32, name="image")]
    archive.add_endpoint("serving_default", lambda image: model(image), signature)
    saved = str(tmp_path_factory.mktemp("saved"))
    archive.write_out(saved, verbose=False)
    converter = tf.lite.TFLiteConverter.from_saved_model(saved, signature_keys=["serving_default"])
    (folder / "model_float32.tflite").write_bytes(converter.convert())
    content = {"size_px": SIZE, "hand_threshold": 0.5, "files": {"float32": "model_float32.tflite"}}
    (folder / "metadata.json").write_text(json.dumps(content))
    return root


def corner():
    """4 x 4 greys of 0 to 1 that differ in all poses."""
    greys = np.full((4, 4), 0.2, np.float32)
    greys[0, 0], greys[0, 1] = 1.0, 0.6
    return greys


def grain(side, most=20):
    """Greys [side, side] of -`most` to `most`: films are of many levels, and margins of few."""
    return np.random.default_rng(0).integers(-most, most + 1, (side, side)).astype(np.float32)


def film(pose=0, inverted=False, side=80):
    picture = 255 * np.kron(corner(), np.ones((side // 4, side // 4), np.float32))
    picture = posed(np.clip(picture + grain(side), 0, 255), pose)
    return 255 - picture if inverted else picture


@pytest.fixture
def checker(checked_exports):
    return load_quality_checker(checked_exports)


@pytest.mark.parametrize("inverted", [False, True])
@pytest.mark.parametrize("pose", range(8))
def test_every_pose_is_put_right_and_said(checker, pose, inverted):
    found = checker.check(film(pose, inverted))
    np.testing.assert_allclose(found.image, film(), atol=1e-3)
    assert (POSE_CORRECTIONS[pose] in found.corrections) == (pose > 0)
    assert ("inverted" in found.reason) == inverted
    assert bool(found.reason) == (pose > 0 or inverted)


@pytest.mark.parametrize(
    ("side", "whole", "expected"),
    [
        (64, 64, False),
        (63, 63, True),
        (48, 64, False),
        (47, 64, True),
        (64, 2000, False),
        (63, 2000, True),
        (62, 80, False),
    ],
)
def test_a_film_of_the_least_size_may_lose_thin_margins(side, whole, expected):
    assert is_too_small(side, whole) == expected


@pytest.mark.parametrize(
    ("poses", "expected"),
    [
        ([0.1, 0.4, 0, 0, 0, 0.5, 0, 0], 1),  # surely turned, perhaps mirrored
        ([0.02, 0.03, 0, 0, 0.05, 0.9, 0, 0], 5),
        ([0.05, 0, 0, 0, 0.91, 0.02, 0.01, 0.01], 4),
        ([0.2, 0, 0, 0, 0.8, 0, 0, 0], 0),
        ([0.3, 0.3, 0.2, 0.2, 0, 0, 0, 0], 0),
        ([0.02, 0, 0, 0, 0.3, 0.3, 0.2, 0.18], 4),  # surely mirrored, unclear how turned
    ],
)
def test_turns_and_mirrorings_are_judged_apart(poses, expected):
    assert likely_pose(np.array(poses)) == expected


@pytest.mark.parametrize("inverted", [False, True])
@pytest.mark.parametrize("pose", range(8))
def test_putting_right_undoes_a_pose(pose, inverted):
    image = np.random.default_rng(0).uniform(0, 255, (5, 8)).astype(np.float32)
    lying = posed(255 - image if inverted else image, pose)
    np.testing.assert_allclose(corrected(lying, pose, inverted), image, atol=1e-3)


@pytest.mark.parametrize(
    ("image", "reason"),
    [
        (abs(np.tile([0.0, 255.0], (80, 40)) - abs(grain(80))), "not a radiograph of a hand"),
        (np.vstack([film()[:40], 8 + grain(80, 8)[:40]]), "incomplete hand"),
        (np.vstack([film()[:40], np.zeros((40, 80))]), "80 x 40 px without its margins"),
        (np.vstack([film()[:40], np.full((40, 80), 99)]), "80 x 40 px without its margins"),
        (np.rint((grain(80, 127) + 127) / 51) * 51, "too few grey levels"),
        (np.full((80, 80), 90.0), "blank"),
        (film(side=60), "too small: 60 x 60 px; the shorter side needs 64 or more"),
    ],
)
def test_what_is_no_whole_hand_is_refused(checker, image, reason):
    found = checker.check(image.astype(np.float32))
    assert found.image is None
    assert reason in found.reason


def test_a_table_says_what_was_refused_and_put_right(checked_exports, tmp_path, capsys):
    films = {
        "plain": film(),
        "turned": film(3, True),
        "blank": np.full((80, 80), 90.0),
    }
    for name, image in films.items():
        Image.fromarray(image.astype(np.uint8)).save(tmp_path / f"{name}.png")
    (tmp_path / "empty.png").touch()
    lines = [f"{name}.png,f" for name in (*films, "empty")]
    (tmp_path / "cases.csv").write_text("image,sex\n" + "\n".join(lines) + "\n")
    output = tmp_path / "out.csv"
    arguments = (tmp_path / "cases.csv", None, checked_exports, "bins", "float32", output)
    assert predict(*arguments) == 1
    printed = capsys.readouterr().out
    assert "4 images: 2 predicted, 1 failed, 1 rejected" in printed
    assert "blank.png: rejected: blank" in printed
    assert "not checked" not in printed
    with output.open() as file:
        rows = {row["image"]: row for row in csv.DictReader(file)}
    assert [rows[f"{name}.png"]["status"] for name in films] == ["ok", "ok", "rejected"]
    assert rows["empty.png"]["status"] == "failed"
    assert (
        rows["turned.png"]["reason"]
        == "corrected: rotated 90° counterclockwise, grey levels inverted"
    )
    assert rows["turned.png"]["bone_age_months"] == rows["plain.png"]["bone_age_months"]
    assert rows["blank.png"]["bone_age_months"] == ""
    assert predict(*arguments, quality_check=False) == 1
    printed = capsys.readouterr().out
    assert "3 predicted, 1 failed, 0 rejected" in printed
    assert "Radiographs were not checked: --noquality_check" in printed


def test_one_image_that_was_put_right_says_so(checked_exports, tmp_path, capsys):
    Image.fromarray(film(4).astype(np.uint8)).save(tmp_path / "a.png")
    assert predict(tmp_path / "a.png", None, checked_exports, "bins") == 0
    printed = capsys.readouterr().out.splitlines()
    assert all(line.endswith("; corrected: mirrored horizontally") for line in printed[:2])


def test_a_spoilt_check_is_named(checked_exports, tmp_path, capsys):
    folder = shutil.copytree(checked_exports / "film_check" / "1", tmp_path / "film_check" / "1")
    (folder / "model_float32.tflite").write_bytes(b"x")
    with pytest.raises(
        ModelError, match=r"not a usable quality check .* --mode=train_quality_check"
    ):
        QualityChecker.load(folder)
    (folder / "metadata.json").write_text("{}")
    with pytest.raises(ModelError, match="KeyError: 'files'"):
        QualityChecker.load(folder)


@pytest.mark.parametrize("levels", [LEAST_LEVELS - 1, LEAST_LEVELS])
def test_a_film_of_fewer_levels_than_needed_is_refused(checker, levels):
    step = 255 / (levels - 1)
    few = np.rint(np.linspace(0, levels - 1, 80 * 80)).reshape(80, 80) * step
    reason = checker.check(few.astype(np.float32)).reason
    assert ("too few grey levels" in reason) == (levels < LEAST_LEVELS)


def test_stray_pixels_and_a_marker_are_no_levels(checker):
    few = (np.rint(film() / 51) * 51).astype(np.float32)
    few[2:6, 2:60:7] = np.arange(20, 56, 1).reshape(4, 9)  # one pixel each, of many levels
    few[70:78, 60:78] = 250
    assert "too few grey levels" in checker.check(few).reason


def test_a_dark_film_of_many_levels_is_read(checker):
    dark = np.rint(film() / 255 * 40).astype(np.float32)
    assert "too few grey levels" not in checker.check(dark).reason


@pytest.mark.parametrize("grey", [0, 5, 60, 128, 255])
def test_wide_margins_are_cut_off_and_reported(checker, grey):
    found = checker.check(np.pad(film(2), 40, constant_values=grey))
    np.testing.assert_array_equal(found.image, film())
    assert found.reason == "corrected: rotated 180°, wide margins cropped"
    narrow = checker.check(np.pad(film(), 4, constant_values=grey))
    np.testing.assert_array_equal(narrow.image, film())
    assert narrow.reason == ""


def disc(rim, inside, around):
    """A disc with a shaded rim on a background of one grey, as a hand's outline is."""
    y, x = np.mgrid[-1:1:100j, -1:1:100j]
    depth = np.clip((0.8 - np.hypot(x, y)) / 0.2, 0, 1)
    return np.where(depth > 0, rim + (inside - rim) * depth, around).astype(np.float32)


@pytest.mark.parametrize(
    ("rim", "inside", "around", "expected"),
    [
        (30, 160, 255, True),  # bright bones, the background painted white
        (30, 160, 200, True),
        (225, 95, 255, False),  # an inverted film
        (225, 95, 128, False),
        (30, 160, 0, False),  # not painted bright
    ],
)
def test_the_rim_of_a_hand_tells_an_inverted_film_from_a_painted_one(rim, inside, around, expected):
    assert has_dark_rim(disc(rim, inside, around)) == expected
    assert not has_dark_rim(np.full((80, 80), 255, np.float32))
