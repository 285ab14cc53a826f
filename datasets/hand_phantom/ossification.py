"""Maturity of each ossification centre at a bone age: presence, size, capping and fusion.

The ages come from `ossification.csv` and `epiphysis_milestones.csv` beside this file, which cite
their sources.
"""

import csv
import dataclasses
import functools
import pathlib
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import numpy as np

from bone_age_tf import schema

EPIPHYSIS: Final = "epiphysis"
CARPAL: Final = "carpal"
SESAMOID: Final = "sesamoid"

APPEARANCE_JITTER: Final = MappingProxyType({EPIPHYSIS: 0.25, CARPAL: 0.4, SESAMOID: 0.25})
"""Spread of a centre's appearance about its mean among children of one bone age, as a fraction of
the table's SD. The table's SD is over children of one chronological age; most of it is the child's
own pace, which bone age already tells. Carpals follow the rest of the hand less closely."""

MILESTONE_JITTER_MONTHS: Final = 3.0
"""SD in months of the later milestones of one epiphysis; its appearance moves the same way."""

APPEARANCE_SIZE: Final = MappingProxyType({EPIPHYSIS: 0.2, CARPAL: 0.25, SESAMOID: 0.4})
"""Size of a centre when it appears, as a fraction of its final size."""

FULL_SIZE_MONTHS: Final = MappingProxyType(
    {
        (CARPAL, schema.FEMALE): 150.0,
        (CARPAL, schema.MALE): 174.0,
        (SESAMOID, schema.FEMALE): 162.0,
        (SESAMOID, schema.MALE): 186.0,
    }
)
"""Age at which a bone without an epiphysis has its adult shape. An approximation: the plates show
carpals with adult contours shortly before the phalanges fuse. The pisiform, which appears late,
takes a further `LATE_SIZE_MONTHS`."""

LATE_SIZE_MONTHS: Final = 18.0

_MILESTONES_OF: Final = MappingProxyType({"PP1": "PP2"})
"""The table has no row for PP1; the plates show it keeping pace with PP2."""


@dataclasses.dataclass(frozen=True)
class Timing:
    """Ages in months of one centre of one sex.

    Attributes:
        kind: `EPIPHYSIS`, `CARPAL` or `SESAMOID`.
        appearance: mean age at which the centre appears.
        appearance_sd: standard deviation of that age among children.
        full_size: age at which an epiphysis is as wide as its metaphysis, or a carpal has its
            adult shape.
        capping: age at which the epiphysis caps its metaphysis; infinite without an epiphysis.
        fusion_start: age at which the epiphysis starts to fuse; infinite without one.
        fusion_end: age at which it has fused; infinite without one.
    """

    kind: str
    appearance: float
    appearance_sd: float
    full_size: float
    capping: float = np.inf
    fusion_start: float = np.inf
    fusion_end: float = np.inf


@dataclasses.dataclass(frozen=True)
class Maturity:
    """State of one centre.

    Attributes:
        size: 0 while absent, then a fraction of the final size, up to 1.
        capping: 0 to 1; how far the epiphysis reaches around the corners of its metaphysis.
        fusion: 0 to 1; 1 when the growth plate is gone.
    """

    size: float
    capping: float = 0.0
    fusion: float = 0.0

    @property
    def present(self) -> bool:
        """Whether the centre has appeared."""
        return self.size > 0.0


def _read_rows(name: str) -> list[dict[str, str]]:
    text = pathlib.Path(__file__).with_name(name).read_text(encoding="utf-8")
    return list(csv.DictReader(line for line in text.splitlines() if not line.startswith("#")))


def _expand(bones: str) -> list[str]:
    """Returns the bones a name such as DP2-5 stands for; other names stand for themselves."""
    if "-" not in bones:
        return [bones]
    first, last = bones.split("-")
    stem = first.rstrip("0123456789")
    return [f"{stem}{ray}" for ray in range(int(first[len(stem) :]), int(last) + 1)]


@functools.cache
def timetable(sex: int) -> Mapping[str, Timing]:
    """Returns the timing of every centre, by name, in the order of the table.

    Args:
        sex: `schema.FEMALE` or `schema.MALE`.
    """
    word = schema.SEX_NAMES[sex]
    milestones = {
        bone: row
        for row in _read_rows("epiphysis_milestones.csv")
        if row["sex"] == word
        for bone in _expand(row["bones"])
    }
    timings = {}
    for row in _read_rows("ossification.csv"):
        if row["sex"] != word:
            continue
        centre, kind = row["centre"], row["kind"]
        appearance, sd = float(row["mean_months"]), float(row["sd_months"])
        if kind == EPIPHYSIS:
            later = milestones[_MILESTONES_OF.get(centre, centre)]
            timings[centre] = Timing(
                kind,
                appearance,
                sd,
                full_size=float(later["full_width_months"]),
                capping=float(later["capping_months"]),
                fusion_start=float(later["fusion_start_months"]),
                fusion_end=float(later["fusion_end_months"]),
            )
        else:
            full_size = FULL_SIZE_MONTHS[kind, sex]
            if centre == "pisiform":
                full_size += LATE_SIZE_MONTHS
            timings[centre] = Timing(kind, appearance, sd, full_size)
    return MappingProxyType(timings)


def _progress(age: float, start: float, end: float) -> float:
    if end <= start:  # two milestones on one plate
        return float(age >= end)
    if not np.isfinite(end):
        return 0.0
    return min(1.0, max(0.0, (age - start) / (end - start)))


def maturity_at(timing: Timing, age_months: float, deviation: float) -> Maturity:
    """Returns the state of one centre.

    Args:
        timing: ages of the centre.
        age_months: bone age in months.
        deviation: how early (negative) or late the centre is, in its own jitter SDs.
    """
    appearance_shift = deviation * APPEARANCE_JITTER[timing.kind] * timing.appearance_sd
    appearance = max(0.0, timing.appearance + appearance_shift)
    if age_months < appearance:
        return Maturity(0.0)
    age = age_months - deviation * MILESTONE_JITTER_MONTHS
    grown = _progress(age_months, appearance, timing.full_size)
    if timing.kind == CARPAL:
        grown **= 0.6  # a carpal's diameter grows fast at first, then into the space left
    smallest = APPEARANCE_SIZE[timing.kind]
    return Maturity(
        size=smallest + (1.0 - smallest) * grown,
        capping=_progress(age, timing.full_size, timing.capping),
        fusion=_progress(age, timing.fusion_start, timing.fusion_end),
    )


def mature_centres(
    age_months: float, sex: int, deviations: Mapping[str, float] | None = None
) -> dict[str, Maturity]:
    """Returns the state of every centre, by name.

    Args:
        age_months: bone age in months.
        sex: `schema.FEMALE` or `schema.MALE`.
        deviations: lateness of each centre in its own jitter SDs; a centre not named, and every
            centre when None, keeps to the table.
    """
    deviations = deviations or {}
    return {
        centre: maturity_at(timing, age_months, deviations.get(centre, 0.0))
        for centre, timing in timetable(sex).items()
    }
