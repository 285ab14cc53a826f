"""Conformal 90 % prediction intervals that adapt to sex and age.

A network's own interval is too narrow or too wide, by an amount that depends on the age. On
held-out cases, the error of each prediction is measured in half-widths of the network's own
interval (conformalised quantile regression; Romano et al. 2019, arXiv 1905.03222; they add a
constant, whereas this multiplies by a factor). For each sex and each true age, the factor is
determined that covers 90 % of the cases of about that age (localised conformal prediction; Guan
2019, arXiv 1908.08558). The interval of a new case contains all possible true ages, those for which
the error is within the factor of that age (label-conditional conformal prediction; Vovk 2012,
arXiv 1209.2673). Coverage therefore holds for young and old children too, whose ages networks
predict too close to the mean, and not only on average.

NumPy only.
"""

import dataclasses
from typing import Any, Final

import numpy as np

from bone_age_tf import schema

COVERAGE: Final = 0.9
"""Share of cases whose true age the interval contains."""
KNOTS_MONTHS: Final = tuple(float(age) for age in range(0, 241, 12))
"""True ages in months at which factors are stored; factors between them are interpolated."""
_NEAR_MONTHS: Final = 10.0
"""SD in months of the Gaussian that weights cases by the distance of their true ages."""
_OTHER_SEX: Final = 0.1
"""Weight of a case of the other sex, relative to a case of the same sex."""
_ENOUGH_CASES: Final = 80
"""Minimum effective number of cases at an age; with fewer, more distant cases gain weight."""
_FLOOR_MONTHS: Final = 1.0
"""Minimum half-width in months; narrower half-widths are set to this value."""
_STEEP: Final = 1e-6
"""Minimum rise between two knots, so that the division by it is defined where the line falls."""
MIN_CASES: Final = 10
"""Minimum number of cases for a fit."""
FOLDS: Final = 5
"""Number of folds of `cross_fitted_interval`."""


@dataclasses.dataclass(frozen=True)
class IntervalTable:
    """Maximum errors by sex and true age, as multiples of half-widths of the network's interval.

    Attributes:
        factors: factors of each sex at each of the true ages `KNOTS_MONTHS`.
        cases: number of cases to which the factors were fitted.
    """

    factors: tuple[tuple[float, ...], tuple[float, ...]]
    cases: int

    def apply(
        self, months: np.ndarray, lower: np.ndarray, upper: np.ndarray, sex: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Returns the lower and upper ends of the intervals, [N] in months.

        Args:
            months: [N] predicted ages.
            lower: [N] lower ends of the network's own interval; the ages themselves if it has none.
            upper: [N] upper ends.
            sex: [N] codes of `schema.SEX_NAMES`.
        """
        factors = np.array(self.factors)[np.asarray(sex, int)]
        below, above = _half_widths(months, lower, upper)
        return (
            -_furthest_age(-months, below, factors[:, ::-1], -np.array(KNOTS_MONTHS[::-1])),
            _furthest_age(months, above, factors, np.array(KNOTS_MONTHS)),
        )

    def as_json(self) -> dict[str, Any]:
        """Returns the JSON representation, which `read` accepts."""
        return {
            "coverage": COVERAGE,
            "knots_months": list(KNOTS_MONTHS),
            "factors": {
                name: list(factors)
                for name, factors in zip(schema.SEX_NAMES, self.factors, strict=True)
            },
            "least_half_width_months": _FLOOR_MONTHS,
            "cases": self.cases,
        }

    def for_graph(self) -> dict[str, Any]:
        """Returns the arguments of `bone_age_tf.models.answer_layers.ConformalInterval`."""
        return {
            "knots_months": KNOTS_MONTHS,
            "factors": self.factors,
            "least_half_width": _FLOOR_MONTHS,
        }

    @classmethod
    def read(cls, content: dict[str, Any]) -> "IntervalTable":
        """Creates a table from its JSON representation."""
        female, male = (
            tuple(float(factor) for factor in content["factors"][name]) for name in schema.SEX_NAMES
        )
        return cls((female, male), int(content["cases"]))


def fit_interval(
    months: np.ndarray,
    lower: np.ndarray,
    upper: np.ndarray,
    age_months: np.ndarray,
    sex: np.ndarray,
) -> IntervalTable:
    """Fits the factors to held-out cases.

    Args:
        months: [N] predicted ages.
        lower: [N] lower ends of the network's own interval; the ages themselves if it has none.
        upper: [N] upper ends.
        age_months: [N] true ages.
        sex: [N] codes of `schema.SEX_NAMES`.

    Raises:
        ValueError: fewer than `MIN_CASES` cases.
    """
    if months.size < MIN_CASES:
        raise ValueError(f"{months.size} cases give no interval; at least {MIN_CASES} are needed")
    below, above = _half_widths(months, lower, upper)
    off = age_months - months
    scores = np.where(off < 0, -off / below, off / above)
    by_sex = []
    for code in range(len(schema.SEX_NAMES)):
        same = np.where(sex == code, 1.0, _OTHER_SEX)
        by_sex.append(
            tuple(_local_quantile(scores, age_months, same, knot) for knot in KNOTS_MONTHS)
        )
    return IntervalTable((by_sex[0], by_sex[1]), int(months.size))


def cross_fitted_interval(
    months: np.ndarray,
    lower: np.ndarray,
    upper: np.ndarray,
    age_months: np.ndarray,
    sex: np.ndarray,
    folds: int = FOLDS,
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the ends of each case's interval, from a table that was fitted to the other folds.

    With it, coverage can be measured on the cases to which the table is fitted. The arguments are
    those of `fit_interval`; consecutive cases are in different folds.
    """
    low, high = np.empty(months.size), np.empty(months.size)
    fold = np.arange(months.size) % folds
    for number in range(folds):
        there, here = fold != number, fold == number
        table = fit_interval(
            months[there], lower[there], upper[there], age_months[there], sex[there]
        )
        low[here], high[here] = table.apply(months[here], lower[here], upper[here], sex[here])
    return low, high


def _half_widths(months: Any, lower: Any, upper: Any) -> tuple[Any, ...]:
    return np.maximum(months - lower, _FLOOR_MONTHS), np.maximum(upper - months, _FLOOR_MONTHS)


def _furthest_age(months: Any, half_width: Any, factors: Any, knots: Any) -> np.ndarray:
    """Returns [N] the largest true ages for which the error is within the allowed range.

    Args:
        months: [N] predicted ages.
        half_width: [N] half-widths of the network's own intervals on this side.
        factors: [N, K] factors at the knots.
        knots: [K] true ages in ascending order.
    """
    beyond = (knots - months[:, None]) - half_width[:, None] * factors  # above 0: outside
    rise = np.diff(beyond, axis=1)
    # The end is where the line between two knots crosses 0, or the next knot if both are within.
    share = np.clip(-beyond[:, :-1] / np.maximum(rise, _STEEP), 0.0, 1.0)
    ends = np.where(beyond[:, :-1] <= 0, knots[:-1] + np.diff(knots) * share, knots[0])
    return ends.max(axis=1)


def _local_quantile(scores: Any, age_months: Any, same_sex: Any, knot: float) -> float:
    near = _NEAR_MONTHS
    while True:
        weights = same_sex * np.exp(-0.5 * ((age_months - knot) / near) ** 2)
        total = weights.sum()
        if near > 1000 or total**2 >= _ENOUGH_CASES * (weights**2).sum():
            break
        near *= 1.25
    order = np.argsort(scores)
    reached = np.cumsum(weights[order])
    # The new case counts too, as a case that is never covered.
    needed = COVERAGE * (total + weights.max())
    place = min(int(np.searchsorted(reached, needed)), scores.size - 1)
    return float(scores[order[place]])
