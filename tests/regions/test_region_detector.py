"""The region detector that comes with the project, and what becomes of a broken one."""

import json
import re
import shutil
import zipfile
from pathlib import PurePosixPath

import numpy as np
import pytest

from bone_age_tf import schema
from bone_age_tf.bundle import Bundle, load_region_detector
from bone_age_tf.errors import ModelError
from bone_age_tf.prepare import prepare_dataset
from bone_age_tf.regions import boxes as region_boxes
from bone_age_tf.regions import frame, proportions
from bone_age_tf.regions.detector import RegionDetector
from bone_age_tf.regions.figures import measure_detection

BOXES = "ossification_roi"
RSNA = "rsna_bone_age_299px/boneage-training-dataset.zip"


@pytest.fixture(scope="module")
def folder(root):
    return root / "exports" / schema.REGION_DETECTOR / "4"


@pytest.fixture(scope="module")
def detector(folder):
    return RegionDetector.load(folder)


def figures(detector, hands):
    found = [frame.find_regions(image.astype(np.float32), detector) for image in hands.images]
    boxes, scores = (
        np.stack([getattr(one, name) for one in found]) for name in ("boxes", "scores")
    )
    return measure_detection(boxes, scores, hands.boxes)


def test_it_fits_its_box_and_says_what_it_is(folder):
    assert (folder / "model_float16.tflite").stat().st_size <= 1.6e6
    assert sum(path.stat().st_size for path in folder.iterdir()) <= 3e6
    text = (folder / "metadata.json").read_text()
    assert "Not a medical device" in text
    assert not re.search(r'"/|\.\./', text)
    assert json.loads(text)["regions"] == list(schema.REGIONS)


def test_it_finds_the_regions_of_drawn_hands(detector, phantoms):
    found = figures(detector, region_boxes.read_phantoms(phantoms, "test", 192, resize="pad"))
    assert found.centre_error < 0.04
    assert found.by_group["wrist"] > 0.6


def test_boxes_are_fractions_whatever_the_size_of_the_image(detector, phantoms):
    image = region_boxes.read_phantoms(phantoms, "test", 128, most=1).images[0]
    small = detector.find(image.astype(np.float32))
    large = detector.find(np.kron(image, np.ones((3, 3))))
    np.testing.assert_allclose(small.boxes, large.boxes, atol=0.03)


@pytest.mark.parametrize("quarters", [1, 2, 3])
def test_it_finds_drawn_hands_that_are_turned(detector, phantoms, quarters):
    hands = region_boxes.read_phantoms(phantoms, "test", 192, resize="pad")
    turned = right = 0
    for image in hands.images.astype(np.float32):
        hand = frame.find_hand(image, detector)
        other = frame.find_hand(np.ascontiguousarray(np.rot90(image, quarters)), detector)
        if hand.is_certain:
            turned += 1
            view = frame.frame_view(hand.places, hand.mirrored)
            own = proportions.upright(hand.places, hand.mirrored)[1]
            expected = np.linalg.matrix_power(np.array([[0, 1], [-1, 0]]), quarters) @ own
            seen = proportions.upright(other.places, other.mirrored)[1]
            right += other.is_certain and float(seen @ expected) > 0.95
            assert np.linalg.det(view[:, :2]) != 0
    assert turned >= 12
    assert right >= 0.8 * turned


def test_boxes_on_a_radiograph_are_fractions_of_it(detector, phantoms):
    """The square and the same image without its black margins have the same boxes in pixels."""
    hands = region_boxes.read_phantoms(phantoms, "test", 192, most=1, resize="pad")
    image = hands.images[0].astype(np.float32)
    columns = np.flatnonzero(image.any(axis=0))
    left, right = columns[0], columns[-1] + 1
    whole = detector.find(image).boxes * 192
    cut = detector.find(image[:, left:right]).boxes * [192, right - left, 192, right - left]
    np.testing.assert_allclose(cut + np.array([0, left, 0, left]), whole, atol=3)


def test_it_finds_the_annotated_regions_of_held_out_radiographs(detector, root, tmp_path):
    hands = annotated(root.parent / "shared", tmp_path)
    out = region_boxes.held_out(hands.image_id)
    found = figures(detector, hands.chosen(np.array([name in out for name in hands.image_id])))
    assert found.images == region_boxes.HELD_OUT
    assert found.map_50 > 0.5
    assert min(found.by_group.values()) > 0.3
    assert found.centre_error < 0.04


def annotated(shared, folder):
    """Returns the annotated radiographs, taken out of the RSNA files as a folder of one's own."""
    boxes, archive = shared / BOXES, shared / RSNA
    if not (boxes.is_dir() and archive.is_file()):
        pytest.skip("the annotated radiographs are not here")
    wanted = {path.stem for path in boxes.glob("*.xml")}
    lines = ["image,sex,age_months"]
    with zipfile.ZipFile(archive) as files:
        for name in files.namelist():
            path = PurePosixPath(name)
            if path.suffix == ".jpg" and path.stem in wanted:
                (folder / path.name).write_bytes(files.read(name))
                lines.append(f"{path.name},female,120")  # neither is looked at
    (folder / "radiographs.csv").write_text("\n".join(lines))
    builder = prepare_dataset("radiograph_folder", folder / "data", folder)
    return region_boxes.read_annotated(builder, boxes, 192, resize="pad")


def test_it_is_no_model_to_predict_with(tmp_path, folder):
    shutil.copytree(folder, tmp_path / schema.REGION_DETECTOR / "1")
    with pytest.raises(ModelError, match="no exported model"):
        Bundle.find(None, tmp_path)
    assert load_region_detector(tmp_path) is not None
    assert load_region_detector(tmp_path / "nothing") is not None  # that of the package


def test_a_broken_one_is_named_with_the_remedy(tmp_path, folder):
    broken = tmp_path / schema.REGION_DETECTOR / "4"
    shutil.copytree(folder, broken)
    (broken / "model_float16.tflite").write_bytes(b"nothing")
    with pytest.raises(ModelError, match=r"region_detector.4: not a usable.*train_region_detector"):
        load_region_detector(tmp_path)
