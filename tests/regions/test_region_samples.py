"""Samples for the region detector, from a drawn square at each joint of a made-up hand."""

import numpy as np
import pytest

from bone_age_tf import schema
from bone_age_tf.regions import proportions, samples
from bone_age_tf.regions.boxes import RegionImages
from made_up_hand import made_up_hand

SIDE = 192


@pytest.fixture(scope="module")
def hands():
    """Each region is a bright square on dark ground, so it must be bright where its box is."""
    places = made_up_hand() * 0.55 + [10, 0]
    image = np.full((SIDE, SIDE), 30, np.uint8)
    image[:, :20] = image[:, -20:] = 0
    boxes = np.zeros((17, 4), np.float32)
    for place, (x, y) in enumerate(places.round().astype(int)):
        image[y - 3 : y + 3, x - 3 : x + 3] = 255
        boxes[place] = np.array([y - 3, x - 3, y + 3, x + 3]) / SIDE
    return RegionImages(["drawn"], image[None], boxes[None])


def drawn(hands, count, seed=0, size_px=128):
    places = np.zeros(count, int)
    return samples.make_region_samples(hands, places, np.random.default_rng(seed), size_px)


def test_boxes_lie_on_what_they_are_about(hands):
    images, found = drawn(hands, 60)
    assert images.shape == (60, 128, 128, 1)
    assert images.dtype == found.dtype == np.float32
    ranks = []
    for film, truth in zip(images[..., 0], found, strict=True):
        is_there = np.isfinite(truth[:, 0]) & (truth[:, 4] == 1)
        for top, left, bottom, right in 128 * truth[is_there, :4]:
            y, x = int((top + bottom) / 2), int((left + right) / 2)
            if min(x, y) > 1 and max(x, y) < 126:
                near = film[y - 1 : y + 2, x - 1 : x + 2].max()
                ranks.append((film < near).mean())
    assert np.median(ranks) > 0.93


def test_the_same_seed_draws_the_same_samples(hands):
    first, again, other = drawn(hands, 4), drawn(hands, 4), drawn(hands, 4, seed=1)
    np.testing.assert_array_equal(first[0], again[0])
    np.testing.assert_array_equal(first[1], again[1])
    assert not np.array_equal(first[0], other[0])


def test_hands_lie_in_every_direction_and_size_and_some_are_mirrored(hands):
    random = np.random.default_rng(0)
    views = np.stack([samples.draw_view(hands.boxes[0], random) for _ in range(600)])
    sides = np.linalg.det(views[:, :, :2])
    assert (sides < 0).mean() == pytest.approx(samples.MIRRORED_SHARE, abs=0.05)
    angles = np.degrees(np.arctan2(views[:, 1, 0], views[:, 0, 0]))[sides > 0]
    for low in range(-180, 180, 60):
        assert ((angles >= low) & (angles < low + 60)).mean() > 0.04
    sizes = np.sqrt(np.abs(sides))
    assert np.percentile(sizes, 95) > 2.5 * np.percentile(sizes, 5)


def test_a_right_hand_has_no_regions(hands, monkeypatch):
    monkeypatch.setattr(samples, "MIRRORED_SHARE", 1.0)
    assert np.isnan(drawn(hands, 5)[1][..., :4]).all()
    monkeypatch.setattr(samples, "MIRRORED_SHARE", 0.0)
    assert np.isfinite(drawn(hands, 5)[1]).mean() > 0.6


def test_a_hand_that_its_image_cuts_off_can_be_drawn(hands):
    boxes = hands.boxes.copy()
    boxes[0, [0, 4]] = np.nan
    _, found = drawn(RegionImages(["cut"], hands.images, boxes), 8)
    assert np.isnan(found[:, [0, 4], :4]).all()
    assert np.isfinite(found[..., :4]).any()


@pytest.mark.parametrize("digit", range(5))
def test_the_rest_of_a_shortened_digit_is_gone(hands, digit):
    """Its joints are squares of 255 on a ground of 30, which a missing one has around it, too."""
    joints, image = list(proportions.DIGIT_JOINTS[digit]), hands.images[0]
    middles = (SIDE * (hands.boxes[0, :, :2] + hands.boxes[0, :, 2:]) / 2).astype(int)
    gone = set()
    for seed in range(20):
        random = np.random.default_rng(seed)
        short, lost = samples.shortened(image, hands.boxes[0], joints, random)
        for place in joints:
            y, x = middles[place]
            assert (short[y, x] < 100) == (place in lost)
        gone.add(len(lost))
    assert gone == set(range(len(joints)))  # the first joint remains, and once the last one as well


def test_a_digit_that_its_image_cuts_off_is_not_shortened(hands):
    joints, boxes = list(proportions.DIGIT_JOINTS[2]), hands.boxes[0].copy()
    boxes[joints[-1]] = np.nan
    short, lost = samples.shortened(hands.images[0], boxes, joints, np.random.default_rng(0))
    np.testing.assert_array_equal(short, hands.images[0])
    assert lost == []


def test_a_joint_that_is_gone_keeps_its_place(hands, monkeypatch):
    monkeypatch.setattr(samples, "SHORTENED_SHARE", 0.0)
    _, whole = drawn(hands, 40)
    assert (whole[..., 4] == 1).all()
    monkeypatch.setattr(samples, "SHORTENED_SHARE", 1.0)
    _, found = drawn(hands, 40)
    gone = found[..., 4] == 0
    assert not gone[
        :, [place for place in range(17) if place not in proportions.FINGER_JOINTS]
    ].any()
    assert 0.5 < gone.any(axis=1).mean() < 0.95
    assert np.isfinite(found[gone]).mean() > 0.5


def test_what_the_film_cuts_off_is_not_there():
    kept = samples.on_film(np.array([[0.2, 0.2, 0.4, 0.4], [0.9, 0.9, 1.2, 1.2]]))
    np.testing.assert_allclose(kept[0], [0.2, 0.2, 0.4, 0.4])
    assert np.isnan(kept[1]).all()


def test_inputs_are_brought_to_the_networks_size(hands):
    assert samples.as_inputs(hands.images).shape == (1, SIDE, SIDE, 1)
    small = samples.as_inputs(hands.images, 96)
    assert small.shape == (1, 96, 96, 1)
    assert small.mean() == pytest.approx(hands.images.mean(), abs=0.5)
    assert len(schema.REGIONS) == hands.boxes.shape[1]
