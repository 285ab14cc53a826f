"""Lengths, angles and orders of a hand's joints, and those that no hand has; NumPy only."""

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import numpy as np

from bone_age_tf import schema

FINGERS: Final = (2, 3, 4, 5)
FINGER_JOINTS: Final = tuple(
    place for place, name in enumerate(schema.REGIONS) if name.startswith(("DIP", "PIP", "MCP"))
)
"""Places in `schema.REGIONS` of the 14 joints of the fingers and the thumb."""
DIGIT_JOINTS: Final = tuple(
    tuple(
        schema.REGIONS.index(f"{joint}{digit}")
        for joint in ("MCP", "PIP", "DIP")
        if f"{joint}{digit}" in schema.REGIONS
    )
    for digit in range(1, 6)
)
"""The same by digit, from the thumb to the little finger, each from the palm to the tip."""
JOINT_BEFORE: Final[Mapping[str, str]] = MappingProxyType({"PIP": "MCP", "DIP": "PIP"})
"""The joint of a finger before another, on the way from the wrist."""

LENGTH_LIMITS: Final[Mapping[str, tuple[float, float]]] = MappingProxyType(
    {
        "MCP2": (0.85, 1.2), "MCP4": (0.8, 1.12), "MCP5": (0.75, 1.15), "MCP1": (0.68, 1.1),
        "PIP1": (0.26, 0.55), "PIP2": (0.4, 0.74), "PIP3": (0.46, 0.82), "PIP4": (0.4, 0.8),
        "PIP5": (0.28, 0.62), "DIP2": (0.2, 0.45), "DIP3": (0.25, 0.5), "DIP4": (0.22, 0.48),
        "DIP5": (0.14, 0.42),
    }
)  # fmt: skip
"""Distances of joints from the one before (of MCP joints from the middle of the wrist) in lengths
of the palm, from the wrist to MCP3. The range of the 238 fully annotated radiographs of Koitka et
al. 2018 (doi 10.1371/journal.pone.0207496), widened, without strongly bent fingers."""

GAP_LIMITS: Final[Mapping[str, tuple[float, float]]] = MappingProxyType(
    {"MCP": (0.13, 0.5), "PIP": (0.18, 0.72), "DIP": (0.12, 0.95)}
)
"""Distances between neighbouring fingers across the hand in lengths of the palm, likewise."""

MOST_BENT_DEGREES: Final = 40.0
"""Largest angle between two bones of a finger, likewise."""


def palm_length(places: np.ndarray) -> float:
    """Returns the distance from the middle of the wrist to MCP3, in the unit of places [17, 2]."""
    return float(np.linalg.norm(places[_place("MCP3")] - places[_place("wrist")]))


def upright(places: np.ndarray, mirrored: bool = False) -> np.ndarray:
    """Returns the rotation, after a reflection if mirrored, that turns the hand upright, [2, 2].

    The line from the middle of the wrist to MCP3 points up afterwards, and the thumb of a left hand
    (or of a right hand on a mirrored radiograph) to the right.

    Args:
        places: [17, 2] (x, y) of the middles of the regions in pixels.
        mirrored: whether the hand is a mirrored left hand.
    """
    palm = places[_place("MCP3")] - places[_place("wrist")]
    length = float(np.linalg.norm(palm))
    up = palm / length if length > 0 else np.array([0.0, -1.0])  # else no view could be inverted
    across = np.array([-up[1], up[0]]) * (-1.0 if mirrored else 1.0)
    return np.stack([across, -up])


def impossible_proportions(places: np.ndarray, mirrored: bool = False) -> tuple[str, ...]:
    """Returns which lengths, angles and orders of the joints no hand has.

    Args:
        places: [17, 2] (x, y) of the middles of the regions in pixels.
        mirrored: whether the hand is a mirrored left hand.
    """
    own = _hand_coordinates(places, mirrored)
    if not np.isfinite(own).all():
        return ("the palm has no length",)
    found = {name: own[_place(name)] for name in schema.REGIONS}
    wrong = []
    for name, (low, high) in LENGTH_LIMITS.items():
        before = JOINT_BEFORE.get(name[:-1])
        start = np.zeros(2) if before is None else found[before + name[-1]]
        if not low <= math.dist(found[name], start) <= high:
            wrong.append(f"length of {name}")
    for joint, (low, high) in GAP_LIMITS.items():
        across = [found[f"{joint}{finger}"][0] for finger in FINGERS]
        gaps = -np.diff(across)
        wrong += [
            f"order of {joint}{finger} and {joint}{finger + 1}"
            for finger, gap in zip(FINGERS, gaps, strict=False)
            if not low <= gap <= high
        ]
    for finger in FINGERS:
        knuckle, middle, last = (found[f"{joint}{finger}"] for joint in ("MCP", "PIP", "DIP"))
        first, second = middle - knuckle, last - middle
        cosine = first @ second / max(1e-9, float(np.linalg.norm(first) * np.linalg.norm(second)))
        if cosine < math.cos(math.radians(MOST_BENT_DEGREES)) or first[1] > 0:
            wrong.append(f"direction of finger {finger}")
    if found["MCP1"][0] < found["MCP2"][0]:
        wrong.append("order of MCP1 and MCP2")
    if found["radius"][0] < found["ulna"][0] or min(found["radius"][1], found["ulna"][1]) < 0.1:
        wrong.append("place of radius and ulna")
    return tuple(wrong)


def _hand_coordinates(places: np.ndarray, mirrored: bool) -> np.ndarray:
    """Returns places [17, 2] in lengths of the palm: from the wrist, x to the thumb, y down."""
    linear = upright(places, mirrored)
    with np.errstate(divide="ignore", invalid="ignore"):
        return (places - places[_place("wrist")]) @ linear.T / palm_length(places)


def _place(name: str) -> int:
    return schema.REGIONS.index(name)
