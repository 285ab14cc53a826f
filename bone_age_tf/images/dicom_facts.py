"""What a DICOM file states beside its pixels: sex, side, age, spacing and identifiers.

Attributes are those of DICOM PS3.3 and PS3.6; codes of studies are from LOINC.
"""

import re
from dataclasses import dataclass
from typing import Final

from bone_age_tf import reasons, schema
from bone_age_tf.images.dicom_tags import Tags

OWN_NAME: Final = "bone_age_tf"
"""Name with which results of this project are marked, in the manufacturer or the series."""
OWN_MARKS: Final = ("Manufacturer", "ManufacturerModelName", "SeriesDescription")

MONTH_DAYS: Final = 365.2425 / 12
"""Mean length of a month of the Gregorian calendar in days."""
OLDEST_MONTHS: Final = schema.MAX_CHRONOLOGICAL_AGE_MONTHS
"""Age in months from which a date of birth is a placeholder, such as 1900-01-01."""
_CM_PER_METRE: Final = 100
AGE_UNITS_MONTHS: Final = {"Y": 12.0, "M": 1.0, "W": 7 / MONTH_DAYS, "D": 1 / MONTH_DAYS}
"""Units of (0010,1010) PatientAge in months (PS3.5, value representation AS)."""
DATES: Final = ("AcquisitionDate", "AcquisitionDateTime", "StudyDate", "SeriesDate")
"""Attributes with the date of the radiograph, by preference."""

SEXES: Final = {
    "F": schema.SEX_NAMES[schema.FEMALE],
    "M": schema.SEX_NAMES[schema.MALE],
}
_LEFT, _RIGHT = schema.SIDES
SIDES_BY_LETTER: Final = {"L": _LEFT, "R": _RIGHT}
STUDY_CODES: Final = {"26353-3": _LEFT, "26354-1": _RIGHT}
"""LOINC codes of the studies "XR Bone age, left hand" and "right hand"."""
_CODE_SEQUENCES: Final = (
    "ProcedureCodeSequence",
    "RequestedProcedureCodeSequence",
    "PerformedProtocolCodeSequence",
    "ScheduledProtocolCodeSequence",
)
MOST_ASPECT: Final = 4.0
"""Maximum ratio of the two pixel spacings; a larger one is an error in the file."""


@dataclass(frozen=True)
class Study:
    """Identifiers of the DICOM object that a radiograph was read from.

    Attributes:
        study_instance_uid: (0020,000D), empty where it is missing.
        series_instance_uid: (0020,000E).
        sop_instance_uid: (0008,0018).
        sop_class_uid: (0008,0016).
    """

    study_instance_uid: str = ""
    series_instance_uid: str = ""
    sop_instance_uid: str = ""
    sop_class_uid: str = ""


@dataclass(frozen=True)
class Facts:
    """What a DICOM file states about a radiograph.

    Attributes:
        study: its identifiers.
        sex: female, male, or None where the file states neither.
        chronological_age_months: the child's age when the radiograph was taken, or None.
        side: left, right, or None where it is missing or contradictory.
        notes: what the user should know about these values.
        age_error_months: how far the true age can be from `chronological_age_months`: 0 for an age
            from dates, 6 for one that is stated in years.
        height_cm: the child's height in cm on the day of the radiograph, or None.
    """

    study: Study
    sex: str | None
    chronological_age_months: float | None
    side: str | None
    notes: tuple[str, ...]
    age_error_months: float = 0.0
    height_cm: float | None = None


def read_facts(tags: Tags) -> Facts:
    """Reads what a file states about a radiograph."""
    side, side_notes = read_side(tags)
    age, age_error, age_notes = read_age_months(tags)
    height, height_notes = read_height_cm(tags)
    notes = side_notes + age_notes + height_notes
    if tags.text("PresentationIntentType").upper() == "FOR PROCESSING":
        notes = (reasons.FOR_PROCESSING, *notes)
    study = Study(
        tags.text("StudyInstanceUID"),
        tags.text("SeriesInstanceUID"),
        tags.text("SOPInstanceUID"),
        tags.text("SOPClassUID"),
    )
    sex = SEXES.get(tags.text("PatientSex").upper())
    return Facts(study, sex, age, side, notes, age_error, height)


def is_own_result(tags: Tags) -> bool:
    """Returns whether a file is a result of this project that was sent back."""
    marks = [*map(tags.text, OWN_MARKS), *tags.words("SoftwareVersions")]
    return any(OWN_NAME in mark.lower().replace("-", "_") for mark in marks)


def read_side(tags: Tags) -> tuple[str | None, tuple[str, ...]]:
    """Returns the side that a file states, and notes.

    (0020,0062) ImageLaterality, (0020,0060) Laterality and the code of the study are compared.
    Where they contradict each other, the side is unknown: the wrong one cannot be told.
    """
    sides = {
        name: SIDES_BY_LETTER[letter]
        for name in ("ImageLaterality", "Laterality")
        if (letter := tags.text(name).upper()) in SIDES_BY_LETTER
    }
    codes = _study_codes(tags)
    sides |= {f"study code {code}": STUDY_CODES[code] for code in codes if code in STUDY_CODES}
    if len(set(sides.values())) > 1:
        texts = ", ".join(f"{name} {side}" for name, side in sides.items())
        return None, (f"{reasons.SIDE_CONFLICT}: {texts}",)
    side = next(iter(sides.values()), None)
    return side, (reasons.RIGHT_HAND,) if side == _RIGHT else ()


def _study_codes(tags: Tags) -> list[str]:
    """Returns the LOINC codes of the study and of its request."""
    holders = (tags, *tags.items("RequestAttributesSequence"))
    return [
        code.text("CodeValue")
        for holder in holders
        for sequence in _CODE_SEQUENCES
        for code in holder.items(sequence)
        if code.text("CodingSchemeDesignator").upper() in ("LN", "LOINC")
    ]


def read_age_months(tags: Tags) -> tuple[float | None, float, tuple[str, ...]]:
    """Returns the age in months when the radiograph was taken, its greatest error, and notes.

    The age is the time from the date of birth to the date of the radiograph. Without both, it is
    (0010,1010) PatientAge, a count of completed years, months, weeks or days: the age in the middle
    between this count and the next is returned. The present date is never used, since radiographs
    are read years after they were taken.
    """
    stated = _stated_age(tags.text("PatientAge").upper())
    birth = tags.date("PatientBirthDate")
    taken = next((date for date in map(tags.date, DATES) if date is not None), None)
    notes: tuple[str, ...] = ()
    if birth is not None and taken is not None:
        age = (taken - birth).days / MONTH_DAYS
        if 0 <= age < OLDEST_MONTHS:
            if stated is not None and not stated[0] - 12 <= age <= stated[0] + stated[1] + 12:
                text = f"{reasons.AGE_CONFLICT}: {tags.text('PatientAge')}, {age:.0f} months"
                notes = (text,)
            return age, 0.0, notes
        notes = (f"{reasons.BIRTH_DATE_UNUSABLE} {birth.isoformat()}",)
    if stated is None:
        return None, 0.0, notes
    completed, unit = stated
    text = f"{reasons.AGE_STATED} {tags.text('PatientAge')}, exact to {unit / 2:.2g} months"
    return completed + unit / 2, unit / 2, (*notes, text)


def _stated_age(text: str) -> tuple[float, float] | None:
    """Returns the completed months of a PatientAge, and its unit in months."""
    match = re.fullmatch(r"(\d{1,3})([YMWD])", text)
    if match is None:
        return None
    unit = AGE_UNITS_MONTHS[match[2]]
    completed = int(match[1]) * unit
    return (completed, unit) if completed < OLDEST_MONTHS else None


def read_height_cm(tags: Tags) -> tuple[float | None, tuple[str, ...]]:
    """Returns the child's height in cm on the day of the radiograph, and notes.

    (0010,1020) PatientSize is the height in metres when the study began (PS3.3, Patient Study
    Module). It is used only if the radiograph was taken on that day, since children grow: studies
    are also extended, and sent again, months later.
    """
    metres = next(iter(tags.numbers("PatientSize")), 0.0)
    if metres <= 0:
        return None, ()
    height_cm = round(metres * _CM_PER_METRE, 1)
    if not schema.MIN_HEIGHT_CM <= height_cm <= schema.MAX_HEIGHT_CM:
        return None, (f"{reasons.HEIGHT_UNUSABLE} {metres:g} m is not the height of a child",)
    began = tags.date("StudyDate")
    taken = next(filter(None, map(tags.date, DATES)), None)
    if began is None or began != taken:
        return None, (f"{reasons.HEIGHT_UNUSABLE} it may be of another day than the radiograph",)
    return height_cm, ()


def read_spacing_mm(tags: Tags) -> tuple[float, float] | None:
    """Returns (0028,0030) PixelSpacing, rows first; None where it is missing or not positive.

    (0018,1164) ImagerPixelSpacing is measured at the detector, where the hand is magnified, and is
    therefore not a length of the hand.
    """
    return _positive_pair(tags, "PixelSpacing")


def read_aspect(tags: Tags) -> float:
    """Returns the height of a pixel divided by its width; 1 where unknown or implausible."""
    for keyword in (
        "PixelSpacing",
        "ImagerPixelSpacing",
        "NominalScannedPixelSpacing",
        "PixelAspectRatio",
    ):
        pair = _positive_pair(tags, keyword)
        if pair is not None:
            aspect = pair[0] / pair[1]
            return aspect if 1 / MOST_ASPECT <= aspect <= MOST_ASPECT else 1.0
    return 1.0


def _positive_pair(tags: Tags, keyword: str) -> tuple[float, float] | None:
    numbers = tags.numbers(keyword)
    if len(numbers) != 2 or min(numbers) <= 0:
        return None
    return numbers[0], numbers[1]
