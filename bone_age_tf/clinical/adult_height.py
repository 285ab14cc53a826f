"""Adult height from a measured height and a bone age, after Bayley and Pinneau.

At a given bone age a child has reached a known percentage of its adult height. The percentage also
depends on whether the bone age is average, accelerated or retarded for the child's age.

Source: Bayley and Pinneau, Tables for predicting adult height from skeletal age, J Pediatr
1952;40:423-441, as reprinted in Greulich and Pyle 1959. The percentages belong to bone ages by
Greulich and Pyle and to the American children of that study; in children with growth disorders the
error can be larger than the published one.
"""

import dataclasses
from typing import Final

from bone_age_tf.clinical.arguments import (
    outside_table,
    require_age_months,
    require_height_cm,
    require_sex,
)
from bone_age_tf.clinical.tables import Curve, read_curve

AVERAGE: Final = "average"
ACCELERATED: Final = "accelerated"
RETARDED: Final = "retarded"
"""Groups of children by bone age minus chronological age; the terms are those of the source."""
GROUP_MONTHS: Final = 12.0
"""Difference of bone age and chronological age in months from which a child is not average."""
SOURCE: Final = "Bayley and Pinneau 1952, Greulich-Pyle bone age"
_CM_PER_INCH: Final = 2.54


@dataclasses.dataclass(frozen=True)
class AdultHeight:
    """A predicted adult height.

    Attributes:
        height_cm: predicted adult height in cm; None outside the table.
        error_cm: SD in cm of predicted minus actual adult height at this chronological age, in the
            children of a second study (Berkeley Growth Study); about two thirds of predictions are
            within it. None outside the error table or without a prediction.
        group: average, accelerated or retarded.
        percent_of_adult_height: percentage of the adult height that the child has reached; None
            outside the table.
        source: the published method.
        reason: why there is no prediction; empty if there is one.
    """

    height_cm: float | None
    error_cm: float | None
    group: str
    percent_of_adult_height: float | None
    source: str = SOURCE
    reason: str = ""


def predict_adult_height(
    height_cm: float, bone_age_months: float, chronological_age_months: float, sex: str | int
) -> AdultHeight:
    """Predicts the adult height by Bayley and Pinneau.

    The percentage and its error are interpolated linearly between the rows of their tables. The
    tables are not extrapolated.

    Args:
        height_cm: measured standing height in cm.
        bone_age_months: bone age by Greulich and Pyle in months.
        chronological_age_months: the child's age in months when the radiograph was taken.
        sex: female or male, or a code of `schema`.

    Raises:
        InputError: an argument is not usable; the message names it.
    """
    height = require_height_cm(height_cm)
    bone_age = require_age_months("bone age", bone_age_months)
    age = require_age_months("chronological age", chronological_age_months)
    sex = require_sex(sex)
    group = group_of(bone_age, age)
    column = "percent_of_adult_height"
    curve = read_curve("bayley_pinneau", "bone_age_months", column, sex=sex, group=group)
    percent = curve.at(bone_age)
    if percent is None:
        whose = f"{sex}, bone age {group}, Bayley and Pinneau 1952"
        reason = outside_table("bone age", bone_age, curve.first, curve.last, whose)
        return AdultHeight(None, None, group, None, reason=reason)
    return AdultHeight(height / (percent / 100), error_cm(age, sex), group, percent)


def group_of(bone_age_months: float, chronological_age_months: float) -> str:
    """Returns accelerated or retarded from a difference of 12 months on, and average below."""
    difference = bone_age_months - chronological_age_months
    if difference >= GROUP_MONTHS:
        return ACCELERATED
    return RETARDED if difference <= -GROUP_MONTHS else AVERAGE


def error_cm(chronological_age_months: float, sex: str) -> float | None:
    """Returns the published SD of the prediction's error in cm; None outside its table.

    The SD is that of the validation sample, since the other sample is the one from which the
    percentages were derived.

    Args:
        chronological_age_months: the child's age in months.
        sex: female or male.
    """
    return error_curve(sex).at(chronological_age_months)


def error_curve(sex: str) -> Curve:
    """Returns the published SD of the prediction's error in cm by chronological age in months.

    Args:
        sex: female or male.
    """
    columns = ("chronological_age_months", "validation_sd_in")
    inches = read_curve("bayley_pinneau_error", *columns, sex=sex)
    return Curve(inches.places, inches.values * _CM_PER_INCH)
