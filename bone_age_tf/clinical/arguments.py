"""Checks of the arguments that the functions of this package share, and texts of ages."""

import math
from collections.abc import Iterable
from typing import Final

from bone_age_tf import schema
from bone_age_tf.errors import InputError
from bone_age_tf.radiograph import sex_name

MAX_AGE_MONTHS: Final = schema.MAX_CHRONOLOGICAL_AGE_MONTHS
"""Maximum age in months that is accepted, so that every age of a file or a table is."""
MIN_HEIGHT_CM: Final = schema.MIN_HEIGHT_CM
MAX_HEIGHT_CM: Final = schema.MAX_HEIGHT_CM
"""Range of heights in cm that is accepted."""
MONTHS_PER_YEAR: Final = 12.0


def require_sex(sex: str | int | None) -> str:
    """Returns female or male for a word or a code of `schema`.

    Raises:
        InputError: the sex is missing or unknown.
    """
    name = sex_name(sex)
    if name is None:
        raise InputError("the sex is missing; give female or male")
    return name


def require_age_months(what: str, age_months: float) -> float:
    """Returns an age in months as a number.

    Args:
        what: name of the age, for the message.
        age_months: the age in months.

    Raises:
        InputError: the age is not a number of months from 0 to `MAX_AGE_MONTHS`.
    """
    return _require_number(what, age_months, 0.0, MAX_AGE_MONTHS, "months")


def require_height_cm(height_cm: float) -> float:
    """Returns a height in cm as a number.

    Raises:
        InputError: the height is not a number from `MIN_HEIGHT_CM` to `MAX_HEIGHT_CM`.
    """
    return _require_number("height", height_cm, MIN_HEIGHT_CM, MAX_HEIGHT_CM, "cm")


def require_choice(what: str, value: str, known: Iterable[str]) -> str:
    """Returns the value.

    Raises:
        InputError: the value is none of the known ones; the message lists them.
    """
    known = tuple(known)
    if value not in known:
        raise InputError(f"{what} is {value!r}; give {' or '.join(known)}")
    return value


def outside_table(what: str, age_months: float, first: float, last: float, whose: str) -> str:
    """Returns the reason why there is no value for an age outside a table.

    Args:
        what: name of the age.
        age_months: the age in months.
        first: first age of the table in months.
        last: last age of the table in months.
        whose: which part of which table, such as "girls, Brush Foundation".
    """
    return (
        f"{what} {age_months:g} months is outside the table, which covers "
        f"{first:g} to {last:g} months ({whose})"
    )


def years_and_months(age_months: float) -> str:
    """Returns an age in months as a text such as `14 y 0 mo`."""
    years, months = divmod(round(age_months), round(MONTHS_PER_YEAR))
    return f"{years} y {months} mo"


def _require_number(what: str, value: float, low: float, high: float, unit: str) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not low <= number <= high:  # NaN fails too
        raise InputError(f"{what} is {value!r}; give a number from {low:g} to {high:g} {unit}")
    return number
