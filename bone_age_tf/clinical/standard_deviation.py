"""Distance of a bone age from the chronological age in standard deviations.

The standard deviation score (SDS) is the difference of bone age and chronological age, divided by
the SD of bone age in healthy children of that sex and chronological age. Tables of the same atlas
disagree: a girl of 144 months with a bone age of 168 months is advanced by one and normal by the
other. The result therefore names its reference.
"""

import dataclasses
from typing import Final

from bone_age_tf import schema
from bone_age_tf.clinical.arguments import (
    outside_table,
    require_age_months,
    require_choice,
    require_sex,
)
from bone_age_tf.clinical.tables import Curve, read_curve

BRUSH_FOUNDATION: Final = schema.BRUSH_FOUNDATION
GREULICH_PYLE_V_VI: Final = schema.GREULICH_PYLE_V_VI
SD_REFERENCES: Final = schema.SD_REFERENCES
"""Full names of the references by their keys."""

DELAYED: Final = "delayed"
NORMAL: Final = "normal"
ADVANCED: Final = "advanced"
NORMAL_SDS: Final = 2.0
"""Distance in SDs up to which a bone age counts as normal: the usual convention, about 95 % of
healthy children."""


@dataclasses.dataclass(frozen=True)
class StandardDeviationScore:
    """A bone age in standard deviations from the chronological age.

    Attributes:
        sds: (bone age - chronological age) / SD; None outside the reference's table.
        sd_months: SD of bone age in months at the chronological age; None outside the table.
        assessment: delayed (below -2 SD), normal, or advanced (above +2 SD); None outside the
            table.
        reference: key of the reference, one of `SD_REFERENCES`.
        reference_name: full name of the reference.
        reason: why there is no score; empty if there is one.
    """

    sds: float | None
    sd_months: float | None
    assessment: str | None
    reference: str
    reference_name: str
    reason: str = ""

    @property
    def summary(self) -> str:
        """The score with its reference as a text, or the reason why there is none."""
        if self.sds is None:
            return f"no standard deviation score: {self.reason}"
        return (
            f"{self.assessment}, {self.sds:+.1f} SD "
            f"(SD {self.sd_months:.1f} months, {self.reference_name})"
        )


def standard_deviation_score(
    bone_age_months: float,
    chronological_age_months: float,
    sex: str | int,
    reference: str = BRUSH_FOUNDATION,
) -> StandardDeviationScore:
    """Returns how many standard deviations a bone age lies from the chronological age.

    The SD is interpolated linearly between the rows of the table. The table is not extrapolated.

    Args:
        bone_age_months: bone age in months.
        chronological_age_months: the child's age in months when the radiograph was taken.
        sex: female or male, or a code of `schema`.
        reference: `brush_foundation` or `greulich_pyle_v_vi`.

    Raises:
        InputError: an argument is not usable; the message names it.
    """
    require_choice("reference", reference, SD_REFERENCES)
    bone_age = require_age_months("bone age", bone_age_months)
    age = require_age_months("chronological age", chronological_age_months)
    name, sex = SD_REFERENCES[reference], require_sex(sex)
    curve = sd_curve(sex, reference)
    sd = curve.at(age)
    if sd is None:
        whose = f"{sex}, {name}"
        reason = outside_table("chronological age", age, curve.first, curve.last, whose)
        return StandardDeviationScore(None, None, None, reference, name, reason)
    sds = (bone_age - age) / sd
    return StandardDeviationScore(sds, sd, assess(sds), reference, name)


def assess(sds: float) -> str:
    """Returns delayed below -2 SD, advanced above +2 SD, and normal otherwise."""
    if sds < -NORMAL_SDS:
        return DELAYED
    return ADVANCED if sds > NORMAL_SDS else NORMAL


def sd_curve(sex: str, reference: str = BRUSH_FOUNDATION) -> Curve:
    """Returns the SD of bone age in months by chronological age in months.

    Args:
        sex: female or male.
        reference: one of `SD_REFERENCES`.
    """
    return read_curve(reference, "chronological_age_months", "sd_months", sex=sex)


def mean_curve(sex: str, reference: str = BRUSH_FOUNDATION) -> Curve | None:
    """Returns the mean bone age in months by chronological age in months.

    Tables V and VI print no means; the result is None for them. The means are not part of the
    score, which measures the distance from the chronological age.

    Args:
        sex: female or male.
        reference: one of `SD_REFERENCES`.
    """
    if reference != BRUSH_FOUNDATION:
        return None
    return read_curve(reference, "chronological_age_months", "mean_bone_age_months", sex=sex)
