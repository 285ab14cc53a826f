"""Height for age as a standard deviation score, by the CDC 2000 and WHO 2007 references.

Both references describe the distribution of height at an age by a power L, a median M and a
coefficient of variation S (Cole and Green, Stat Med 1992;11:1305-1319). The score of a height is
((height / M) ** L - 1) / (L * S).
"""

import dataclasses
import math
from typing import Final

from bone_age_tf.clinical.arguments import (
    outside_table,
    require_age_months,
    require_choice,
    require_height_cm,
    require_sex,
)
from bone_age_tf.clinical.tables import read_curve

CDC_2000: Final = "cdc_2000"
WHO_2007: Final = "who_2007"
HEIGHT_REFERENCES: Final = {
    CDC_2000: "CDC growth charts for the United States 2000",
    WHO_2007: "WHO growth reference 2007",
}
"""Full names of the references by their keys."""
_SMALL_POWER: Final = 1e-6
"""Value of L below which the limit of the formula, a logarithm, is used."""


@dataclasses.dataclass(frozen=True)
class HeightScore:
    """A height in standard deviations from the median of children of that sex and age.

    Attributes:
        sds: the standard deviation score; None outside the reference's table.
        median_cm: median height in cm at that age; None outside the table.
        reference: key of the reference, one of `HEIGHT_REFERENCES`.
        reference_name: full name of the reference.
        reason: why there is no score; empty if there is one.
    """

    sds: float | None
    median_cm: float | None
    reference: str
    reference_name: str
    reason: str = ""


def height_for_age(
    height_cm: float, age_months: float, sex: str | int, reference: str = WHO_2007
) -> HeightScore:
    """Returns the standard deviation score of a standing height.

    L, M and S are interpolated linearly between the months of the table.

    Args:
        height_cm: standing height in cm.
        age_months: the child's chronological age in months.
        sex: female or male, or a code of `schema`.
        reference: `who_2007` (5 to 19 years) or `cdc_2000` (2 to 20 years).

    Raises:
        InputError: an argument is not usable; the message names it.
    """
    require_choice("reference", reference, HEIGHT_REFERENCES)
    height, age = require_height_cm(height_cm), require_age_months("age", age_months)
    name, sex = HEIGHT_REFERENCES[reference], require_sex(sex)
    table = f"{reference}_height"
    curves = [read_curve(table, "age_months", column, sex=sex) for column in ("l", "m_cm", "s")]
    power, median, variation = (curve.at(age) for curve in curves)
    if power is None or median is None or variation is None:
        reason = outside_table("age", age, curves[0].first, curves[0].last, f"{sex}, {name}")
        return HeightScore(None, None, reference, name, reason)
    ratio = height / median
    if abs(power) < _SMALL_POWER:
        sds = math.log(ratio) / variation
    else:
        sds = (ratio**power - 1) / (power * variation)
    return HeightScore(sds, median, reference, name)
