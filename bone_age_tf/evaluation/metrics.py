"""Metrics of predicted bone ages in months, with bootstrap intervals.

All numbers in reports are computed by `evaluate`. NumPy only.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from bone_age_tf import schema

AGE_BAND_MONTHS: Final = 24
"""Width of the age bands in months (two years)."""

WITHIN_MONTHS: Final = (6, 12, 24)
"""Limits of the absolute error in months, inclusive, for which the share of cases is reported."""

MIN_INTERVAL_CASES: Final = 10
"""Minimum number of cases for intervals; bootstrap intervals of fewer cases are too narrow."""

INTERVAL_PERCENTILES: Final = (2.5, 97.5)
LIMITS_OF_AGREEMENT_SD: Final = 1.96

Estimate = dict[str, float | None]
"""`value` and the ends `low` and `high` of its 95 % interval; None for an undefined value."""

_CHUNK_ELEMENTS: Final = 2**18  # number of counts in memory, 2 MiB of float64
_DECIMALS: Final = 6  # meaningless in months; removes differences due to summation order

_MAE: Final = "mae_months"
_MEDIAN: Final = "median_absolute_error_months"
_RMSE: Final = "rmse_months"
_FLOOR: Final = "constant_mae_months"
_RATIO: Final = "constant_ratio"


@dataclass(frozen=True, eq=False)
class Predictions:
    """Predicted and true bone ages of a split, one entry per case, in any order.

    Arrays are copied and made read-only.

    Attributes:
        image_id: [N], unique.
        sex: [N] int64, codes of `schema.SEX_NAMES`.
        age_months: [N] float64, the true bone age.
        predicted_months: [N] float64.
        lower_90: [N] float64, lower end of the 90 % prediction interval in months, or None.
        upper_90: [N] float64, its upper end, or None. Both ends are given or neither.
        parts_months: [N] float64 by name: what the parts that the prediction is fused from, such as
            single regions, predict alone; empty if there are none.

    Raises:
        ValueError: no cases, unequal lengths, an array that is not one-dimensional, an identifier
            that is not text or is repeated, an unknown sex, a number that is not finite, or an
            interval whose ends are incomplete or swapped. The message names the problem.
    """

    image_id: list[str]
    sex: np.ndarray
    age_months: np.ndarray
    predicted_months: np.ndarray
    lower_90: np.ndarray | None = None
    upper_90: np.ndarray | None = None
    parts_months: Mapping[str, np.ndarray] = field(default_factory=dict)

    def __post_init__(self) -> None:
        ids = list(self.image_id)
        _check_ids(ids)
        object.__setattr__(self, "image_id", ids)
        if (self.lower_90 is None) != (self.upper_90 is None):
            raise ValueError("lower_90 and upper_90: give both or neither")
        for name in ("sex", "age_months", "predicted_months", "lower_90", "upper_90"):
            values = getattr(self, name)
            if values is not None:
                object.__setattr__(self, name, _column(name, values, ids))
        parts = {name: _column(name, values, ids) for name, values in self.parts_months.items()}
        object.__setattr__(self, "parts_months", parts)
        unknown = ~np.isin(self.sex, range(len(schema.SEX_NAMES)))
        if unknown.any():
            case = int(np.argmax(unknown))
            raise ValueError(
                f"sex of {ids[case]!r} is {self.sex[case]:g}; "
                f"it is {schema.FEMALE} (female) or {schema.MALE} (male)"
            )
        sex = self.sex.astype(np.int64)
        sex.setflags(write=False)
        object.__setattr__(self, "sex", sex)
        if self.lower_90 is not None and self.upper_90 is not None:
            swapped = self.lower_90 > self.upper_90
            if swapped.any():
                raise ValueError(f"lower_90 of {ids[int(np.argmax(swapped))]!r} is above upper_90")

    def __len__(self) -> int:
        return len(self.image_id)

    @property
    def error_months(self) -> np.ndarray:
        """[N] float64, predicted minus true; positive if the prediction is too old."""
        return self.predicted_months - self.age_months


def evaluate(
    predictions: Predictions, constant_months: float, seed: int = 0, resamples: int = 2000
) -> dict[str, Any]:
    """Measures predictions overall, by sex and by two-year band of the true age.

    Intervals are 95 % percentile bootstrap intervals over cases (Efron and Tibshirani 1993, An
    Introduction to the Bootstrap, section 13.3). They account for the choice of cases, not for the
    randomness of training. Each group is resampled separately with the same seed, so that its
    numbers depend neither on the other groups nor on the order of the cases. A share of 0 or 1 has
    an interval of no width, which is a limit of the method and does not mean certainty.

    Args:
        predictions: predicted and true ages.
        constant_months: the median bone age of the *training* cases. Predicting it for everyone
            is the baseline.
        seed: seed of the resampling.
        resamples: number of bootstrap samples.

    Returns:
        A dict for strict JSON: `n`, `seed`, `resamples`; `overall`, with an `Estimate` per metric;
        `by_sex`, the same with `n` under each sex present; `by_age_band`, a list of the same with
        `from_months` (inclusive) and `to_months` (exclusive), ascending, bands without cases left
        out; `constant_median` with `months`, `mae_months` and `ratio` (MAE of the model over MAE of
        the constant, both from the same resamples); and, if there are any, `parts`, with
        `mae_months` and `ratio` (MAE of the model over that of the part) under each name. Ages and
        errors are in months, shares 0 to 1. Groups of fewer than `MIN_INTERVAL_CASES` cases have
        intervals of None.

    Raises:
        ValueError: `constant_months` is not finite, or `resamples` is below 1.
    """
    if not np.isfinite(constant_months):
        raise ValueError(f"constant_months is {constant_months}; it must be a finite number")
    if resamples < 1:
        raise ValueError(f"resamples is {resamples}; it must be 1 or more")
    columns = _case_columns(predictions, constant_months)

    def measure(
        cases: np.ndarray, columns: Mapping[str, np.ndarray] = columns
    ) -> dict[str, Estimate]:
        group = {name: values[cases] for name, values in columns.items()}
        return _measure(group, seed, resamples)

    def group(cases: np.ndarray) -> dict[str, Any]:
        estimates = measure(cases)
        del estimates[_FLOOR], estimates[_RATIO]
        return {"n": int(cases.size), **estimates}

    # Identifiers break ties, so that the order of the rows changes nothing.
    order = np.lexsort((np.array(predictions.image_id), columns[_MAE]))
    sex, band = predictions.sex[order], age_band(predictions.age_months[order])
    overall = measure(order)
    constant = {"mae_months": overall.pop(_FLOOR), "ratio": overall.pop(_RATIO)}
    parts = {}
    for name, months in predictions.parts_months.items():
        errors = np.abs(months - predictions.age_months)
        against = measure(order, {**columns, _FLOOR: errors})
        parts[name] = {"mae_months": against[_FLOOR], "ratio": against[_RATIO]}
    return {
        "n": len(predictions),
        "seed": int(seed),
        "resamples": int(resamples),
        "overall": overall,
        "by_sex": {schema.SEX_NAMES[code]: group(order[sex == code]) for code in np.unique(sex)},
        "by_age_band": [
            {
                "from_months": int(index) * AGE_BAND_MONTHS,
                "to_months": (int(index) + 1) * AGE_BAND_MONTHS,
                **group(order[band == index]),
            }
            for index in np.unique(band)
        ],
        "constant_median": {"months": float(constant_months), **constant},
        **({"parts": parts} if parts else {}),
    }


def age_band(age_months: np.ndarray) -> np.ndarray:
    """Returns [N] int64, the index of each age's band: 0 for [0, 24), 1 for [24, 48), ..."""
    return np.floor_divide(age_months, AGE_BAND_MONTHS).astype(np.int64)


def limits_of_agreement(error_months: np.ndarray) -> tuple[float, float] | None:
    """Returns bias - 1.96 SD and bias + 1.96 SD in months, or None for a single case.

    About 95 % of differences lie between them if differences are normal (Bland and Altman 1986,
    Lancet 327:307-310). SD is the sample's, with N - 1.
    """
    if error_months.size < 2:
        return None
    bias, spread = float(error_months.mean()), float(error_months.std(ddof=1))
    return bias - LIMITS_OF_AGREEMENT_SD * spread, bias + LIMITS_OF_AGREEMENT_SD * spread


def _check_ids(ids: list[str]) -> None:
    if not ids:
        raise ValueError("no predictions: there must be at least one case")
    known_ids: set[str] = set()
    for image_id in ids:
        if not isinstance(image_id, str):
            raise ValueError(f"image_id {image_id!r} is not text; decode bytes first")
        if image_id in known_ids:
            raise ValueError(f"image_id {image_id!r} is repeated; each case counts once")
        known_ids.add(image_id)


def _column(name: str, values: Any, ids: list[str]) -> np.ndarray:
    try:
        column = np.array(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} is not a column of numbers: {error}") from None
    if column.ndim != 1:
        raise ValueError(f"{name} has shape {column.shape}; it must be [N], one number a case")
    if column.size != len(ids):
        raise ValueError(f"{name} has {column.size} values for {len(ids)} cases")
    finite = np.isfinite(column)
    if not finite.all():
        case = int(np.argmin(finite))
        raise ValueError(f"{name} of {ids[case]!r} is {column[case]}; it must be finite")
    column.setflags(write=False)
    return column


def _case_columns(predictions: Predictions, constant_months: float) -> dict[str, np.ndarray]:
    """Returns, per metric, the [N] float64 values of the cases whose mean it is built from."""
    error = predictions.error_months
    absolute = np.abs(error)
    columns = {_MAE: absolute, _RMSE: error**2, "bias_months": error}
    for months in WITHIN_MONTHS:
        columns[f"within_{months}_months"] = (absolute <= months).astype(np.float64)
    lower, upper, age = predictions.lower_90, predictions.upper_90, predictions.age_months
    if lower is not None and upper is not None:
        columns["interval_90_coverage"] = ((lower <= age) & (age <= upper)).astype(np.float64)
        columns["interval_90_width_months"] = upper - lower
    columns[_FLOOR] = np.abs(constant_months - age)
    return columns


def _measure(columns: Mapping[str, np.ndarray], seed: int, resamples: int) -> dict[str, Estimate]:
    """Returns an estimate per metric of one group, whose cases ascend in absolute error."""
    size = columns[_MAE].size
    values = _statistics(columns, np.ones((1, size)))
    draws: dict[str, list[np.ndarray]] = {name: [] for name in values}
    if size >= MIN_INTERVAL_CASES:
        random = np.random.default_rng(seed)
        chunk = max(1, _CHUNK_ELEMENTS // size)
        for start in range(0, resamples, chunk):
            rows = min(chunk, resamples - start)
            counts = _resample_counts(random, rows, size)
            for name, statistic in _statistics(columns, counts).items():
                draws[name].append(statistic)
    return {name: _estimate(float(values[name][0]), draws[name]) for name in values}


def _resample_counts(random: np.random.Generator, rows: int, size: int) -> np.ndarray:
    """Returns [rows, size] float64: how often each case was drawn, with replacement."""
    drawn = random.integers(0, size, size=(rows, size))
    drawn += np.arange(rows)[:, None] * size
    counts = np.bincount(drawn.ravel(), minlength=rows * size)
    return counts.reshape(rows, size).astype(np.float64)


def _statistics(columns: Mapping[str, np.ndarray], counts: np.ndarray) -> dict[str, np.ndarray]:
    """Returns [R] values per metric, for the R samples given as counts of each case.

    Args:
        columns: [N] values per metric, cases ascending in absolute error.
        counts: [R, N], each row with the sum N.
    """
    size = counts.shape[1]
    means = counts @ np.stack(list(columns.values()), axis=1) / size
    statistics = {name: means[:, index] for index, name in enumerate(columns)}
    # With the cases sorted, the sample's k-th smallest error is where the running count passes k.
    running = counts.cumsum(axis=1)
    middle = [(running > rank).argmax(axis=1) for rank in ((size - 1) // 2, size // 2)]
    absolute = columns[_MAE]
    median = (absolute[middle[0]] + absolute[middle[1]]) / 2
    statistics[_RMSE] = np.sqrt(statistics[_RMSE])
    floor = statistics[_FLOOR]
    statistics[_RATIO] = np.divide(
        statistics[_MAE], floor, out=np.full_like(floor, np.nan), where=floor > 0
    )
    return {_MAE: statistics.pop(_MAE), _MEDIAN: median, **statistics}


def _estimate(value: float, draws: list[np.ndarray]) -> Estimate:
    low = high = np.nan
    if draws:
        low, high = np.percentile(np.concatenate(draws), INTERVAL_PERCENTILES)
    return {"value": _plain(value), "low": _plain(low), "high": _plain(high)}


def _plain(number: float) -> float | None:
    """Returns a rounded float for JSON, None if not finite (such as a ratio to a floor of 0)."""
    return round(float(number), _DECIMALS) + 0.0 if np.isfinite(number) else None
