"""Settings with which the page reads DICOM files and scores bone ages as the Python code does.

Texts, rules and tables have their one definition in Python; the build writes them into the page.
"""

from typing import Any, Final

from bone_age_tf import reasons, schema
from bone_age_tf.clinical import adult_height, growth_chart, result_json, standard_deviation
from bone_age_tf.clinical.result_columns import AGE_UNKNOWN, NO_ADULT_HEIGHT
from bone_age_tf.clinical.tables import Curve, read_curve
from bone_age_tf.images import dicom, dicom_facts, dicom_photometry, dicom_syntaxes
from bone_age_tf.inference import known_facts

SYNTAXES: Final = (
    *("IMPLICIT_LITTLE", "EXPLICIT_LITTLE", "EXPLICIT_BIG", "DEFLATED", "RLE", "JPEG_BASELINE"),
    *("JPEG_EXTENDED", "JPEG_LOSSLESS", "JPEG_LOSSLESS_SV1", "JPEG_LS", "JPEG_LS_NEAR"),
    *("JPEG_2000_LOSSLESS", "JPEG_2000", "HTJ2K_LOSSLESS", "HTJ2K_RPCL", "HTJ2K"),
)
"""Names in `dicom_syntaxes` of the transfer syntaxes that the page decodes."""

TEXTS: Final = (
    *("NOT_DICOM", "DICOM_DAMAGED", "DICOM_DIRECTORY", "OWN_RESULT", "WRONG_MODALITY"),
    *("NO_PIXEL_DATA", "PIXEL_DATA_TRUNCATED", "SEVERAL_FRAMES", "UNKNOWN_COLOURS", "UNDECODABLE"),
    *("FOR_PROCESSING", "WINDOW_UNUSABLE", "RIGHT_HAND", "SIDE_CONFLICT", "SEX_CONFLICT"),
    *("AGE_STATED", "AGE_CONFLICT", "BIRTH_DATE_UNUSABLE", "GIVEN_AGE_CONFLICT", "HEIGHT_UNUSABLE"),
)
"""Names in `reasons` of the texts on DICOM files."""


def dicom_settings() -> dict[str, Any]:
    """Returns what the page needs to read DICOM files."""
    return {
        "suffixes": dicom.SUFFIXES,
        "modalities": dicom.MODALITIES,
        "directory_class": dicom.DIRECTORY_CLASS,
        "least_aspect_change": dicom.LEAST_ASPECT_CHANGE,
        "most_aspect": dicom_facts.MOST_ASPECT,
        "own_name": dicom_facts.OWN_NAME,
        "own_marks": dicom_facts.OWN_MARKS,
        "month_days": dicom_facts.MONTH_DAYS,
        "oldest_months": dicom_facts.OLDEST_MONTHS,
        "age_units_months": dicom_facts.AGE_UNITS_MONTHS,
        "dates": dicom_facts.DATES,
        "sexes": dicom_facts.SEXES,
        "sides": dicom_facts.SIDES_BY_LETTER,
        "study_codes": dicom_facts.STUDY_CODES,
        "least_height_cm": schema.MIN_HEIGHT_CM,
        "most_height_cm": schema.MAX_HEIGHT_CM,
        "sample_step": dicom_photometry.SAMPLE_STEP,
        "syntaxes": {name.lower(): getattr(dicom_syntaxes, name) for name in SYNTAXES},
        "syntax_names": dicom_syntaxes.SYNTAX_NAMES,
        "lossy": dicom_syntaxes.LOSSY,
        "texts": {name.lower(): getattr(reasons, name) for name in TEXTS},
    }


def clinical_settings() -> dict[str, Any]:
    """Returns what the page needs for standard deviation scores, adult heights and JSON files.

    Curves are lists of places and values, from the tables of `bone_age_tf.clinical`.
    """
    references = {
        name: {
            "name": text,
            "sd_months": {
                sex: _points(standard_deviation.sd_curve(sex, name)) for sex in schema.SEX_NAMES
            },
            "mean_months": {
                sex: _points(standard_deviation.mean_curve(sex, name)) for sex in schema.SEX_NAMES
            },
        }
        for name, text in schema.SD_REFERENCES.items()
    }
    return {
        "reference": schema.BRUSH_FOUNDATION,
        "references": references,
        "normal_sds": standard_deviation.NORMAL_SDS,
        "delayed": standard_deviation.DELAYED,
        "normal": standard_deviation.NORMAL,
        "advanced": standard_deviation.ADVANCED,
        "adult_height": _adult_height_settings(),
        "oldest_months": schema.MAX_CHRONOLOGICAL_AGE_MONTHS,
        "age_rounding_months": known_facts.ROUNDING_MONTHS,
        "from_file": schema.FROM_FILE,
        "format": result_json.FORMAT,
        "disclaimer": growth_chart.DISCLAIMER,
    }


def _adult_height_settings() -> dict[str, Any]:
    column = "percent_of_adult_height"
    groups = (adult_height.AVERAGE, adult_height.ACCELERATED, adult_height.RETARDED)
    return {
        "percent": {
            sex: {
                group: _points(
                    read_curve("bayley_pinneau", "bone_age_months", column, sex=sex, group=group)
                )
                for group in groups
            }
            for sex in schema.SEX_NAMES
        },
        "error_cm": {sex: _points(adult_height.error_curve(sex)) for sex in schema.SEX_NAMES},
        "group_months": adult_height.GROUP_MONTHS,
        "groups": groups,
        "source": adult_height.SOURCE,
        "no_adult_height": NO_ADULT_HEIGHT,
        "age_unknown": AGE_UNKNOWN,
    }


def _points(curve: Curve | None) -> list[list[float]] | None:
    """Returns the places and the values of a curve."""
    return None if curve is None else [curve.places.tolist(), curve.values.tolist()]
