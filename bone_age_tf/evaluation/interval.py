"""A 90 % interval that holds what it says: conformal, adaptive to the case.

A network's own interval is too narrow or too wide, and not everywhere alike. On cases that it did
not learn from, the distance of each true age is measured in half-widths of the network's own
interval (conformalised quantile regression; Romano et al. 2019, arXiv 1905.03222; theirs adds where
this multiplies). For each sex and each true age, the factor is found that holds 90 % of the cases
of about that age (localised conformal prediction; Guan 2019, arXiv 1908.08558). The interval of a
new case holds the ages that it could have: those that are not further off than the factor of that
age allows (label-conditional conformal prediction; Vovk 2012, arXiv 1209.2673). So it holds for the
young and the old, whom networks draw towards the middle, and not only on average.

NumPy only.
"""

import dataclasses
from typing import Any, Final

import numpy as np

from bone_age_tf import schema

COVERAGE: Final = 0.9
KNOTS_MONTHS: Final = tuple(float(age) for age in range(0, 241, 12))
"""True ages at which factors are kept, evenly spaced; between them they are interpolated."""
_NEAR_MONTHS: Final = 10.0
"""SD of the weights of cases by the distance of their true ages."""
_OTHER_SEX: Final = 0.1
"""Weight of cases of the other sex."""
_ENOUGH_CASES: Final = 80
"""Where the weights leave fewer, cases from further away count more."""
_FLOOR_MONTHS: Final = 1.0
"""Half-widths below this are measured as if they were this."""
_STEEP: Final = 1e-6
"""Of a line that falls, the end is taken."""
MIN_CASES: Final = 10
FOLDS: Final = 5


@dataclasses.dataclass(frozen=True)
class IntervalTable:
    """How far true ages may lie from a predicted one, in half-widths of the network's own interval.

    Attributes:
        factors: of each sex at each of `KNOTS_MONTHS`, true ages.
        cases: that it was made from.
    """

    factors: tuple[tuple[float, ...], tuple[float, ...]]
    cases: int

    def apply(
        self, months: np.ndarray, lower: np.ndarray, upper: np.ndarray, sex: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Returns the lower and upper ends of the interval, [N] in months.

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
        """Returns it for a file; `read` takes it back."""
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
        """Returns what `bone_age_tf.models.answer_layers.ConformalInterval` takes."""
        return {
            "knots_months": KNOTS_MONTHS,
            "factors": self.factors,
            "least_half_width": _FLOOR_MONTHS,
        }

    @classmethod
    def read(cls, content: dict[str, Any]) -> "IntervalTable":
        """Returns what `as_json` gave."""
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
    """Finds the factors on cases that the network did not learn from.

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
    """Returns the ends of each case's interval by a table that the others gave.

    For figures on the same cases that the table is made from. Arguments as of `fit_interval`; cases
    are dealt to the folds in their order.
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
    """Returns [N], the last age after the predicted one that is no further off than it may be.

    Args:
        months: [N] predicted ages.
        half_width: [N] of the networks' own intervals, on this side.
        factors: [N, K] at the knots.
        knots: [K] ascending.
    """
    beyond = (knots - months[:, None]) - half_width[:, None] * factors  # above 0: too far off
    rise = np.diff(beyond, axis=1)
    # Where the line between two knots crosses 0; both within: at the next one.
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
    # The case to come counts too, as one that nothing covers.
    wanted = COVERAGE * (total + weights.max())
    place = min(int(np.searchsorted(reached, wanted)), scores.size - 1)
    return float(scores[order[place]])
