"""Outlines of single bones in the hand's own frame, in millimetres of an adult hand.

The frame: origin at the middle of the capitate, x towards the thumb, y towards the fingertips.
"""

import dataclasses
import math
from collections.abc import Sequence
from types import MappingProxyType
from typing import Final

import numpy as np

from .ossification import Maturity

SHAFT: Final = "shaft"
EPIPHYSIS: Final = "epiphysis"
PLATE: Final = "plate"
WHOLE: Final = "whole"

CORTEX_LEVEL: Final = 1.0
CARPAL_WALL_LEVEL: Final = 0.8
"""Attenuation of compact bone, and of the thin wall of a carpal. Drawing values, chosen by eye."""


@dataclasses.dataclass(frozen=True)
class Tissue:
    """Appearance of a child's bones. Levels are relative to compact bone seen edge-on.

    `sample_tissue` draws from wide ranges, so that a network that is trained on many appearances
    generalises to real bones (domain randomisation, Tobin et al. 2017, arXiv 1703.06907).

    Attributes:
        medulla: level of a shaft's cavity between its two walls.
        spongiosa: level of the inside of an epiphysis.
        carpal: level of the inside of a carpal.
        wall: factor on the thickness of the shafts' walls.
        gap: factor on the height of growth plates.
        epiphysis: factor on the height of epiphyses.
        carpal_size: factor on the size of carpals.
    """

    medulla: float = 0.45
    spongiosa: float = 0.6
    carpal: float = 0.5
    wall: float = 1.0
    gap: float = 1.0
    epiphysis: float = 1.0
    carpal_size: float = 1.06


def sample_tissue(rng: np.random.Generator, variety: float = 1.0) -> Tissue:
    """Returns the appearance of a child's bones, for variety 0 the usual one."""
    drawn = {
        "medulla": rng.uniform(0.25, 0.7),
        "spongiosa": rng.uniform(0.4, 0.85),
        "carpal": rng.uniform(0.35, 0.8),
        "wall": rng.uniform(0.6, 1.4),
        "gap": rng.uniform(0.7, 1.3),
        "epiphysis": rng.uniform(0.85, 1.2),
        "carpal_size": rng.uniform(0.95, 1.18),
    }
    usual = dataclasses.asdict(Tissue())
    return Tissue(**{name: usual[name] + variety * (drawn[name] - usual[name]) for name in drawn})


BONE_WIDTH_MM: Final = 15.0
"""Width of a bone of relative thickness 1; thinner bones let more of the beam through."""


@dataclasses.dataclass(frozen=True)
class Fill:
    """A filled outline.

    Attributes:
        part: `SHAFT`, `EPIPHYSIS`, `PLATE` (bone that bridges the growth plate) or `WHOLE`.
        outline: [N, 2] float64, hand frame, millimetres.
        level: attenuation inside, 0 to 1 of compact bone.
    """

    part: str
    outline: np.ndarray
    level: float


@dataclasses.dataclass(frozen=True)
class Bone:
    """One bone as the beam sees it.

    Attributes:
        name: such as PP3, distal_radius or capitate.
        fills: painted in this order, a later fill replacing an earlier one; different bones add.
        thickness: factor on the attenuation of every fill.
        plate_centre: [2] float64, hand frame, the middle of the growth plate; None without one.
    """

    name: str
    fills: tuple[Fill, ...]
    thickness: float
    plate_centre: np.ndarray | None = None

    def outline(self, part: str) -> np.ndarray | None:
        """Returns the outermost outline [N, 2] of a part, or None where it is not there."""
        return next((fill.outline for fill in self.fills if fill.part == part), None)


@dataclasses.dataclass(frozen=True)
class TubularForm:
    """Proportions of a kind of tubular bone.

    Lengths are fractions of the bone's length, widths of the width of its metaphysis.

    Attributes:
        profile: (position, half width * 2) of the shaft from the growth plate to its other end, or
            beyond it for bones that leave the film.
        epiphysis: thickness of the full-grown epiphysis.
        joint_power: squareness of the epiphysis' joint side: 2 is round, 4 is nearly flat.
        side_power: roundness of its ends: 1 is an ellipse, less is squarer.
        far_gap: cartilage beyond the end without an epiphysis.
        cortex: thickness of the shaft's wall in the middle.
        lean: how much thicker the epiphysis is on the side of the thumb than in its middle.
        from_distal: whether the growth plate is at the distal end.
    """

    profile: tuple[tuple[float, float], ...]
    epiphysis: float
    joint_power: float = 3.2
    side_power: float = 2.0 / 3.0
    far_gap: float = 0.015
    cortex: float = 0.17
    lean: float = 0.0
    from_distal: bool = False


_PHALANX: Final = (
    (0.0, 0.97), (0.03, 1.0), (0.08, 0.93), (0.2, 0.71), (0.42, 0.57), (0.68, 0.54), (0.82, 0.65),
    (0.91, 0.77), (0.96, 0.75), (0.99, 0.6), (1.0, 0.42),
)  # fmt: skip
_DISTAL_PHALANX: Final = (
    (0.0, 0.97), (0.04, 1.0), (0.12, 0.86), (0.3, 0.56), (0.55, 0.42), (0.7, 0.46), (0.82, 0.62),
    (0.91, 0.62), (0.97, 0.46), (1.0, 0.22),
)  # fmt: skip
_METACARPAL: Final = (
    (0.0, 0.88), (0.03, 0.92), (0.1, 0.82), (0.25, 0.58), (0.48, 0.46), (0.7, 0.52), (0.84, 0.68),
    (0.93, 0.84), (0.98, 0.82), (1.0, 0.66),
)  # fmt: skip
_FIRST_METACARPAL: Final = (
    (0.0, 0.97), (0.03, 1.0), (0.1, 0.92), (0.25, 0.72), (0.48, 0.6), (0.7, 0.65), (0.84, 0.82),
    (0.93, 0.88), (0.98, 0.74), (1.0, 0.5),
)  # fmt: skip
_RADIUS: Final = (
    (0.0, 0.96), (0.01, 1.0), (0.06, 0.9), (0.15, 0.69), (0.28, 0.52), (0.5, 0.45), (2.2, 0.48),
)  # fmt: skip
_ULNA: Final = (
    (0.0, 0.95), (0.01, 1.0), (0.06, 0.9), (0.15, 0.78), (0.28, 0.74), (0.5, 0.76), (2.2, 0.9),
)  # fmt: skip

FORMS: Final = MappingProxyType(
    {
        "PP": TubularForm(_PHALANX, epiphysis=0.12),
        "MP": TubularForm(_PHALANX, epiphysis=0.15),
        "DP": TubularForm(_DISTAL_PHALANX, epiphysis=0.19, cortex=0.14),
        "MC1": TubularForm(_FIRST_METACARPAL, epiphysis=0.12),
        "MC": TubularForm(
            _METACARPAL, epiphysis=0.175, joint_power=2.0, side_power=0.85, from_distal=True
        ),
        "distal_radius": TubularForm(
            _RADIUS, epiphysis=0.075, cortex=0.11, lean=0.42, from_distal=True
        ),
        "distal_ulna": TubularForm(
            _ULNA, epiphysis=0.06, cortex=0.16, lean=-0.35, from_distal=True
        ),
    }
)
"""Shapes drawn by eye after the usual look of these bones; not measurements."""

PLATE_GAP_MM: Final = 1.0
PLATE_GAP: Final = 0.016
"""Height of a growth plate: the first, and the second times the bone's length in millimetres."""

YOUNG_GAP: Final = 0.03
"""Further cartilage of a bone whose epiphysis has just appeared, as a fraction of its length."""

GAP_LENGTH_MM: Final = 70.0
"""Longest length that gaps grow with; forearm bones are longer, their gaps are not."""

_ANGLES: Final = np.linspace(0.0, 2.0 * math.pi, 28, endpoint=False)
_COS: Final = np.cos(_ANGLES)
_SIN: Final = np.sin(_ANGLES)


def _power(values: np.ndarray, exponent: float) -> np.ndarray:
    return np.sign(values) * np.abs(values) ** exponent


def _disc(
    middle: float,
    half_height: float,
    half_width: float,
    joint_power: float,
    plate_power: float,
    side_power: float,
) -> np.ndarray:
    """Returns a superellipse [28, 2] of (position along the bone, lateral), joint side first."""
    power = np.where(_COS < 0.0, joint_power, plate_power)
    along = np.sign(_COS) * np.abs(_COS) ** (2.0 / power)
    return np.stack([middle + half_height * along, half_width * _power(_SIN, side_power)], axis=-1)


def _band(positions: np.ndarray, half_widths: np.ndarray) -> np.ndarray:
    """Returns the closed outline [2N, 2] of a band symmetric about the bone's axis."""
    along = np.concatenate([positions, positions[::-1]])
    return np.stack([along, np.concatenate([half_widths, -half_widths[::-1]])], axis=-1)


def _shaft_fills(
    form: TubularForm, tissue: Tissue, start: float, end: float, width: float, fused: float
) -> list[tuple[str, np.ndarray, float]]:
    profile = np.asarray(form.profile)
    positions = start + (end - start) * profile[:, 0]
    half_widths = 0.5 * width * profile[:, 1]
    # The wall is thick in the middle and a thin line near the ends, where spongy bone carries.
    wall = tissue.wall * form.cortex * width
    wall = wall * (0.3 + 0.7 * np.sin(math.pi * np.clip(profile[:, 0], 0, 0.9)))
    inner = np.maximum(half_widths - wall, 0.15 * half_widths)
    inset = 0.07 * width
    # At the plate lies a bright line of calcified cartilage, which fades with fusion.
    cavity = np.clip(positions, start + inset * (1.0 - fused), positions[-1] - inset)
    return [
        (SHAFT, _band(positions, half_widths), CORTEX_LEVEL),
        (SHAFT, _band(cavity, inner), tissue.medulla),
    ]


def _plate_fills(
    tissue: Tissue, start: float, end: float, width: float, fused: float
) -> list[tuple[str, np.ndarray, float]]:
    """Returns the bone that crosses the plate; fusion begins in the middle and spreads."""
    ends = np.array([start, end])
    bridge = 0.48 * width * math.sqrt(fused) * np.ones(2)
    level = min(1.0, 0.4 + 0.6 * fused)
    return [
        (PLATE, _band(ends, bridge), CORTEX_LEVEL * level),
        (PLATE, _band(ends, 0.9 * bridge), tissue.spongiosa * level),
    ]


def _epiphysis_fills(
    form: TubularForm,
    tissue: Tissue,
    start: float,
    height: float,
    gap: float,
    width: float,
    maturity: Maturity,
) -> list[tuple[str, np.ndarray, float]]:
    size, capping = maturity.size, maturity.capping
    half_height = 0.5 * height * (0.4 + 0.6 * size)
    half_width = 0.5 * width * size * (1.0 + 0.05 * capping * (1.0 - maturity.fusion))
    # The plate keeps its height while the disc widens: a small disc lies in the cartilage's middle.
    middle = start + height - half_height - 0.35 * (1.0 - size) * height
    squareness = (size - 0.2) / 0.8
    joint_power = 2.0 + (form.joint_power - 2.0) * squareness
    side_power = form.side_power
    plate_power = 2.0 + 3.0 * squareness
    outer = _disc(middle, half_height, half_width, joint_power, plate_power, side_power)
    inner = _disc(middle, 0.72 * half_height, 0.86 * half_width, joint_power, 4.0, side_power)
    for disc in (outer, inner):
        lateral = disc[:, 1] / (0.5 * width)
        joint_side = disc[:, 0] < middle
        disc[joint_side, 0] -= form.lean * lateral[joint_side] * 2.0 * half_height
        if capping:
            corner = ~joint_side & (np.abs(lateral) > 0.85)
            disc[corner, 0] += 0.7 * capping * (1.0 - maturity.fusion) * gap
    presence = 0.65 + 0.35 * size  # a small centre is thin along the beam too
    return [
        (EPIPHYSIS, outer, CORTEX_LEVEL * presence),
        (EPIPHYSIS, inner, tissue.spongiosa * presence),
    ]


def tubular_bone(
    name: str,
    proximal: np.ndarray,
    distal: np.ndarray,
    width: float,
    maturity: Maturity,
    tissue: Tissue = Tissue(),
) -> Bone:
    """Returns a phalanx, a metacarpal or a forearm bone.

    Args:
        name: name of the bone, which its ossification centre shares.
        proximal: [2] the joint, or the end, at its proximal side.
        distal: [2] the one at its distal side.
        width: width of its metaphysis in millimetres.
        maturity: state of its epiphysis.
        tissue: how the child's bones look.
    """
    form = FORMS[name if name in FORMS else name[:2]]
    axis = distal - proximal
    length = math.hypot(axis[0], axis[1])
    unit = axis / length
    side = np.array([unit[1], -unit[0]])  # towards the thumb when the bone points up
    gap_length = min(length, GAP_LENGTH_MM)
    youth = 1.0 - maturity.size
    joint = (0.014 + 0.02 * youth) * gap_length
    height = tissue.epiphysis * form.epiphysis * length * (1.0 - 0.35 * youth)
    gap = tissue.gap * (PLATE_GAP_MM + PLATE_GAP * gap_length) * (1.0 - 0.6 * maturity.fusion)
    gap += YOUNG_GAP * youth * gap_length
    start = joint + height + gap
    end = length - form.far_gap * gap_length * (1.0 + youth)
    fills = []
    if maturity.fusion > 0.0:
        plate_start = start - gap - 0.1 * height
        fills += _plate_fills(tissue, plate_start, start + gap, width, maturity.fusion)
    fills += _shaft_fills(form, tissue, start, end, width, maturity.fusion)
    if maturity.present:
        fills += _epiphysis_fills(form, tissue, joint, height, gap, width, maturity)

    def to_hand(points: np.ndarray) -> np.ndarray:
        along = length - points[:, :1] if form.from_distal else points[:, :1]
        return proximal + along * unit + points[:, 1:] * side

    plate = np.array([[start - 0.5 * gap, 0.0]])
    return Bone(
        name,
        tuple(Fill(part, to_hand(outline), level) for part, outline, level in fills),
        thickness=math.sqrt(width / BONE_WIDTH_MM),
        plate_centre=to_hand(plate)[0],
    )


def short_bone(
    name: str,
    centre: np.ndarray,
    contour: Sequence[tuple[float, float]],
    maturity: Maturity,
    tissue: Tissue = Tissue(),
) -> Bone:
    """Returns a carpal or a sesamoid that has appeared.

    It is a disc at first and takes its adult contour as it grows.

    Args:
        name: name of the bone.
        centre: [2] its middle.
        contour: adult contour about that middle, in millimetres.
        maturity: its state.
        tissue: how the child's bones look.
    """
    corners = np.asarray(contour)
    angles = np.unwrap(np.arctan2(corners[:, 1], corners[:, 0]))
    radii = np.hypot(corners[:, 0], corners[:, 1])
    order = np.argsort(angles % (2.0 * math.pi))
    radius = np.interp(
        _ANGLES, (angles % (2.0 * math.pi))[order], radii[order], period=2.0 * math.pi
    )
    roundness = 1.0 - maturity.size
    radius = roundness * 0.85 * radius.mean() + (1.0 - roundness) * radius
    radius = tissue.carpal_size * maturity.size * radius
    outline = np.stack([radius * _COS, radius * _SIN], axis=-1)
    presence = 0.6 + 0.4 * maturity.size
    fills = (
        Fill(WHOLE, centre + outline, CARPAL_WALL_LEVEL * presence),
        Fill(WHOLE, centre + 0.86 * outline, tissue.carpal * presence),
    )
    width = 2.0 * float(radii.mean())
    return Bone(name, fills, thickness=math.sqrt(width / BONE_WIDTH_MM))
