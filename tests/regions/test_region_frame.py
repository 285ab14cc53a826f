"""The frame of the hand on made-up joints and on drawn hands, whose joints are known."""

import math

import cv2
import numpy as np
import pytest

from bone_age_tf import schema
from bone_age_tf.bundle import load_region_detector
from bone_age_tf.prepare import prepare_dataset
from bone_age_tf.regions import boxes as region_boxes
from bone_age_tf.regions import frame, proportions, views
from bone_age_tf.regions.detector import Regions
from made_up_hand import PALM, made_up_hand


def turned(places, degrees, about=(150.0, 200.0)):
    angle = math.radians(degrees)
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    return (places - about) @ turn.T + about


def mirrored(places, width=300.0):
    return np.stack([width - places[:, 0], places[:, 1]], axis=1)


def place(name):
    return schema.REGIONS.index(name)


def test_a_plain_hand_is_possible_however_it_lies():
    hand = made_up_hand()
    for degrees in (0, 60, 180, 290):
        assert proportions.impossible_proportions(turned(hand, degrees)) == ()
        assert (
            proportions.impossible_proportions(mirrored(turned(hand, degrees)), mirrored=True) == ()
        )
    assert proportions.impossible_proportions(mirrored(hand), mirrored=False)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda p: p.__setitem__([place("PIP2"), place("PIP3")], p[[place("PIP3"), place("PIP2")]]), "order of PIP2 and PIP3"),  # noqa: E501
        (lambda p: p.__setitem__(place("DIP4"), p[place("PIP4")]), "length of DIP4"),
        (lambda p: p.__setitem__(place("MCP5"), p[place("MCP4")]), "order of MCP4 and MCP5"),
        (lambda p: p.__setitem__(place("DIP3"), p[place("MCP3")]), "direction of finger 3"),
        (lambda p: p.__setitem__([place("radius"), place("ulna")], p[[place("ulna"), place("radius")]]), "place of radius and ulna"),  # noqa: E501
        (lambda p: p.__setitem__(place("MCP3"), p[place("wrist")]), "the palm has no length"),
    ],
)  # fmt: skip
def test_impossible_hands_are_named(change, words):
    hand = made_up_hand()
    change(hand)
    assert words in proportions.impossible_proportions(hand)


def test_doubt_follows_the_lowest_joint_and_the_proportions():
    hand, scores = made_up_hand(), np.full(17, 0.8)
    assert frame.measure_doubt(hand, scores) == pytest.approx(0.2)
    scores[place("PIP4")] = 0.6
    assert frame.measure_doubt(hand, scores) == pytest.approx(0.4)
    scores[place("wrist")] = 0.1  # not a joint of a finger
    assert frame.measure_doubt(hand, scores) == pytest.approx(0.4)
    hand[place("DIP4")] = hand[place("PIP4")]
    assert frame.measure_doubt(hand, scores) > frame.DOUBT_LIMIT
    assert frame.measure_doubt(hand[::-1], scores) == 1.0


def found_at(places, scores):
    doubt = frame.measure_doubt(places, scores)
    return frame.Hand(places, np.zeros((17, 4)), np.eye(2, 3), scores, False, doubt)


@pytest.mark.parametrize("digit", range(5))
def test_one_digit_that_is_not_there_is_noticed(digit):
    """Wherever its joints are found, and if the rest of the hand is certain."""
    scores, joints = np.full(17, 0.8), list(proportions.DIGIT_JOINTS[digit])
    assert not found_at(made_up_hand(), scores).lacks_digit
    scores[joints[1:]] = 0.05
    for shift in (0, 0.3 * PALM):
        places = made_up_hand()
        places[joints[1:]] += shift
        hand = found_at(places, scores)
        assert hand.lacks_digit
        assert not hand.is_certain
        assert hand.doubt == pytest.approx(0.85 + 0.15 * 0.2)
    scores[list(proportions.DIGIT_JOINTS[digit - 1])] = 0.1  # of another one
    assert not found_at(made_up_hand(), scores).lacks_digit
    assert found_at(made_up_hand(), scores).doubt > hand.doubt
    assert not found_at(made_up_hand(), np.full(17, 0.1)).lacks_digit


@pytest.mark.parametrize("degrees", [0, 35, 180, 271])
@pytest.mark.parametrize("flip", [False, True])
def test_the_frame_is_a_similarity_that_turns_the_hand_upright(degrees, flip):
    upright = made_up_hand()
    expected = views.moved_points(upright, frame.frame_view(upright))
    hand = turned(1.7 * upright, degrees)
    hand = mirrored(hand) if flip else hand
    view = frame.frame_view(hand, flip)
    np.testing.assert_allclose(views.moved_points(hand, view), expected, atol=1e-9)
    singular = np.linalg.svd(view[:, :2])[1]
    assert singular[0] == pytest.approx(singular[1])
    assert (np.linalg.det(view[:, :2]) < 0) == flip


def test_the_frame_holds_the_fingertips_and_the_forearms_ends():
    hand = made_up_hand()
    view = frame.frame_view(hand)
    tips = [2 * hand[place(f"DIP{f}")] - hand[place(f"PIP{f}")] for f in proportions.FINGERS]
    tips.append(2 * hand[place("PIP1")] - hand[place("MCP1")])
    ends = hand[[place("radius"), place("ulna")]] + [0, 0.25 * PALM]
    inside = views.moved_points(np.concatenate([hand, tips, ends]), view)
    border = schema.FRAME_MARGIN
    assert inside.min() >= border - 1e-9
    assert inside.max() <= 1 - border + 1e-9
    assert inside[:, 1].min() == pytest.approx(border)
    own = views.moved_points(hand, view)
    assert own[place("MCP3"), 0] == pytest.approx(own[place("wrist"), 0])
    assert own[place("MCP3"), 1] < own[place("wrist"), 1]
    assert own[place("MCP1"), 0] > own[place("MCP2"), 0]


def test_a_view_and_its_inverse_cancel():
    view = frame.frame_view(turned(made_up_hand(), 50), mirrored=True)
    points = np.random.default_rng(0).uniform(0, 300, (9, 2))
    back = views.moved_points(views.moved_points(points, view), views.inverse(view))
    np.testing.assert_allclose(back, points, atol=1e-9)


def test_the_whole_view_is_the_image_and_its_mirror_image():
    image = np.random.default_rng(0).uniform(0, 255, (32, 32)).astype(np.float32)
    np.testing.assert_allclose(views.warp(image, views.whole_view(32, 32), 32), image, atol=1e-3)
    flipped = views.warp(image, views.whole_view(32, 32, mirrored=True), 32)
    np.testing.assert_allclose(flipped, image[:, ::-1], atol=1e-3)


def test_outside_of_the_radiograph_all_is_black():
    image = np.full((40, 40), 200, np.float32)
    view = views.whole_view(40, 40)
    view[:, 2] = 0.5  # the image's corner is in the middle
    seen = views.warp(image, view, 40)
    assert (seen[:19] == 0).all()
    assert (seen[:, :19] == 0).all()
    assert (seen[21:, 21:] == 200).all()


@pytest.mark.parametrize("factor", [3, 9])
def test_shrinking_is_antialiased(factor):
    """Noise is averaged over the area of a pixel rather than sampled."""
    side = 64 * factor
    image = np.random.default_rng(0).uniform(0, 255, (side, side)).astype(np.float32)
    view = frame.frame_view(turned(made_up_hand(), 30))
    view[:, :2] *= 64 / (factor * 64 * 64) / math.sqrt(abs(np.linalg.det(view[:, :2])))
    view[:, 2] = [0.5, 0.5] - view[:, :2] @ [side / 2, side / 2]
    seen = views.warp(image, view, 64)[16:48, 16:48]
    assert seen.std() < 1.3 * image.std() / factor
    assert seen.mean() == pytest.approx(127.5, abs=6)


@pytest.mark.parametrize("factor", [1, 2, 5])
def test_a_spot_stays_where_it_is_at_every_resolution(factor):
    side = 100 * factor
    image = np.zeros((side, side), np.float32)
    cv2.circle(image, (int(0.3 * side), int(0.7 * side)), side // 12, (255,), -1)
    seen = views.warp(image, views.whole_view(side, side), 100)
    y, x = np.mgrid[:100, :100] + 0.5
    middle = [(seen * axis).sum() / seen.sum() for axis in (x, y)]
    np.testing.assert_allclose(middle, [30, 70], atol=0.6)


class MadeUpDetector:
    """Finds a hand at given places of the radiograph, if the view shows it as a left hand."""

    size_px = 128
    resize_mode = "stretch"

    def __init__(self, places, is_left, score=0.9):
        self.places, self.is_left, self.score = places, is_left, score
        self.views = []

    def find(self, image):
        view = self.views[-1]
        as_left = (np.linalg.det(view[:, :2]) > 0) == self.is_left
        centres = views.moved_points(self.places, view)[:, ::-1]
        boxes = np.concatenate([centres - 0.02, centres + 0.02], axis=1).astype(np.float32)
        return Regions(boxes, np.full(17, self.score if as_left else 0.2, np.float32))


@pytest.fixture
def watched(monkeypatch):
    """Lets a made-up detector know the view that it looks at."""

    def watch(detector):
        warp = views.warp

        def noted(image, view, size_px):
            detector.views.append(view)
            return warp(image, view, size_px)

        monkeypatch.setattr(views, "warp", noted)
        return detector

    return watch


@pytest.mark.parametrize("is_left", [True, False])
def test_the_side_is_the_one_that_is_surer(watched, is_left):
    places = made_up_hand() if is_left else mirrored(made_up_hand())
    detector = watched(MadeUpDetector(places, is_left))
    hand = frame.find_hand(np.zeros((400, 300), np.float32), detector)
    assert hand.mirrored is not is_left
    assert hand.doubt == pytest.approx(0.1)
    np.testing.assert_allclose(hand.places, places, atol=1e-3)
    first, other, *closer = (np.linalg.det(view[:, :2]) > 0 for view in detector.views)
    assert (first, other) == (True, False)
    assert closer
    assert all(side == is_left for side in closer)
    regions = frame.find_regions(np.zeros((400, 300), np.float32), detector)
    centres = (regions.boxes[:, :2] + regions.boxes[:, 2:]) / 2
    np.testing.assert_allclose(centres * [400, 300], places[:, ::-1], atol=1e-3)


@pytest.mark.parametrize("limit", [0.05, 1.0])
def test_a_much_more_doubtful_side_is_not_looked_at_closer(watched, limit, monkeypatch):
    monkeypatch.setattr(frame, "MORE_DOUBT", limit)
    detector = watched(MadeUpDetector(made_up_hand(), True, score=0.1))
    frame.find_hand(np.zeros((400, 300), np.float32), detector)
    sides = [np.linalg.det(view[:, :2]) > 0 for view in detector.views]
    quarters = len(frame.QUARTERS)
    assert sum(sides) > quarters
    assert (sides.count(False) > quarters) == (limit == 1.0)


def test_a_doubtful_hand_has_no_frame(watched):
    detector = watched(MadeUpDetector(made_up_hand(), True, score=0.1))
    image = np.full((400, 300), 90, np.float32)
    hand = frame.find_hand(image, detector)
    assert not hand.is_certain
    assert frame.framed(image, hand, 64) is None


def test_a_large_radiograph_is_searched_at_less_resolution(root, drawn):
    detector = load_region_detector(root / "exports")
    image = drawn.images[0].astype(np.float32)
    hand = frame.find_hand(image, detector)
    tall = frame.find_hand(np.kron(image, np.ones((4, 4), np.float32)), detector)
    np.testing.assert_allclose(tall.places, 4 * hand.places, atol=0.03 * 1024)
    view = frame.frame_view(tall.places, tall.mirrored)
    expected = frame.frame_view(hand.places, hand.mirrored)
    np.testing.assert_allclose(4 * view[:, :2], expected[:, :2], atol=0.1 * abs(expected).max())


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    builder = prepare_dataset("hand_phantom/tiny", tmp_path_factory.mktemp("data"), None)
    return region_boxes.read_phantoms(builder, "test", 256)


def test_drawn_hands_come_to_one_frame(root, drawn):
    """A hand and its mirror image come to the same frame."""
    detector = load_region_detector(root / "exports")
    certain = 0
    for image in drawn.images[:8].astype(np.float32):
        hand = frame.find_hand(image, detector)
        other = frame.find_hand(np.ascontiguousarray(image[:, ::-1]), detector)
        assert other.mirrored is not hand.mirrored or not hand.is_certain
        if hand.is_certain and other.is_certain:
            certain += 1
            one = frame.framed(image, hand, 64)
            two = frame.framed(np.ascontiguousarray(image[:, ::-1]), other, 64)
            assert np.abs(one - two).mean() < 6
    assert certain >= 5
