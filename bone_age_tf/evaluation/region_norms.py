"""How far each region's bone age usually lies from that of the hand, by sex and age.

A network dates regions differently well, and regions mature at different times: a carpal bone of an
adolescent, long mature, says little about the age. Whether a region is ahead of the hand or behind
is therefore measured against the differences that held-out children of that sex and age have.

NumPy only.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from bone_age_tf import schema

KNOTS_MONTHS: Final = tuple(float(age) for age in range(0, 241, 24))
"""Ages in months at which mean and SD are stored; between them they are interpolated."""
MIN_CASES: Final = 50
"""Minimum number of held-out cases for norms."""
UNUSUAL: Final = 2.0
"""Number of SDs from which a region counts as ahead or behind; 5 % of regions are beyond it."""
MOST_NAMED: Final = 4
"""Maximum number of regions that a line of text names as ahead of the hand, or as behind it."""
_NEAR_MONTHS: Final = 14.0
"""SD in months of the Gaussian that weights cases by the distance of their ages."""
_OTHER_SEX: Final = 0.2
"""Weight of a case of the other sex, relative to a case of the same sex."""
_FEW: Final = 10.0
"""Effective number of cases that the mean and SD of all ages count for at each age."""
_LEAST_SD_MONTHS: Final = 1.0


@dataclasses.dataclass(frozen=True)
class RegionAge:
    """The bone age of one ossification region.

    Attributes:
        age_months: its bone age in months.
        difference_months: its difference from the mean of all regions in months, less what is usual
            at that age and sex; above 0 it is ahead.
        deviations: the same in SDs of children of that age and sex.
    """

    age_months: float
    difference_months: float
    deviations: float

    @property
    def is_unusual(self) -> bool:
        """Whether the region is further ahead or behind than in 95 % of children."""
        return abs(self.deviations) >= UNUSUAL


@dataclasses.dataclass(frozen=True)
class RegionNorms:
    """Usual differences of regions from the hand.

    Attributes:
        means_months: [2, K, 17] mean differences by sex at each of `KNOTS_MONTHS`, in the order of
            `schema.REGIONS`.
        sds_months: [2, K, 17] their SDs.
        cases: number of cases to which they were fitted.
    """

    means_months: np.ndarray
    sds_months: np.ndarray
    cases: int

    def compare(self, months: np.ndarray, weights: np.ndarray, sex: int) -> dict[str, RegionAge]:
        """Returns each region's age by its name.

        Args:
            months: [17] bone ages of the regions in months.
            weights: [17] weights in the fusion.
            sex: `schema.FEMALE` or `schema.MALE`.
        """
        hand = float(hand_months(months, weights))
        means, sds = (
            np.array([np.interp(hand, KNOTS_MONTHS, of_region) for of_region in table[sex].T])
            for table in (self.means_months, self.sds_months)
        )
        off = np.asarray(months, np.float64) - hand - means
        return {
            name: RegionAge(float(months[place]), float(off[place]), float(off[place] / sds[place]))
            for place, name in enumerate(schema.REGIONS)
        }

    def as_json(self) -> dict[str, Any]:
        """Returns the JSON representation, which `read` accepts."""
        return {
            "knots_months": list(KNOTS_MONTHS),
            "regions": list(schema.REGIONS),
            "cases": self.cases,
            **{
                name: dict(zip(schema.SEX_NAMES, np.round(table, 2).tolist(), strict=True))
                for name, table in (
                    ("mean_difference_months", self.means_months),
                    ("sd_months", self.sds_months),
                )
            },
        }

    @classmethod
    def read(cls, content: Mapping[str, Any]) -> "RegionNorms":
        """Creates norms from their JSON representation.

        Raises:
            KeyError: an entry is missing.
            ValueError: the norms are of other regions or ages.
        """
        means, sds = (
            np.array([content[name][sex] for sex in schema.SEX_NAMES], np.float64)
            for name in ("mean_difference_months", "sd_months")
        )
        shape = (len(schema.SEX_NAMES), len(KNOTS_MONTHS), len(schema.REGIONS))
        if means.shape != shape or sds.shape != shape or not (sds > 0).all():
            raise ValueError(f"regions: norms of shape {means.shape} and {sds.shape}, not {shape}")
        return cls(means, sds, int(content["cases"]))


def hand_months(months: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Returns the weighted mean [...] of the bone ages [..., 17] of regions in months."""
    return np.sum(months * weights, axis=-1) / np.maximum(np.sum(weights, axis=-1), 1e-9)


def fit_region_norms(
    months: np.ndarray, weights: np.ndarray, sex: np.ndarray
) -> RegionNorms | None:
    """Fits norms to held-out cases.

    Args:
        months: [N, 17] bone ages of the regions in months.
        weights: [N, 17] their weights in the fusion.
        sex: [N] codes of `schema.SEX_NAMES`.

    Returns:
        The norms; None for fewer than `MIN_CASES` cases.
    """
    if len(months) < MIN_CASES:
        return None
    hands = hand_months(months, weights)
    off = np.asarray(months, np.float64) - hands[:, None]
    all_mean, all_variance = off.mean(axis=0), off.var(axis=0)
    means, sds = [], []
    for code in range(len(schema.SEX_NAMES)):
        same = np.where(np.asarray(sex) == code, 1.0, _OTHER_SEX)
        for knot in KNOTS_MONTHS:
            near = same * np.exp(-0.5 * np.square((hands - knot) / _NEAR_MONTHS))
            total = near.sum() + _FEW
            mean = (near @ off + _FEW * all_mean) / total
            square = near @ np.square(off - mean) + _FEW * (all_variance + (all_mean - mean) ** 2)
            means.append(mean)
            sds.append(np.maximum(np.sqrt(square / total), _LEAST_SD_MONTHS))
    shape = (len(schema.SEX_NAMES), len(KNOTS_MONTHS), len(schema.REGIONS))
    return RegionNorms(np.reshape(means, shape), np.reshape(sds, shape), len(months))
