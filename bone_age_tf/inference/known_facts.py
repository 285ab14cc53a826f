"""What is known about a child and a radiograph, from the user, a table or a file."""

import dataclasses
from typing import Any, Final

from bone_age_tf import reasons, schema
from bone_age_tf.images.dicom_facts import Study
from bone_age_tf.inference.cases import Case
from bone_age_tf.radiograph import Radiograph, given_number, sex_conflict, sex_name

ROUNDING_MONTHS: Final = 1.0
"""Difference of two ages in months that is explained by rounding to whole months."""


@dataclasses.dataclass(frozen=True)
class KnownFacts:
    """What is known about a child and a radiograph beside the pixels.

    What the user gives is preferred to a table, and a table to a DICOM file.

    Attributes:
        sex: female, male or None.
        sex_source: where the sex is from, one of `schema.SEX_SOURCES`; None without a sex.
        chronological_age_months: the child's age in months when the radiograph was taken, or None.
        height_cm: the child's height in cm when the radiograph was taken, or None.
        side: left or right as the file states it, or None.
        study: identifiers of the DICOM object, or None.
        notes: see `Result`.
    """

    sex: str | None = None
    sex_source: str | None = None
    chronological_age_months: float | None = None
    height_cm: float | None = None
    side: str | None = None
    study: Study | None = None
    notes: tuple[str, ...] = ()

    @classmethod
    def given(
        cls,
        source: Any,
        sex: str | int | None = None,
        chronological_age_months: float | None = None,
        height_cm: float | None = None,
    ) -> "KnownFacts":
        """Returns what the arguments, or else a case, give.

        Args:
            source: what is read; only a `Case` gives anything here.
            sex: as of `Reader.read`.
            chronological_age_months: as of `Reader.read`.
            height_cm: as of `Reader.read`.

        Raises:
            InputError: the sex, the age or the height is not possible.
        """
        name, sex_source = sex_name(sex), schema.FROM_FLAG
        age = given_number(schema.parse_chronological_age_months, chronological_age_months)
        height = given_number(schema.parse_height_cm, height_cm)
        if isinstance(source, Case):
            if name is None:
                name, sex_source = sex_name(source.sex), source.sex_source
            age = source.chronological_age_months if age is None else age
            height = source.height_cm if height is None else height
        return cls(name, None if name is None else sex_source, age, height)

    def completed(self, radiograph: Radiograph) -> "KnownFacts":
        """Returns these facts with those of a radiograph, and notes where they contradict."""
        sex, sex_source = self.sex, self.sex_source
        if sex is None:
            sex, sex_source = radiograph.sex, radiograph.sex_source
        age, height = self.chronological_age_months, self.height_cm
        return KnownFacts(
            sex,
            sex_source,
            radiograph.chronological_age_months if age is None else age,
            radiograph.height_cm if height is None else height,
            radiograph.side,
            radiograph.study,
            radiograph.notes
            + sex_conflict(radiograph.sex, self.sex)
            + _age_conflict(radiograph, age),
        )

    def without_sex(self) -> "KnownFacts":
        """Returns these facts for a result for both sexes."""
        return dataclasses.replace(self, sex=None, sex_source=None)


def _age_conflict(radiograph: Radiograph, given_months: float | None) -> tuple[str, ...]:
    """Returns a note if the age in a file is not the one that was given."""
    stated = radiograph.chronological_age_months
    if stated is None or given_months is None:
        return ()
    tolerance = radiograph.chronological_age_error_months + ROUNDING_MONTHS
    if abs(stated - given_months) <= tolerance:
        return ()
    return (
        f"{reasons.GIVEN_AGE_CONFLICT}: {stated:.0f} months in the file, {given_months:g} were "
        "given and used",
    )
