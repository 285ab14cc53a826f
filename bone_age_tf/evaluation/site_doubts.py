"""Checks a site's table of cases before a calibration is fitted to it.

A calibration assumes that the readers' ages are correct. Labels in years, shuffled rows, swapped
sexes, repeated radiographs or many unusable rows would each result in a harmful calibration. NumPy
only.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np

from bone_age_tf import schema

MOST_SCATTERS: Final = 4.0
"""Maximum root mean square error minus two standard errors, as a multiple of the model's own error.
A site with a scatter of 40 months and a shift of 15 has 3.6 times that of a model with 12."""
LEAST_CORRELATION: Final = 0.7
"""Minimum upper end of the 95 % interval of the correlation. A scatter of 40 months on ages with an
SD of 42 still gives 0.72."""
MOST_COPIES: Final = 0.1
"""Maximum share of rows that repeat a radiograph; a repeated radiograph is used once."""
_MOST_YEARS: Final = 20.0
"""Age below which all labels are if they are probably in years."""
_LEAST_CASES: Final = 5
"""Minimum number of cases for a correlation, and of each sex for a comparison of the sexes."""
_SURE_T: Final = 3.0
"""Minimum t of the gain, over both sexes, at which swapped sexes fit better."""


def looks_like_years(age_months: np.ndarray) -> bool:
    """Returns whether the labels of several children are probably in years.

    Args:
        age_months: [N] labels.
    """
    return len(age_months) >= _LEAST_CASES and float(np.max(age_months)) <= _MOST_YEARS


def years_warning(age_months: np.ndarray) -> str:
    """Returns a warning if labels are probably in years, else an empty text."""
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
    """Returns doubts about a site's cases, a sentence each; an empty list if there are none.

    Args:
        by_sex_months: [2, N] the model's ages, each case as female and as male.
        age_months: [N] the readers' ages.
        sex: [N] codes of `schema.SEX_NAMES`.
        scatter_months: SD of the model's errors on its test data.
        copies: number of rows that repeat the radiograph of another row, not included in the cases.
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
    """Finds shuffled rows, if the ages differ enough for a correlation."""
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
    """Finds swapped sexes; a bias that is equal in both sexes is not mistaken for swapped sexes."""
    errors = np.abs(by_sex_months - age_months)
    gain = np.take_along_axis(errors, sex[np.newaxis], axis=0)[0]
    gain = gain - np.take_along_axis(errors, 1 - sex[np.newaxis], axis=0)[0]
    by_sex = [gain[sex == code] for code in range(len(schema.SEX_NAMES))]
    if any(gains.size < _LEAST_CASES or gains.mean() <= 0 for gains in by_sex):
        return []
    mean = np.mean([gains.mean() for gains in by_sex])
    # The standard error of the mean of both means, from the variance within each sex.
    error = np.sqrt(sum(gains.var(ddof=1) / gains.size for gains in by_sex)) / len(by_sex)
    if mean < _SURE_T * error:
        return []
    return [
        f"with female and male exchanged the errors are {mean:.1f} months smaller: are the sexes "
        "swapped?"
    ]
