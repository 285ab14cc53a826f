import numpy as np
import pytest
from bone_age_datasets.hand_phantom import truth

from bone_age_tf import schema
from bone_age_tf.errors import AnnotationError
from bone_age_tf.images import resizing
from bone_age_tf.regions import boxes as region_boxes
from bone_age_tf.regions.boxes import moved
from bone_age_tf.regions.views import moved_boxes

ANNOTATION = """<annotation><size><width>200</width><height>400</height></size>
<object><name>Wrist</name><bndbox><xmin>50</xmin><ymin>300</ymin><xmax>150</xmax><ymax>380</ymax>
</bndbox></object>
<object><name>MCP</name><bndbox><xmin>20</xmin><ymin>200</ymin><xmax>40</xmax><ymax>240</ymax>
</bndbox></object></annotation>"""


def test_regions_have_the_order_of_the_phantoms():
    assert schema.REGIONS == truth.REGIONS


def test_annotations_are_fractions_of_the_size_that_they_state(tmp_path):
    path = tmp_path / "7.xml"
    path.write_text(ANNOTATION)
    found = region_boxes.read_annotation(path)
    assert set(found) == {"wrist", "mcp"}
    np.testing.assert_allclose(found["wrist"], [[0.75, 0.25, 0.95, 0.75]])


@pytest.mark.parametrize("text", ["", "<annotation/>", ANNOTATION.replace("<xmin>50", "<xmin>x")])
def test_a_file_that_is_no_annotation_is_named(tmp_path, text):
    path = tmp_path / "7.xml"
    path.write_text(text)
    with pytest.raises(AnnotationError, match=r"7\.xml: not a Pascal VOC"):
        region_boxes.read_annotation(path)


def shuffled_hand(turn_degrees):
    """A made-up left hand that leans, its boxes in no order, and the right answer."""
    joints = {
        f"{joint}{ray}": (0.35 + 0.12 * (3 - ray), {"MCP": 0.5, "PIP": 0.35, "DIP": 0.2}[joint])
        for joint, rays in region_boxes.RAYS.items()
        for ray in rays
    }
    joints |= {"wrist": (0.35, 0.75), "radius": (0.42, 0.85), "ulna": (0.28, 0.85)}
    angle = np.radians(turn_degrees)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    places = {name: turn @ (np.array(xy) - 0.5) + 0.5 for name, xy in joints.items()}
    boxes = {
        name: np.array([y - 0.02, x - 0.02, y + 0.02, x + 0.02]) for name, (x, y) in places.items()
    }
    by_class = {}
    for name in sorted(boxes, key=lambda name: (len(name), name)):
        by_class.setdefault(name.rstrip("12345").lower(), []).append(boxes[name])
    return boxes, {name: np.array(some) for name, some in by_class.items()}


@pytest.mark.parametrize("turn_degrees", [-40, 0, 40])
def test_fingers_are_told_apart_however_the_hand_leans(turn_degrees):
    boxes, by_class = shuffled_hand(turn_degrees)
    found = region_boxes.named_regions(by_class)
    for name, box in boxes.items():
        np.testing.assert_allclose(found[schema.REGIONS.index(name)], box, atol=1e-6, err_msg=name)


@pytest.mark.parametrize("turn_degrees", [-40, 0, 40])
def test_fingers_of_a_right_hand_have_their_own_names(turn_degrees):
    boxes, by_class = shuffled_hand(turn_degrees)
    right = {name: region_boxes.mirrored_boxes(some) for name, some in by_class.items()}
    found = region_boxes.named_regions(right)
    assert region_boxes.shows_right_hand(found)
    assert not region_boxes.shows_right_hand(region_boxes.mirrored_boxes(found))
    for name, box in boxes.items():
        expected = region_boxes.mirrored_boxes(box)
        np.testing.assert_allclose(found[schema.REGIONS.index(name)], expected, atol=1e-6)


def test_where_one_is_missing_no_finger_is_guessed():
    _, by_class = shuffled_hand(0)
    by_class["dip"] = by_class["dip"][:3]
    found = region_boxes.named_regions(by_class)
    assert np.isnan(found[:4]).all()
    assert np.isfinite(found[4:]).all()


def test_the_same_ids_are_held_out_whatever_their_order():
    ids = [str(number) for number in range(4200, 4440)]
    out = region_boxes.held_out(ids)
    assert len(out) == 48
    assert out == region_boxes.held_out(reversed(ids))
    assert max(out) > "4400"


def test_phantoms_bring_their_boxes(phantoms):
    found = region_boxes.read_phantoms(phantoms, "test", 64, most=4)
    assert found.images.shape == (4, 64, 64)
    assert found.boxes.shape == (4, 17, 4)
    row = next(iter(phantoms.as_dataset(split="test").as_numpy_iterator()))
    np.testing.assert_array_equal(found.images[0], row["image"][..., 0])
    seen = truth.has_area(row["regions"]["bbox"])
    np.testing.assert_allclose(found.boxes[0][seen], row["regions"]["bbox"][seen])
    assert np.isnan(found.boxes[0][~seen]).all()


def test_padded_phantoms_are_left_hands_with_bright_bones(phantoms):
    """A right hand is mirrored with its boxes; all have the aspect ratio of a radiograph."""
    stretched = region_boxes.read_phantoms(phantoms, "train", 64)
    padded = region_boxes.read_phantoms(phantoms, "train", 64, resize="pad")
    assert any(region_boxes.shows_right_hand(boxes) for boxes in stretched.boxes)
    assert not any(region_boxes.shows_right_hand(boxes) for boxes in padded.boxes)
    width = round(64 * schema.RADIOGRAPH_ASPECT)
    margin = (64 - width) // 2
    assert (padded.images[:, :, :margin] == 0).all()
    assert (padded.images[:, :, margin + 1 : margin + width - 1].max(axis=(1, 2)) > 60).all()
    for before, after in zip(stretched.boxes, padded.boxes, strict=True):
        seen = np.isfinite(before[:, 0])
        heights = [boxes[seen, 2] - boxes[seen, 0] for boxes in (before, after)]
        np.testing.assert_allclose(*heights, atol=1e-6)
        wide = (after[seen, 3] - after[seen, 1]) / (before[seen, 3] - before[seen, 1])
        np.testing.assert_allclose(wide, width / 64, atol=1e-4)


def test_boxes_move_with_the_image():
    """A white square is found where its box is said to be."""
    image = np.zeros((100, 100), np.float32)
    image[30:50, 60:80] = 255
    matrix = np.array([[0.8, 0.1, 5.0], [-0.1, 1.1, -3.0]])
    (box,) = moved_boxes(np.array([[30.0, 60.0, 50.0, 80.0]]), matrix)
    lit = np.argwhere(moved(image, matrix, 0.0) > 127)
    centre = (box[:2] + box[2:]) / 2
    np.testing.assert_allclose(lit.mean(axis=0) + 0.5, centre, atol=1.0)
    sides = lit.max(axis=0) - lit.min(axis=0) + 1
    assert (np.abs(sides - (box[2:] - box[:2])) < 4).all()


def test_padding_moves_boxes_with_the_image():
    image = np.zeros((40, 20), np.float32)
    image[10:20, 5:15] = 200
    box = np.array([[10 / 40, 5 / 20, 20 / 40, 15 / 20]], np.float32)
    square = resizing.resize(image, 40, "pad")
    top, left, bottom, right = (40 * region_boxes.padded_boxes(box, *image.shape)[0]).astype(int)
    assert (square[top:bottom, left:right] == 200).all()
    assert square.sum() == 200 * (bottom - top) * (right - left)


def test_annotations_without_their_images_are_refused(phantoms, tmp_path):
    with pytest.raises(AnnotationError, match=r"no Pascal VOC file"):
        region_boxes.read_annotated(phantoms, tmp_path, 64)
    _, by_class = shuffled_hand(0)
    things = "".join(
        f"<object><name>{name}</name><bndbox>"
        + "".join(
            f"<{end}>{1000 * value}</{end}>"
            for end, value in zip(region_boxes.ENDS, box, strict=True)
        )
        + "</bndbox></object>"
        for name, some in by_class.items()
        for box in some
    )
    size = "<size><width>1000</width><height>1000</height></size>"
    (tmp_path / "9.xml").write_text(f"<annotation>{size}{things}</annotation>")
    with pytest.raises(AnnotationError, match=r"no file there is named after"):
        region_boxes.read_annotated(phantoms, tmp_path, 64)


def test_rare_ages_are_drawn_more_often_than_they_are_there():
    names = [str(number) for number in range(17)]
    images = np.zeros((17, 4, 4), np.uint8)
    hands = region_boxes.RegionImages(names, images, np.zeros((17, 17, 4), np.float32))
    ages = dict.fromkeys(names[:16], 100.0) | {"16": 10.0}
    shares = hands.balanced(ages).shares
    assert shares.sum() == pytest.approx(1)
    assert shares[16] == pytest.approx(4 * shares[0])  # the root of 16
    assert hands.shares is None
