"""One frame for every hand: where the hand lies, how far that can be trusted, and the image there.

The joints that the region detector finds define a similarity transform that turns the hand upright,
mirrors a right hand to a left one and lets hand and wrist fill a square. See `regions.views` for
coordinates and views.
"""

import dataclasses
from collections.abc import Collection
from typing import Final, Protocol

import numpy as np

from bone_age_tf import schema
from bone_age_tf.regions import views
from bone_age_tf.regions.detector import Regions
from bone_age_tf.regions.proportions import (
    DIGIT_JOINTS,
    FINGER_JOINTS,
    FINGERS,
    impossible_proportions,
    palm_length,
    upright,
)

DOUBT_LIMIT: Final = 0.8
"""Largest doubt at which there is a hand and its frame is used. All of 100 RSNA validation
radiographs are below it, and one each of their 400 halves and of 191 other pictures, of which the
half is not rejected for other reasons (`benchmarks/refusal.py`)."""

JOINT_DOUBT_LIMIT: Final = 0.305
"""Largest doubt at which single joints are trusted; the frame bears it that one is a little off."""

SURE: Final = 0.35
"""Doubt at which the search ends."""
DOUBT_OF_GEOMETRY: Final = 0.25
"""Doubt that each impossible proportion of the hand adds to that of the scores."""
LACKING_DOUBT: Final = 0.85
"""Doubt of a hand that lacks one digit while the others are beyond doubt."""
LACKING_LEAST: Final = 0.7
"""Least doubt of a hand that lacks a digit."""
LACKING_LIMIT: Final = 0.5
"""Largest doubt of the rest of a hand at which one of its digits is missing."""
LACKING_SHARE: Final = 0.36
"""Largest certainty of a hand that lacks a digit, as a fraction of that of the rest."""
MORE_DOUBT: Final = 0.3
"""A whole radiograph, as it is, mirrored or turned, is not looked at closer where its doubt is so
much above the least so far."""
QUARTERS: Final = (0, 2, 1, 3)
"""Turns of the whole radiograph that are tried while the hand is doubtful, in quarters."""
SEARCH: Final = 4
"""Least longer side, in sides of the detector's square, of what a radiograph is shrunk to for the
search, by blocks of 2 x 2, 3 x 3, ... pixels."""
CLOSER_LOOKS: Final = 3
"""Most times that the detector looks again at the hand it has found."""
LAST_SHIFTS: Final = (0.03, -0.03)
"""Shifts of the last looks, to the right and down alike, in sides of the view. With one look that
is not shifted all joints were within 5 % in 0.958 of 624 images, with the mean of both in 0.978
(`benchmarks/hand_positions.py`, seed 0)."""
SETTLED: Final = 0.02
"""Largest change of the joints between two passes, in lengths of the palm, that ends the search."""

BELOW_WRIST: Final = 0.08
"""Length of the forearm below the middles of the ends of radius and ulna, in lengths of the palm,
without which the wrist is incomplete. No complete hand of `benchmarks/unusual_radiographs.py` is
rejected for it, forearms cut at 0.1 included, and every one that is cut above the wrist."""


class Detector(Protocol):
    """What finds the regions in an image, `regions.detector.RegionDetector` for instance."""

    size_px: int
    resize_mode: str

    def find(self, image: np.ndarray) -> Regions:
        """Finds the regions in [H, W] float32, 0 to 255."""


@dataclasses.dataclass(frozen=True)
class Hand:
    """A hand on a radiograph.

    Attributes:
        places: [17, 2] float64, (x, y) of the middles of `schema.REGIONS` in pixels of the
            radiograph.
        boxes: [17, 4] float32, ymin, xmin, ymax, xmax as fractions of the view that the detector
            looked at, in which the hand is upright after the first pass.
        view: [2, 3] float64, from (x, y) of the radiograph in pixels to fractions (x, y) of that
            view.
        scores: [17] float32, see `Regions`.
        mirrored: whether it was found as a left hand on the mirrored radiograph.
        doubt: 0 for none to 1.
        is_cut: whether a joint or the wrist lies beyond the edges of the radiograph.
    """

    places: np.ndarray
    boxes: np.ndarray
    view: np.ndarray
    scores: np.ndarray
    mirrored: bool
    doubt: float
    is_cut: bool = False

    @property
    def is_certain(self) -> bool:
        """Whether the frame of this hand should be used."""
        return self.doubt <= DOUBT_LIMIT

    @property
    def lacks_digit(self) -> bool:
        """Whether a finger or the thumb is missing or hidden, while the rest of the hand is not."""
        return lacks_digit(self.places, self.scores, self.mirrored)

    @property
    def has_certain_joints(self) -> bool:
        """Whether each joint is certain to be where it was found."""
        return self.doubt <= JOINT_DOUBT_LIMIT

    def boxes_in(self, view: np.ndarray) -> np.ndarray:
        """Returns the boxes [17, 4] float32 as fractions of a view [2, 3]."""
        step = views.between(self.view, view)
        return views.moved_boxes(self.boxes.astype(np.float64), step).astype(np.float32)


def find_hand(image: np.ndarray, detector: Detector) -> Hand:
    """Finds the hand, first on the whole radiograph and then again on the turned and cut hand.

    The radiograph and its mirror image are looked at, the one with less doubt closer first; the
    other only where the hand remains doubtful, and then both in other quarter turns; none that is
    much more doubtful than what is found (`MORE_DOUBT`). The least doubt counts. The answer is the
    mean of two last looks at that hand, shifted against each other (`LAST_SHIFTS`).

    Args:
        image: [H, W] float32, 0 to 255, with bright bones.
        detector: what finds the regions of a left hand.
    """
    block = min(max(image.shape) // (SEARCH * detector.size_px), *image.shape)
    small = views.block_means(image, block) if block > 1 else image
    found = _search(small, detector)
    hand = _last_look(small, detector, found)
    is_cut = lies_beyond(hand.places, hand.mirrored, small.shape[1], small.shape[0])
    scale = max(block, 1)
    view = hand.view @ np.diag([1 / scale, 1 / scale, 1.0])
    return dataclasses.replace(hand, places=hand.places * scale, view=view, is_cut=is_cut)


def _search(image: np.ndarray, detector: Detector) -> Hand:
    best = None
    for quarters in QUARTERS:
        looks = [
            _look(image, detector, _whole_view(image, detector, mirrored, quarters))
            for mirrored in (False, True)
        ]
        looks.sort(key=lambda hand: hand.doubt)
        for look in looks:
            least = looks[0].doubt if best is None else min(looks[0].doubt, best.doubt)
            if look.doubt > least + MORE_DOUBT:
                break
            hand = _closer(image, detector, look)
            if best is None or hand.doubt < best.doubt:
                best = hand
            if best.doubt <= SURE:
                return best
        if best is not None and best.is_certain:
            break
    assert best is not None
    return best


def _last_look(image: np.ndarray, detector: Detector, hand: Hand) -> Hand:
    view = _view_around(hand, detector)
    looks = [
        _look(image, detector, view + np.outer([1, 1], [0, 0, shift])) for shift in LAST_SHIFTS
    ]
    places = np.mean([look.places for look in looks], axis=0)
    boxes = np.mean([look.boxes for look in looks], axis=0) - np.mean(LAST_SHIFTS, dtype=np.float32)
    scores = np.mean([look.scores for look in looks], axis=0)
    doubt = measure_doubt(places, scores, hand.mirrored)
    return Hand(places, boxes, view, scores, hand.mirrored, doubt)


def find_regions(image: np.ndarray, detector: Detector) -> Regions:
    """Finds the hand and returns its regions as fractions of the image [H, W]; see `find_hand`."""
    hand = find_hand(image, detector)
    whole = views.whole_view(image.shape[0], image.shape[1])
    return Regions(hand.boxes_in(whole), hand.scores)


def _whole_view(image: np.ndarray, detector: Detector, mirrored: bool, quarters: int) -> np.ndarray:
    return views.whole_view(
        image.shape[0], image.shape[1], mirrored, detector.resize_mode, quarters
    )


def _closer(image: np.ndarray, detector: Detector, hand: Hand) -> Hand:
    """Returns what the detector finds when it looks at a hand again, with the least doubt."""
    last, looks = hand, []
    for _ in range(CLOSER_LOOKS):
        closer = _look(image, detector, _view_around(last, detector))
        looks.append(closer)
        moved = np.abs(closer.places - last.places).max()
        last = closer
        if moved <= SETTLED * palm_length(last.places):
            break
    return min(looks, key=lambda one: one.doubt)


def _view_around(hand: Hand, detector: Detector) -> np.ndarray:
    aspect = schema.RADIOGRAPH_ASPECT if detector.resize_mode == "stretch" else 1.0
    return frame_view(hand.places, hand.mirrored, aspect, schema.VIEW_BORDER)


def _look(image: np.ndarray, detector: Detector, view: np.ndarray) -> Hand:
    regions = detector.find(views.warp(image, view, detector.size_px))
    centres = (regions.boxes[:, :2] + regions.boxes[:, 2:])[:, ::-1].astype(np.float64) / 2
    places = views.moved_points(centres, views.inverse(view))
    mirrored = bool(np.linalg.det(view[:, :2]) < 0)
    doubt = measure_doubt(places, regions.scores, mirrored)
    return Hand(places, regions.boxes, view, regions.scores, mirrored, doubt)


def measure_doubt(places: np.ndarray, scores: np.ndarray, mirrored: bool = False) -> float:
    """Returns how doubtful it is that a hand was found where it is, 0 to 1.

    A hand that lacks a digit is less doubtful than no hand.

    Args:
        places: [17, 2] (x, y) of the middles of the regions in pixels.
        scores: [17] scores of the regions, 0 to 1.
        mirrored: whether the hand is a mirrored left hand.
    """
    whole, rest = _doubts(places, scores, mirrored)
    return min(whole, LACKING_DOUBT + (1.0 - LACKING_DOUBT) * rest)


def lacks_digit(places: np.ndarray, scores: np.ndarray, mirrored: bool = False) -> bool:
    """Returns whether one digit is doubtful and the rest of the hand much less so.

    Args:
        places: [17, 2] (x, y) of the middles of the regions in pixels.
        scores: [17] scores of the regions, 0 to 1.
        mirrored: whether the hand is a mirrored left hand.
    """
    whole, rest = _doubts(places, scores, mirrored)
    is_lower = 1.0 - whole <= LACKING_SHARE * (1.0 - rest)
    return whole > LACKING_LEAST and rest <= LACKING_LIMIT and is_lower


def _doubts(places: np.ndarray, scores: np.ndarray, mirrored: bool) -> tuple[float, float]:
    """Returns the doubt of all digits, and that without the digit that is most doubtful.

    Its first joint still counts: it is seldom lost, and all of a digit is doubtful where it is
    only hard to see.
    """
    wrong = impossible_proportions(places, mirrored)

    def doubt(joints: Collection[int], names: Collection[str]) -> float:
        lowest = min(float(scores[place]) for place in joints)
        return min(1.0, max(0.0, 1.0 - lowest + DOUBT_OF_GEOMETRY * len(names)))

    rest = [
        doubt(set(FINGER_JOINTS).difference(lost), [name for name in wrong if digit not in name])
        for digit, (_, *lost) in zip("12345", DIGIT_JOINTS, strict=True)
    ]
    return doubt(FINGER_JOINTS, wrong), min(rest)


def lies_beyond(places: np.ndarray, mirrored: bool, width: int, height: int) -> bool:
    """Returns whether a joint or the wrist lies beyond the edges of an image.

    Args:
        places: [17, 2] (x, y) of the middles of the regions in pixels.
        mirrored: whether the hand is a mirrored left hand.
        width: width of the image in pixels.
        height: height of the image in pixels.
    """
    down = upright(places, mirrored)[1] * BELOW_WRIST * palm_length(places)
    ends = [places[_place(name)] + down for name in ("radius", "ulna")]
    points = np.concatenate([places, np.stack(ends)])
    return bool((points < 0).any() or (points > [width, height]).any())


def frame_view(
    places: np.ndarray,
    mirrored: bool = False,
    aspect: float = 1.0,
    border: float = schema.FRAME_MARGIN,
) -> np.ndarray:
    """Returns the transform [2, 3] from pixels (x, y) of the radiograph to fractions of the frame.

    The frame contains all fingertips and the ends of radius and ulna. The tips lie beyond the last
    joints that are found by about the length of the bone before (`LENGTHS_MM` and
    `FINGER_RADII_MM` of `hand_phantom`).

    Args:
        places: [17, 2] (x, y) of the middles of the regions in pixels.
        mirrored: whether the hand is a mirrored left hand.
        aspect: width over height of the part of the radiograph that is seen. 1: the transform is a
            similarity.
        border: free border on each side, as a fraction of the frame's height.
    """
    linear = upright(places, mirrored)
    own = places @ linear.T
    palm = palm_length(places)
    tips = [2.0 * own[_place(f"DIP{f}")] - own[_place(f"PIP{f}")] for f in FINGERS]
    tips.append(2.0 * own[_place("PIP1")] - own[_place("MCP1")])
    outline = np.concatenate([own, np.stack(tips)])
    low, high = outline.min(axis=0), outline.max(axis=0)
    ends = max(own[_place("radius")][1], own[_place("ulna")][1])
    top, bottom = min(tip[1] for tip in tips), ends + 0.28 * palm
    left, right = low[0] - 0.13 * palm, high[0] + 0.13 * palm
    height = max(bottom - top, (right - left) / aspect, 1e-6) / (1.0 - 2.0 * border)
    sides = np.array([height * aspect, height])
    corner = np.array([(left + right) / 2, (top + bottom) / 2]) - sides / 2
    return np.concatenate([linear, -corner[:, None]], axis=1) / sides[:, None]


def framed(image: np.ndarray, hand: Hand, size_px: int) -> np.ndarray | None:
    """Returns the hand in its frame, None where it is too doubtful where the hand is.

    Args:
        image: [H, W] float32, 0 to 255: the radiograph in which the hand was found.
        hand: from `find_hand`.
        size_px: side of the frame in pixels.

    Returns:
        [size_px, size_px] float32, 0 to 255.
    """
    if not hand.is_certain:
        return None
    return views.warp(image, frame_view(hand.places, hand.mirrored), size_px)


def _place(name: str) -> int:
    return schema.REGIONS.index(name)
