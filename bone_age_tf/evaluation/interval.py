"""A 90 % interval that holds what it says: conformal, adaptive to the case.

A network's own interval is too narrow or too wide, and not everywhere alike. On cases that it did
not learn from, each true age is measured in half-widths of the network's own interval; the factor
that covers 90 % of those cases stretches the interval (conformalised quantile regression; Romano et
al. 2019, arXiv 1905.03222; theirs adds where this multiplies). The factor is found for each sex and
each predicted age from the cases nearby (localised conformal prediction; Guan 2019, arXiv
1908.08558), so that it holds for the young and the old and not only on average.

NumPy only.
"""

import dataclasses
from typing import Any, Final

import numpy as np

from bone_age_tf import schema

COVERAGE: Final = 0.9
KNOTS_MONTHS: Final = tuple(float(age) for age in range(0, 241, 12))
"""Predicted ages at which factors are kept; between them they are interpolated."""
_NEAR_MONTHS: Final = 12.0
"""SD of the weights of cases by the distance of their predicted ages."""
_OTHER_SEX: Final = 0.1
"""Weight of cases of the other sex."""
_ENOUGH_CASES: Final = 80
"""Where the weights leave fewer, cases from further away count more."""
_FLOOR_MONTHS: Final = 1.0
"""Half-widths below this are measured as if they were this."""
MIN_CASES: Final = 10
FOLDS: Final = 5


@dataclasses.dataclass(frozen=True)
class IntervalTable:
    """How much to stretch a network's own interval.

    Attributes:
        factors: of each sex at each of `KNOTS_MONTHS`.
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
        factor = np.where(
            sex == schema.MALE,
            *(np.interp(months, KNOTS_MONTHS, self.factors[code]) for code in (1, 0)),
        )
        below, above = _half_widths(months, lower, upper)
        ends = months - factor * below, months + factor * above
        return tuple(np.clip(end, schema.MIN_AGE_MONTHS, schema.MAX_AGE_MONTHS) for end in ends)

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
        """Returns what `bone_age_tf.models.answer_layers.StretchedInterval` takes."""
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
        by_sex.append(tuple(_local_quantile(scores, months, same, knot) for knot in KNOTS_MONTHS))
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


def _half_widths(months, lower, upper):
    return np.maximum(months - lower, _FLOOR_MONTHS), np.maximum(upper - months, _FLOOR_MONTHS)


def _local_quantile(scores, months, same_sex, knot: float) -> float:
    near = _NEAR_MONTHS
    while True:
        weights = same_sex * np.exp(-0.5 * ((months - knot) / near) ** 2)
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
