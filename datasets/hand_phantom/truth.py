"""Ground truth of a drawn hand: maturity of each bone, and locations on the film.

Positions on the film are fractions of the image, (0, 0) its upper left corner and (1, 1) its lower
right one.
"""

from collections.abc import Iterable
from types import MappingProxyType
from typing import Final, NamedTuple

import numpy as np

from .anatomy import RAYS, Hand
from .bones import EPIPHYSIS, SHAFT, WHOLE, Bone

BONES: Final = (
    "capitate", "hamate", "distal_radius", "PP3", "PP2", "PP4", "MC2", "MC3", "DP1", "MC4", "MC5",
    "PP5", "MP3", "MP4", "MP2", "DP3", "DP4", "triquetrum", "MC1", "PP1", "DP2", "DP5", "MP5",
    "lunate", "trapezium", "trapezoid", "scaphoid", "distal_ulna", "pisiform", "adductor_sesamoid",
)  # fmt: skip
"""Every ossification centre, in the order of `ossification.csv`; that of all per-bone features."""

CARPALS: Final = (
    "capitate", "hamate", "triquetrum", "lunate", "trapezium", "trapezoid", "scaphoid", "pisiform",
)  # fmt: skip
"""The carpals, in the order in which they appear."""

REGIONS: Final = (
    "DIP2", "DIP3", "DIP4", "DIP5", "PIP1", "PIP2", "PIP3", "PIP4", "PIP5", "MCP1", "MCP2", "MCP3",
    "MCP4", "MCP5", "radius", "ulna", "wrist",
)  # fmt: skip
"""The regions that ossification is read from; PIP1 is the thumb's interphalangeal joint."""

REGION_SIZES: Final = MappingProxyType(
    {
        "DIP": (0.177, 0.214),
        "PIP": (0.198, 0.237),
        "MCP": (0.233, 0.278),
        "radius": (0.411, 0.310),
        "ulna": (0.266, 0.264),
        "wrist": (0.817, 0.545),
    }
)
"""Width and height of a region as a fraction of the distance from the mean of the five
metacarpophalangeal joints to the distal radius, on a film that is not stretched. Means over the 238
fully annotated radiographs of the ossification-ROI annotations (MIT licence) of Koitka et al. 2018,
"Ossification area localization in pediatric hand radiographs using deep neural networks for object
detection"; `benchmarks/phantom_proportions.py` prints them."""

LANDMARKS: Final = (
    "CMC1", "MCP1", "PIP1", "TIP1",
    "CMC2", "MCP2", "PIP2", "DIP2", "TIP2",
    "CMC3", "MCP3", "PIP3", "DIP3", "TIP3",
    "CMC4", "MCP4", "PIP4", "DIP4", "TIP4",
    "CMC5", "MCP5", "PIP5", "DIP5", "TIP5",
    "radius", "ulna",
)  # fmt: skip
"""Joints of each ray from the carpus to the tip of its last bone, and the middles of the growth
plates of radius and ulna, which have a place at every age."""

METACARPOPHALANGEAL: Final = tuple(LANDMARKS.index(f"MCP{ray}") for ray in RAYS)

METAPHYSIS: Final = 0.15
"""Share of a shaft's length, from the growth plate, within which its metaphysis is widest."""


class BoneMaturity(NamedTuple):
    """State of every centre, in the order of `BONES`.

    Attributes:
        present: [30] bool, whether the centre has appeared.
        width_ratio: [30] float32, 0 while absent. For a bone with an epiphysis, the width of the
            epiphysis over the width of the metaphysis, both measured on the drawn outlines, at
            most 1. For a carpal or the sesamoid, its size as a fraction of its final size.
        fused: [30] float32, 0 to 1; 1 when the growth plate is gone. 0 for bones without one.
    """

    present: np.ndarray
    width_ratio: np.ndarray
    fused: np.ndarray


def bone_maturity(hand: Hand) -> BoneMaturity:
    """Returns the maturity of each bone of a hand."""
    states = [hand.maturities[name] for name in BONES]
    ratios = [_width_ratio(hand, name) for name in BONES]
    return BoneMaturity(
        np.array([state.present for state in states]),
        np.array(ratios, np.float32),
        np.array([state.fusion for state in states], np.float32),
    )


def _width_ratio(hand: Hand, name: str) -> float:
    state = hand.maturities[name]
    if not state.present:
        return 0.0
    bone = hand.bones[name]
    epiphysis, shaft = bone.outline(EPIPHYSIS), bone.outline(SHAFT)
    if epiphysis is None or shaft is None:
        return state.size
    plate = _plate_centre(bone)
    axis = shaft.mean(axis=0) - plate
    axis /= np.linalg.norm(axis)
    across = np.array([-axis[1], axis[0]])
    along = (shaft - plate) @ axis
    metaphysis = shaft[along <= along.min() + METAPHYSIS * np.ptp(along)]
    # A capping epiphysis reaches around the metaphysis and is wider; that is not counted.
    return min(1.0, float(np.ptp(epiphysis @ across) / np.ptp(metaphysis @ across)))


def _plate_centre(bone: Bone) -> np.ndarray:
    assert bone.plate_centre is not None, bone.name
    return bone.plate_centre


def landmarks(hand: Hand, matrix: np.ndarray) -> np.ndarray:
    """Returns the places of `LANDMARKS` on the film.

    Args:
        hand: the hand.
        matrix: [2, 3] from its millimetres to fractions (x, y) of the image.

    Returns:
        [26, 2] float32, (x, y); outside 0 to 1 where the film does not reach.
    """
    forearm = [_plate_centre(hand.bones[name]) for name in ("distal_radius", "distal_ulna")]
    points = np.concatenate([*hand.joints, np.stack(forearm)])
    return _to_fractions(points, matrix).astype(np.float32)


def region_boxes(hand: Hand, matrix: np.ndarray) -> np.ndarray:
    """Returns the boxes of `REGIONS`, upright on the film however the hand lies.

    Args:
        hand: the hand.
        matrix: [2, 3] from its millimetres to fractions (x, y) of the image.

    Returns:
        [17, 4] float32, (ymin, xmin, ymax, xmax), cut off at the edges of the image: a region that
        lies beyond one has no area.
    """
    known = landmarks(hand, matrix).astype(np.float64)
    # In the hand's own millimetres, then along each axis of the film, which may be stretched.
    in_hand_mm = landmarks(hand, np.eye(2, 3)).astype(np.float64)
    heads = in_hand_mm[list(METACARPOPHALANGEAL)].mean(axis=0)
    length = np.linalg.norm(heads - in_hand_mm[LANDMARKS.index("radius")])
    length_on_film = length * np.linalg.norm(matrix[:, :2], axis=1)
    wrist = _to_fractions(hand.carpus[None], matrix)[0]
    boxes = []
    for name in REGIONS:
        middle = wrist if name == "wrist" else known[LANDMARKS.index(name)]
        half = 0.5 * length_on_film * np.array(REGION_SIZES[name.rstrip("12345")])
        boxes.append(_box([middle - half, middle + half]))
    return np.stack(boxes)


def carpal_boxes(hand: Hand, matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the tight boxes of the carpals that have appeared.

    Args:
        hand: the hand.
        matrix: [2, 3] from its millimetres to fractions (x, y) of the image.

    Returns:
        K boxes as [K, 4] float32, (ymin, xmin, ymax, xmax), cut off at the edges of the image, and
        their positions [K] int64 in `CARPALS`.
    """
    boxes, labels = [], []
    for label, name in enumerate(CARPALS):
        outline = hand.bones[name].outline(WHOLE) if name in hand.bones else None
        if outline is not None:
            boxes.append(_box(_to_fractions(outline, matrix)))
            labels.append(label)
    return np.array(boxes, np.float32).reshape(-1, 4), np.array(labels, np.int64)


def has_area(boxes: np.ndarray) -> np.ndarray:
    """Returns which of [N, 4] boxes are on the image at all, [N] bool."""
    return (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])


def _to_fractions(points: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    return points @ matrix[:, :2].T + matrix[:, 2]


def _box(points: Iterable[np.ndarray]) -> np.ndarray:
    """Returns (ymin, xmin, ymax, xmax) of (x, y) points, within the image."""
    corners = np.clip(np.stack(list(points)), 0.0, 1.0)
    (xmin, ymin), (xmax, ymax) = corners.min(axis=0), corners.max(axis=0)
    return np.array([ymin, xmin, ymax, xmax], np.float32)
