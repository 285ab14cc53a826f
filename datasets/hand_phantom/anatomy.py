"""Anatomy of a child's hand: individual properties, and location of bones and soft tissue.

Millimetres are those of an adult hand; `film_scale` gives the size of the hand on the film.
"""

import dataclasses
import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import numpy as np

from bone_age_tf import schema

from .bones import Bone, Tissue, sample_tissue, short_bone, tubular_bone
from .ossification import Maturity, mature_centres, timetable

RAYS: Final = (1, 2, 3, 4, 5)

RAY_BASES_MM: Final = MappingProxyType(
    {1: (26.0, 10.0), 2: (12.5, 14.5), 3: (0.5, 13.5), 4: (-10.5, 11.5), 5: (-20.0, 8.5)}
)
"""Carpometacarpal joints."""

RAY_ANGLES_DEG: Final = MappingProxyType(
    {
        1: (44, 42, 41),
        2: (11, 7, 5, 4),
        3: (2, 1, 0, 0),
        4: (-8, -5, -5, -4),
        5: (-19, -14, -11, -9),
    }
)
"""Direction of each bone of a ray, metacarpal first, from straight up towards the thumb."""

LENGTHS_MM: Final = MappingProxyType(
    {1: (46, 34, 24), 2: (67, 48, 28, 18), 3: (65, 52, 32, 19), 4: (58, 49, 30, 19), 5: (53, 38, 22, 17)}  # noqa: E501
)  # fmt: skip
WIDTHS_MM: Final = MappingProxyType(
    {1: (15.5, 14.5, 12.0), 2: (15.0, 14.5, 12.5, 10.0), 3: (15.0, 14.5, 12.5, 10.5), 4: (13.0, 13.5, 12.0, 10.0), 5: (12.5, 12.5, 10.0, 8.5)}  # noqa: E501
)  # fmt: skip
"""Adult lengths from joint to joint and metaphyseal widths, metacarpal first; for drawing, not for
measuring. `benchmarks/phantom_proportions.py` sets them beside annotated radiographs."""

CARPALS_MM: Final[Mapping[str, tuple[tuple[float, float], tuple[tuple[float, float], ...]]]] = (
    MappingProxyType(
        {
            "capitate": ((0, 0), ((-6, 10.5), (0, 12), (6, 10.5), (6.8, 4), (5.5, -4), (4.2, -10), (0, -12), (-5, -10), (-6, -3), (-6.5, 4))),  # noqa: E501
            "hamate": ((-13.5, 1), ((-8.5, 6), (-2, 8), (5.5, 9), (6.5, 3), (6.2, -5), (4, -10.5), (-1, -7), (-6, -2), (-9, 2))),  # noqa: E501
            "triquetrum": ((-17.5, -12.5), ((-7, 2), (-3, 5.5), (3, 2.5), (6.5, -2), (5.5, -6.5), (-1, -6.5), (-6.5, -3))),  # noqa: E501
            "lunate": ((-4, -18.5), ((-7, 2), (-3, 6.5), (1, 5), (5.5, 6), (7.5, 0), (5, -6), (0, -7.5), (-6, -4.5))),  # noqa: E501
            "scaphoid": ((11.5, -11.5), ((-5.5, 3), (-5.5, -5), (-2, -11), (4, -9.5), (7.5, -3), (9, 5), (6, 10), (1, 8.5), (-3, 6))),  # noqa: E501
            "trapezium": ((20.5, 4), ((-6, 6), (0, 8), (7, 5.5), (8, 0), (5, -6), (-1, -7), (-5.5, -3), (-6.5, 1))),  # noqa: E501
            "trapezoid": ((11, 5.5), ((-4, 6), (2, 7.5), (4.5, 5), (4, -3), (1, -7), (-4, -5.5), (-4.5, 0))),  # noqa: E501
            "pisiform": ((-20, -13.5), ((-4.2, 0), (-2.5, 4), (2, 4.5), (4.2, 0), (2.2, -4.8), (-2.5, -4))),  # noqa: E501
        }
    )
)  # fmt: skip
"""Middle and adult contour of each carpal. Drawn by eye after a postero-anterior view."""

SESAMOID_MM: Final = ((-3.0, 0.0), (-1.0, 2.2), (2.0, 2.0), (3.0, 0.0), (1.0, -2.2), (-2.0, -2.0))
FOREARM_MM: Final = MappingProxyType(
    {
        "distal_radius": ((6.5, -145.0), (8.5, -26.5), 26.5),
        "distal_ulna": ((-23.5, -145.0), (-20.0, -27.5), 14.0),
    }
)
"""Proximal end (beyond the film), wrist joint and metaphyseal width."""

FINGER_RADII_MM: Final = MappingProxyType(
    {1: (13.0, 11.5, 9.5), 2: (11.5, 9.8, 7.6), 3: (11.5, 10.0, 7.8), 4: (11.0, 9.4, 7.3), 5: (10.0, 8.4, 6.6)}  # noqa: E501
)  # fmt: skip
"""Half widths of the soft tissue at the first, a middle and the last joint of a finger, the tip
included; the thumb's are at the metacarpophalangeal joint, the next joint and the tip."""

CARPUS: Final = 0.86
YOUNG_CARPUS: Final = 0.22
YOUNG_FAN: Final = 0.2
RIPE_CARPUS_MM: Final = -4.0
YOUNG_MINERAL: Final = 0.4
"""Height of an adult's carpus as a fraction of that in `CARPALS_MM`, how much higher it is at
birth, how much wider the metacarpals fan out then, how far below their place the middle of the
carpals lies in adults, and how much less bones attenuate at birth. With `LENGTHS_MM` and
`RAY_ANGLES_DEG` the first four keep the distances between the middles of the regions near those
of the 238 annotated radiographs of Koitka et al. 2018, from toddlers to adolescents
(`benchmarks/phantom_proportions.py` prints both)."""

FEMALE_WIDTH: Final = 0.94
"""Girls' bones are slimmer for their length; a drawing value."""

BONE_STOUTNESS: Final = -0.4
"""Power of `stoutness` that bone widths take: flesh is stout in small children, bone is slender. A
drawing value."""

WALL_GROWTH: Final = MappingProxyType(
    {
        schema.FEMALE: ((36, 126, 210), (0.88, 0.92, 1.4)),
        schema.MALE: ((36, 162, 228), (0.88, 0.92, 1.4)),
    }
)
"""Factor on the thickness of the shafts' walls: (bone ages in months, factors). Medullary cavities
widen until a bone age of 10.5 years in girls and 13.5 in boys and narrow from then on, while the
walls thicken; after the start of puberty wall thickness and length show bone age best (Martin et
al. 2011, Osteoporosis International 22:1525, 3,121 radiographs). The factors are drawing values."""

GROWTH: Final = MappingProxyType(
    {
        schema.FEMALE: ((0, 12, 36, 60, 96, 120, 144, 162, 192), (0.37, 0.50, 0.63, 0.72, 0.83, 0.89, 0.95, 0.985, 1.0)),  # noqa: E501
        schema.MALE: ((0, 12, 36, 60, 96, 120, 144, 168, 204), (0.36, 0.48, 0.60, 0.68, 0.78, 0.83, 0.89, 0.96, 1.0)),  # noqa: E501
    }
)  # fmt: skip
"""Hand length as a fraction of the adult's: (months, fractions). Smooth approximations of growth
curves, of which the framing of the film shows only a part (see `film_scale`)."""

FRAMING_AGE_MONTHS: Final = 127.0
"""Age at which the hand has its mean size on the film: the mean of the RSNA 2017 training set."""

FRAMING_EXPONENT: Final = 0.35
"""Films of small hands are cropped closer, so only this power of the growth is seen on them."""


@dataclasses.dataclass(frozen=True)
class Child:
    """Properties of a child that do not depend on age. Sampled with `sample_child`.

    Attributes:
        sex: `schema.FEMALE` or `schema.MALE`.
        lateness: lateness of each centre in its own jitter SDs, by name.
        lengths: [5, 4] factors on bone lengths, by ray and bone.
        width: factor on bone widths.
        flesh: factor on soft-tissue widths.
        angles_deg: [5] turn of each ray towards the thumb.
        bends_deg: [5] further turn at each metacarpophalangeal joint.
        spread: factor on the rays' natural spread.
        size: factor on the size of the hand.
        carpals_mm: [8, 2] shift of each carpal.
        fan: factor on the angles between the metacarpals.
        carpus: factor on the height of the carpus, which a bent wrist foreshortens.
        tissue: how the bones look.
    """

    sex: int
    lateness: Mapping[str, float]
    lengths: np.ndarray
    width: float
    flesh: float
    angles_deg: np.ndarray
    bends_deg: np.ndarray
    spread: float
    size: float
    carpals_mm: np.ndarray
    fan: float
    carpus: float
    tissue: Tissue


@dataclasses.dataclass(frozen=True)
class Hand:
    """A child's hand at one age, in the hand frame.

    Attributes:
        bones: every bone that has ossified, by name.
        joints: five [4 or 5, 2] arrays, the joints of each ray from base to fingertip.
        flesh: factor on soft-tissue widths at this age.
        mineral: factor on the attenuation of bones at this bone age.
        maturities: state of every centre, by name, absent ones included.
        carpus: [2] the middle of the carpals, ossified or not.
    """

    bones: Mapping[str, Bone]
    joints: tuple[np.ndarray, ...]
    flesh: float
    mineral: float
    maturities: Mapping[str, Maturity]
    carpus: np.ndarray


def sample_child(sex: int, rng: np.random.Generator, variety: float = 1.0) -> Child:
    """Returns a child; the draws do not depend on age, so one seed is one child at every age.

    Args:
        sex: `schema.FEMALE` or `schema.MALE`.
        rng: source of everything random.
        variety: 1 for postures and appearances as varied as real ones, 0 for no variation.
    """
    centres = tuple(timetable(sex))
    lateness = np.clip(rng.standard_normal(len(centres)), -2.5, 2.5)
    return Child(
        sex=sex,
        lateness=dict(zip(centres, lateness.tolist(), strict=True)),
        lengths=1.0 + 0.05 * rng.standard_normal((5, 4)),
        width=0.88 + 0.08 * float(np.clip(rng.standard_normal(), -2, 2)),
        flesh=1.0 + 0.08 * float(np.clip(rng.standard_normal(), -2, 2)),
        angles_deg=variety * np.array([14.0, 2.0, 1.5, 2.0, 3.0]) * rng.uniform(-1, 1, 5),
        bends_deg=variety * np.array([16.0, 3.0, 2.5, 3.0, 5.0]) * rng.uniform(-1, 1, 5),
        spread=1.5 + variety * float(rng.uniform(0.9, 3.2) - 1.5),
        size=float(np.exp(0.04 * np.clip(rng.standard_normal(), -2, 2))),
        carpals_mm=0.6 * np.clip(rng.standard_normal((len(CARPALS_MM), 2)), -2, 2),
        fan=1.0 + variety * float(rng.uniform(-0.3, 0.4)),
        carpus=1.0 + variety * float(rng.uniform(-0.22, 0.18)),
        tissue=sample_tissue(rng, variety),
    )


def film_scale(age_months: float, child: Child) -> float:
    """Returns the size of the hand on the film, 1 on average over ages."""
    ages, fractions = GROWTH[child.sex]
    growth = np.interp([age_months, FRAMING_AGE_MONTHS], ages, fractions)
    return child.size * float(growth[0] / growth[1]) ** FRAMING_EXPONENT


def stoutness(age_months: float) -> float:
    """Returns the factor on widths of flesh: 1 in adults, larger in small children.

    Bones take a power of it, `BONE_STOUTNESS`.
    """
    return 1.0 + 0.3 * youth(age_months) ** 1.5


def youth(age_months: float) -> float:
    """Returns 1 at birth, falling to 0 at 15 years."""
    return min(1.0, max(0.0, 1.0 - age_months / 180.0))


def carpus_height(age_months: float, child: Child) -> float:
    """Returns the height of the carpus as a fraction of that which `CARPALS_MM` shows."""
    return child.carpus * (CARPUS + YOUNG_CARPUS * youth(age_months))


def ray_joints(ray: int, child: Child, build_age_months: float) -> np.ndarray:
    """Returns the joints [4 or 5, 2] of a ray from the carpus to the end of its last bone."""
    young = youth(build_age_months)
    height = carpus_height(build_age_months, child)
    joints = [np.array(RAY_BASES_MM[ray]) * [1.0, height]]
    for index, (length, natural) in enumerate(
        zip(LENGTHS_MM[ray], RAY_ANGLES_DEG[ray], strict=True)
    ):
        # Fingers spread; metacarpals 2 to 5 are bound together, and fan out more in the young.
        spread = 1.0
        if ray > 1:
            spread = child.spread if index else child.fan + YOUNG_FAN * young
        degrees = natural * spread + child.angles_deg[ray - 1]
        if index:
            degrees += child.bends_deg[ray - 1]
        radians = math.radians(degrees)
        step = np.array([math.sin(radians), math.cos(radians)])
        joints.append(joints[-1] + length * child.lengths[ray - 1, index] * step)
    return np.stack(joints)


def bone_names(ray: int) -> tuple[str, ...]:
    """Returns the names of a ray's bones, metacarpal first."""
    kinds = ("MC", "PP", "DP") if ray == 1 else ("MC", "PP", "MP", "DP")
    return tuple(f"{kind}{ray}" for kind in kinds)


def _sesamoid(joints: np.ndarray, maturity: Maturity) -> Bone:
    """Returns the adductor sesamoid, on the finger side of the thumb's first joint."""
    axis = joints[1] - joints[0]
    unit = axis / math.hypot(axis[0], axis[1])
    centre = joints[1] - 3.0 * unit - 9.0 * np.array([unit[1], -unit[0]])
    return short_bone("adductor_sesamoid", centre, SESAMOID_MM, maturity)


def grow_hand(age_months: float, child: Child, build_age_months: float | None = None) -> Hand:
    """Returns a child's hand.

    Args:
        age_months: bone age, at which the ossification centres are.
        child: the child.
        build_age_months: age that sets the build: how stout bones and flesh are, how high the
            carpus, how wide the fan of the metacarpals; the bone age by default.
    """
    build = age_months if build_age_months is None else build_age_months
    maturities = mature_centres(age_months, child.sex, child.lateness)
    stout = stoutness(build)
    carpus = np.array([1.0, carpus_height(build, child)])
    slimness = FEMALE_WIDTH if child.sex == schema.FEMALE else 1.0
    width = child.width * slimness * stout**BONE_STOUTNESS
    tissue = dataclasses.replace(
        child.tissue, wall=child.tissue.wall * np.interp(age_months, *WALL_GROWTH[child.sex])
    )
    bones: dict[str, Bone] = {}
    for name, (proximal, distal, bone_width) in FOREARM_MM.items():
        bones[name] = tubular_bone(
            name,
            np.array(proximal),
            np.array(distal) * carpus,
            bone_width * child.width,
            maturities[name],
            tissue,
        )
    for shift, (name, (centre, contour)) in zip(child.carpals_mm, CARPALS_MM.items(), strict=True):
        if maturities[name].present:
            bones[name] = short_bone(
                name, centre * carpus + shift, contour, maturities[name], tissue
            )
    joints = tuple(ray_joints(ray, child, build) for ray in RAYS)
    for ray, points in zip(RAYS, joints, strict=True):
        for index, name in enumerate(bone_names(ray)):
            bones[name] = tubular_bone(
                name,
                points[index],
                points[index + 1],
                WIDTHS_MM[ray][index] * width,
                maturities[name],
                tissue,
            )
    if maturities["adductor_sesamoid"].present:
        bones["adductor_sesamoid"] = _sesamoid(joints[0], maturities["adductor_sesamoid"])
    middle = np.mean([centre for centre, _ in CARPALS_MM.values()], axis=0) * carpus
    middle[1] += RIPE_CARPUS_MM * (1.0 - youth(build))
    states = MappingProxyType(maturities)
    mineral = 1.0 - YOUNG_MINERAL * youth(age_months)  # a matter of the bones, not of the build
    return Hand(MappingProxyType(bones), joints, child.flesh * stout, mineral, states, middle)
