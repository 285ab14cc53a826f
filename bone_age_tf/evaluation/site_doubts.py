"""What speaks against a table of a site's cases, before it is allowed to change bone ages.

A calibration takes the readers' ages for true. Labels in years, shuffled rows, swapped sexes, the
same radiograph many times or a table of which most rows cannot be used would each make a
calibration that does harm. NumPy only.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np

from bone_age_tf import schema

MOST_SCATTERS: Final = 4.0
"""Maximum root mean square error, less two of its standard errors, in multiples of the model's own.
A site with a scatter of 40 months and a shift of 15 has 3.6 times that of a model with 12."""
LEAST_CORRELATION: Final = 0.7
"""The upper end of the 95 % interval of the correlation must reach it. A scatter of 40 months on
ages that scatter by 42 still gives 0.72."""
MOST_COPIES: Final = 0.1
"""Maximum share of the rows that repeat a radiograph; they count once."""
_MOST_YEARS: Final = 20.0
"""Labels that are all below are probably years."""
_LEAST_CASES: Final = 5
"""Minimum number of cases for a correlation, and of each sex for a comparison of the sexes."""
_SURE_T: Final = 3.0
"""Minimum t of the gain, over both sexes, at which swapped sexes fit better."""


def looks_like_years(age_months: np.ndarray) -> bool:
    """Returns whether labels of several children are probably ages in years.

    Args:
        age_months: [N] labels.
    """
    return len(age_months) >= _LEAST_CASES and float(np.max(age_months)) <= _MOST_YEARS


def years_warning(age_months: np.ndarray) -> str:
    """Returns a sentence where labels are probably years, empty otherwise."""
    if not looks_like_years(age_months):
        return ""
    highest = float(np.max(age_months))
    return f"WARNING: all ages are at most {highest:g}; months are expected. Are they years?"


def find_doubts(
    by_sex_months: np.ndarray,
    age_months: np.ndarray,
    sex: np.ndarray,
    scatter_months: float,
    copies: int = 0,
    left_out: int = 0,
) -> list[str]:
    """Returns what speaks against a site's cases, a sentence for each finding; none if all is well.

    Args:
        by_sex_months: [2, N] the model's ages, each case as female and as male.
        age_months: [N] the readers' ages.
        sex: [N] codes of `schema.SEX_NAMES`.
        scatter_months: SD of the model's errors where it was tested.
        copies: number of rows that repeated the radiograph of another row; they are not among
            the cases.
        left_out: number of rows that cannot be used for other reasons.
    """
    count = age_months.size
    rows = count + copies + left_out
    doubts = []
    if left_out > count:
        doubts.append(f"{left_out} of {rows} rows cannot be used")
    if copies > max(1, MOST_COPIES * rows):
        doubts.append(f"{copies} of {rows} rows repeat the radiograph of another row")
    if not count:
        return doubts
    months = np.take_along_axis(by_sex_months, sex[np.newaxis], axis=0)[0]
    error = np.sqrt(np.mean((months - age_months) ** 2))
    if looks_like_years(age_months) and np.median(months) > 2 * _MOST_YEARS:
        doubts.append(
            f"the ages are at most {age_months.max():g}, where the model reads a median of "
            f"{np.median(months):.0f} months: they look like years"
        )
    elif error * (1 - 2 / np.sqrt(2 * count)) > MOST_SCATTERS * scatter_months:
        doubts.append(
            f"the readers differ from the model by {error:.0f} months (root mean square), "
            f"{error / scatter_months:.1f} times as much as where it was tested"
        )
    doubts += _correlation_doubt(months, age_months, scatter_months)
    doubts += _swapped_doubt(by_sex_months, age_months, sex)
    return doubts


def _correlation_doubt(
    months: np.ndarray, age_months: np.ndarray, scatter_months: float
) -> Sequence[str]:
    """Finds shuffled rows, where the ages differ enough to be told apart."""
    if months.size < _LEAST_CASES or min(months.std(), age_months.std()) < scatter_months:
        return []
    correlation = float(np.corrcoef(months, age_months)[0, 1])
    # Fisher's transformation; Fisher 1921, Metron 1, 3-32.
    high = np.tanh(np.arctanh(min(correlation, 0.999)) + 1.96 / np.sqrt(months.size - 3))
    if high >= LEAST_CORRELATION:
        return []
    return [
        f"the readers' ages hardly follow the radiographs (correlation {correlation:.2f} with the "
        "model): are rows shuffled?"
    ]


def _swapped_doubt(
    by_sex_months: np.ndarray, age_months: np.ndarray, sex: np.ndarray
) -> Sequence[str]:
    """Finds swapped sexes: readers who are off alike in both sexes do not look so."""
    errors = np.abs(by_sex_months - age_months)
    gain = np.take_along_axis(errors, sex[np.newaxis], axis=0)[0]
    gain = gain - np.take_along_axis(errors, 1 - sex[np.newaxis], axis=0)[0]
    by_sex = [gain[sex == code] for code in range(len(schema.SEX_NAMES))]
    if any(own.size < _LEAST_CASES or own.mean() <= 0 for own in by_sex):
        return []
    # Of the mean of both sexes' means, from the scatter within each.
    mean = np.mean([own.mean() for own in by_sex])
    error = np.sqrt(sum(own.var(ddof=1) / own.size for own in by_sex)) / len(by_sex)
    if mean < _SURE_T * error:
        return []
    return [
        f"with female and male exchanged the errors are {mean:.1f} months smaller: are the sexes "
        "swapped?"
    ]
