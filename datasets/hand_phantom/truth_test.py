"""Tests of the truth: that it is what the outlines, the joints and the pixels say."""

import dataclasses

import cv2
import numpy as np
import pytest
from bone_age_datasets.hand_phantom import anatomy, film, ossification, radiograph, truth
from bone_age_datasets.hand_phantom.bones import Bone, Fill

from bone_age_tf import schema

FEMALE, MALE = schema.FEMALE, schema.MALE
TABLE = ossification.timetable(MALE)
EPIPHYSES = [name for name in truth.BONES if TABLE[name].kind == "epiphysis"]
AGES = range(1, 241, 6)


def child_of(seed, sex=MALE):
    return anatomy.sample_child(sex, np.random.default_rng(seed))


def take(seed, age=100.0, sex=MALE, size_px=64):
    return radiograph.take_radiograph(age, sex, np.random.default_rng(seed), size_px)


def middles(boxes):
    return 0.5 * (boxes[:, :2] + boxes[:, 2:])[:, ::-1]


def contains(box, points, slack=1e-6):
    ymin, xmin, ymax, xmax = box
    low, high = np.array([xmin, ymin]) - slack, np.array([xmax, ymax]) + slack
    return ((points >= low) & (points <= high)).all()


def test_names_are_those_of_the_table_and_the_joints():
    assert set(truth.BONES) == set(TABLE) == set(ossification.timetable(FEMALE))
    assert len(truth.BONES) == len(set(truth.BONES)) == 30
    assert set(truth.CARPALS) == {name for name in TABLE if TABLE[name].kind == "carpal"}
    assert len(truth.REGIONS) == len(set(truth.REGIONS)) == 17
    assert len(truth.LANDMARKS) == sum(map(len, anatomy.grow_hand(90, child_of(0)).joints)) + 2
    assert set(truth.REGIONS) - {"wrist"} <= set(truth.LANDMARKS)


def test_maturity_is_that_of_the_centres():
    hand = anatomy.grow_hand(70.0, child_of(1))
    maturity = truth.bone_maturity(hand)
    for name, present, ratio, fused in zip(truth.BONES, *maturity, strict=True):
        state = hand.maturities[name]
        assert present == state.present == (ratio > 0)
        assert fused == pytest.approx(state.fusion)
        if present and name not in EPIPHYSES:
            assert ratio == pytest.approx(state.size)
    assert maturity.present.any() and not maturity.present.all()
    assert [part.dtype for part in maturity] == [bool, np.float32, np.float32]


def test_width_ratio_is_measured_on_the_outlines():
    turn = np.array([[np.cos(0.4), np.sin(0.4)], [-np.sin(0.4), np.cos(0.4)]])

    def rectangle(low, high, half_width):
        corners = [(-half_width, low), (half_width, low), (half_width, high), (-half_width, high)]
        return np.array(corners) @ turn + [30.0, -7.0]

    for half_width, ratio in ((3.0, 0.6), (5.0, 1.0), (5.4, 1.0)):
        fills = (
            Fill("shaft", rectangle(1.0, 40.0, 5.0), 1.0),
            Fill("epiphysis", rectangle(-6.0, -1.0, half_width), 1.0),
        )
        bone = Bone("PP2", fills, 1.0, plate_centre=np.array([30.0, -7.0]))
        hand = anatomy.grow_hand(120.0, child_of(0))
        hand = dataclasses.replace(hand, bones={**hand.bones, "PP2": bone})
        measured = truth.bone_maturity(hand).width_ratio[truth.BONES.index("PP2")]
        assert measured == pytest.approx(ratio, abs=1e-5)


@pytest.mark.parametrize("sex", [FEMALE, MALE])
@pytest.mark.parametrize("seed", range(3))
def test_maturity_never_goes_back_and_is_complete_in_the_end(sex, seed):
    child = child_of(seed, sex)
    states = [truth.bone_maturity(anatomy.grow_hand(float(age), child)) for age in AGES]
    for part in zip(*states, strict=True):
        assert (np.diff(np.stack(part).astype(np.float32), axis=0) >= -0.01).all()
    assert states[-1].present.all()
    assert (states[-1].width_ratio > 0.97).all()
    assert (states[0].width_ratio <= 0.5).all()
    has_plate = np.isin(truth.BONES, EPIPHYSES)
    np.testing.assert_array_equal(states[-1].fused, has_plate)


def test_an_epiphysis_is_a_fifth_as_wide_at_first_and_as_wide_at_full_width():
    child = dataclasses.replace(child_of(0), lateness={})
    for name in EPIPHYSES:
        index = truth.BONES.index(name)
        for age, ratio in ((TABLE[name].appearance, 0.2), (TABLE[name].full_size, 1.0)):
            maturity = truth.bone_maturity(anatomy.grow_hand(age, child))
            assert maturity.width_ratio[index] == pytest.approx(ratio, abs=0.04), name


def test_girls_are_ahead_of_boys():
    for age in (12, 24, 48, 96, 150, 180):
        girl, boy = (
            [truth.bone_maturity(anatomy.grow_hand(age, child_of(s, sex))) for s in range(5)]
            for sex in (FEMALE, MALE)
        )
        totals = [np.mean([state.width_ratio.sum() + state.fused.sum() for state in group])
                  for group in (girl, boy)]  # fmt: skip
        assert totals[0] > totals[1] + 0.5, age


@pytest.mark.parametrize("seed", range(6))
def test_regions_lie_about_their_joints(seed):
    age = 30.0 + 35.0 * seed
    taken = take(seed, age)
    boxes = truth.region_boxes(taken.hand, taken.matrix)
    places = truth.landmarks(taken.hand, taken.matrix)
    assert boxes.shape == (17, 4) and boxes.dtype == np.float32
    assert boxes.min() >= 0 and boxes.max() <= 1
    for name, box in zip(truth.REGIONS, boxes, strict=True):
        if name != "wrist":
            place = np.clip(places[truth.LANDMARKS.index(name)], 0, 1)
            assert contains(box, place), name
    for name in ("radius", "ulna"):
        epiphysis = taken.hand.bones[f"distal_{name}"].outline("epiphysis")
        if epiphysis is not None:
            middle = radiograph.to_film(epiphysis.mean(axis=0)[None], taken.matrix, 1) + 0.5
            assert contains(boxes[truth.REGIONS.index(name)], np.clip(middle, 0, 1)), name
    carpals, labels = truth.carpal_boxes(taken.hand, taken.matrix)
    assert len(carpals) == len(labels) > 0
    assert contains(boxes[truth.REGIONS.index("wrist")], middles(carpals))


def test_region_sizes_are_the_measured_means():
    hand = anatomy.grow_hand(100.0, child_of(2))
    matrix = np.array([[0.003, 0.0, 0.5], [0.0, -0.002, 0.6]])  # stretched
    boxes = truth.region_boxes(hand, matrix).astype(np.float64)
    heads = np.stack([joints[1] for joints in hand.joints]).mean(axis=0)
    length = np.linalg.norm(heads - hand.bones["distal_radius"].plate_centre)
    for name, width, height in (
        ("DIP4", 0.177, 0.214), ("PIP1", 0.198, 0.237), ("MCP3", 0.233, 0.278),
        ("radius", 0.411, 0.31), ("ulna", 0.266, 0.264), ("wrist", 0.817, 0.545),
    ):  # fmt: skip
        ymin, xmin, ymax, xmax = boxes[truth.REGIONS.index(name)]
        assert (xmax - xmin) / (0.003 * length) == pytest.approx(width, rel=1e-4), name
        assert (ymax - ymin) / (0.002 * length) == pytest.approx(height, rel=1e-4), name


def test_a_right_hand_is_the_mirror_image():
    hand = anatomy.grow_hand(110.0, child_of(3))
    left = dataclasses.replace(film.sample_film(np.random.default_rng(3)), right_hand=False)
    matrices = [
        film.film_matrix(f, 1.0) for f in (left, dataclasses.replace(left, right_hand=True))
    ]
    for boxes_of in (truth.region_boxes, lambda *given: truth.carpal_boxes(*given)[0]):
        here, there = (boxes_of(hand, matrix) for matrix in matrices)
        mirrored = np.stack([here[:, 0], 1 - here[:, 3], here[:, 2], 1 - here[:, 1]], axis=1)
        np.testing.assert_allclose(there, mirrored, atol=1e-6)
    here, there = (truth.landmarks(hand, matrix) for matrix in matrices)
    np.testing.assert_allclose(there, here * [-1, 1] + [1, 0], atol=1e-6)
    thumb, little = (truth.LANDMARKS.index(name) for name in ("TIP1", "TIP5"))
    assert here[thumb, 0] > here[little, 0] and there[thumb, 0] < there[little, 0]


def test_what_the_film_misses_keeps_its_place_but_has_no_box():
    hand = anatomy.grow_hand(110.0, child_of(4))
    matrix = np.array([[0.004, 0.0, 0.5], [0.0, -0.004, 0.2]])  # the fingers are above the image
    places = truth.landmarks(hand, matrix)
    tip, dip = truth.LANDMARKS.index("TIP3"), truth.LANDMARKS.index("DIP3")
    assert places[tip, 1] < places[dip, 1] < 0
    boxes = truth.region_boxes(hand, matrix)
    seen = dict(zip(truth.REGIONS, truth.has_area(boxes), strict=True))
    assert seen["wrist"] and seen["radius"] and not seen["DIP3"] and not seen["PIP3"]
    assert boxes.min() >= 0 and boxes.max() <= 1


def test_carpal_boxes_are_tight():
    taken = take(5, 75.0, FEMALE)
    boxes, labels = truth.carpal_boxes(taken.hand, taken.matrix)
    names = [truth.CARPALS[label] for label in labels]
    assert names == [name for name in truth.CARPALS if name in taken.hand.bones]
    assert 2 < len(names) < 8
    size = 1024
    for name, box in zip(names, boxes, strict=True):
        drawn = radiograph.bone_attenuation([taken.hand.bones[name]], taken.matrix, size)
        rows, columns = np.nonzero(drawn > 0.02)
        tight = [rows.min(), columns.min(), rows.max() + 1, columns.max() + 1]
        np.testing.assert_allclose(box * size, tight, atol=2.5)


def contrast(image, place, matrix, radius):
    """How much brighter a place is than a ring about it, in SDs of the image."""
    size = image.shape[0]
    x, y = radiograph.to_film(place[None], matrix, size)[0]
    rows, columns = np.mgrid[:size, :size]
    distance = np.hypot(rows - y, columns - x)
    spot, ring = distance < max(0.5 * radius, 1.0), abs(distance - 1.5 * radius - 1.0) < 1.0
    return float(image[spot].mean() - np.median(image[ring])) / image.std()


@pytest.mark.parametrize("name", ["scaphoid", "lunate", "trapezium", "MP5", "DP2", "distal_ulna"])
def test_a_bone_that_is_absent_leaves_no_bright_spot(name):
    changes = []
    for seed in range(5):
        child = child_of(seed)
        first = next(
            age for age in range(1, 240)
            if ossification.mature_centres(age, MALE, child.lateness)[name].present
        )  # fmt: skip
        before, after = (take(seed, age, size_px=256) for age in (first - 2, first + 15))
        index = truth.BONES.index(name)
        present = [truth.bone_maturity(taken.hand).present[index] for taken in (before, after)]
        assert present == [False, True]
        bone = after.hand.bones[name]
        outline = next(o for o in map(bone.outline, ("epiphysis", "whole")) if o is not None)
        linear = after.matrix[:, :2]
        radius = 256 * np.sqrt(abs(np.linalg.det(linear))) * 0.5 * np.ptp(outline, axis=0).min()
        sign = -1.0 if after.film.inverted else 1.0
        changes.append([
            sign * contrast(taken.image.astype(float), outline.mean(axis=0), taken.matrix, radius)
            for taken in (before, after)
        ])  # fmt: skip
    absent, present = np.mean(changes, axis=0)
    assert absent < 0.1
    assert present > absent + 0.1


def test_the_mask_covers_the_bones_that_were_exposed():
    for seed in range(6):
        taken = take(seed, 20.0 + 35.0 * seed, size_px=128)
        drawn = radiograph.bone_attenuation(list(taken.hand.bones.values()), taken.matrix, 128)
        bone = (drawn > 0.3) & (film.field_mask(taken.film, 128) == 255)
        inside = taken.foreground == 255
        assert set(np.unique(taken.foreground)) == {0, 255}
        assert inside[bone].mean() > 0.99
        assert 0.1 < inside.mean() < 0.7
        kernel = np.ones((3, 3), np.uint8)
        around = cv2.dilate(taken.foreground, kernel, iterations=2) == 255
        places = truth.landmarks(taken.hand, taken.matrix)
        pixels = np.floor(places * 128).astype(int)
        exposed = film.field_mask(taken.film, 128)
        for x, y in pixels:
            if 0 <= x < 128 and 0 <= y < 128 and exposed[y, x] == 255:
                assert around[y, x]
