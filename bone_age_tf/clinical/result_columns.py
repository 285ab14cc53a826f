"""The columns of results: names, meanings, units, and how each is computed.

Rows of CSV files, objects of JSON files, the JSON schema, the columns of the page and the table of
the documentation are all made from `COLUMNS`.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Final

from bone_age_tf import schema
from bone_age_tf.clinical.adult_height import AdultHeight
from bone_age_tf.clinical.result_measures import predict_adult_height_of, score_result
from bone_age_tf.clinical.standard_deviation import (
    ADVANCED,
    DELAYED,
    NORMAL,
    StandardDeviationScore,
)
from bone_age_tf.inference.predictor import Prediction
from bone_age_tf.inference.result import FAILED, OK, REJECTED, Result

NO_ADULT_HEIGHT: Final = "no adult height:"
AGE_UNKNOWN: Final = "the chronological age is not known"


@dataclasses.dataclass(frozen=True)
class Row:
    """A result for one sex, or a result without a prediction.

    Attributes:
        result: the result.
        sex: the sex of the prediction; of the result where there is no prediction; or None.
        sds_reference: reference of the standard deviations, one of `schema.SD_REFERENCES`.
    """

    result: Result
    sex: str | None
    sds_reference: str = schema.BRUSH_FOUNDATION

    @property
    def prediction(self) -> Prediction | None:
        """The prediction for the sex, or None."""
        return None if self.sex is None else self.result.by_sex.get(self.sex)

    @functools.cached_property
    def score(self) -> StandardDeviationScore | None:
        """See `score_result`."""
        return score_result(self.result, self.sds_reference, self.sex)

    @functools.cached_property
    def adult_height(self) -> AdultHeight | None:
        """See `predict_adult_height_of`."""
        return predict_adult_height_of(self.result, self.sex)

    @property
    def adult_height_summary(self) -> str:
        """The adult height with its error, or why there is none; empty without a height."""
        adult, height_cm = self.adult_height, self.result.height_cm
        if self.prediction is None or height_cm is None:
            return ""
        if adult is None:
            return f"{NO_ADULT_HEIGHT} {AGE_UNKNOWN}"
        if adult.height_cm is None:
            return f"{NO_ADULT_HEIGHT} {adult.reason}"
        error = "" if adult.error_cm is None else f"SD of the error {adult.error_cm:.1f} cm, "
        return (
            f"adult height {adult.height_cm:.1f} cm from {height_cm:.1f} cm "
            f"({error}{adult.group}, {adult.source})"
        )

    @property
    def refusals(self) -> tuple[str, ...]:
        """Reasons why there is no standard deviation score or no adult height."""
        texts = []
        if self.score is not None and self.score.sds is None:
            texts.append(self.score.summary)
        if self.adult_height is None or self.adult_height.height_cm is None:
            texts.append(self.adult_height_summary)
        return tuple(filter(None, texts))


@dataclasses.dataclass(frozen=True)
class Column:
    """A column of results.

    Attributes:
        name: name of the column, with its unit where it has one.
        meaning: description, for the documentation and the JSON schema.
        value_fn: returns the value of a row, None where it is unknown.
        decimals: number of decimals in texts; None for a column of texts.
        is_of_prediction: whether the value depends on the sex of the prediction.
        choices: the possible values; empty if they are not limited.
    """

    name: str
    meaning: str
    value_fn: Callable[[Row], str | float | None]
    decimals: int | None = None
    is_of_prediction: bool = False
    choices: tuple[str, ...] = ()

    def text(self, row: Row) -> str:
        """Returns the cell of a row; empty where the value is unknown."""
        value = self.value_fn(row)
        if value is None:
            return ""
        return value if isinstance(value, str) else f"{value:.{self.decimals}f}"


def _age(row: Row) -> float | None:
    return None if row.prediction is None else row.prediction.age_months


def _interval_end(place: int) -> Callable[[Row], float | None]:
    def value(row: Row) -> float | None:
        interval = None if row.prediction is None else row.prediction.interval_90_months
        return None if interval is None else interval[place]

    return value


def _of_score(attribute: str) -> Callable[[Row], str | float | None]:
    return lambda row: None if row.score is None else getattr(row.score, attribute)


def _of_adult_height(attribute: str) -> Callable[[Row], float | None]:
    return lambda row: None if row.adult_height is None else getattr(row.adult_height, attribute)


def _of_study(attribute: str) -> Callable[[Row], str | None]:
    def value(row: Row) -> str | None:
        return None if row.result.study is None else getattr(row.result.study, attribute) or None

    return value


def _reason(row: Row) -> str:
    return "; ".join(filter(None, [row.result.note, *row.refusals]))


COLUMNS: Final = (
    Column("image", "the file, as it was written in the input", lambda row: row.result.source),
    Column(
        "sex",
        "`female` or `male`; a radiograph without a sex has two rows, one for each",
        lambda row: row.sex,
        choices=schema.SEX_NAMES,
    ),
    Column("bone_age_months", "the bone age in months; empty without a prediction", _age, 1, True),
    Column("lower_90", "lower end of the 90 % interval in months", _interval_end(0), 1, True),
    Column("upper_90", "upper end of the 90 % interval in months", _interval_end(1), 1, True),
    Column(
        "status",
        "`ok`, `rejected` (a check found that the radiograph should not be read) or `failed` (the "
        "radiograph cannot be read)",
        lambda row: row.result.status,
        choices=(OK, REJECTED, FAILED),
    ),
    Column(
        "reason",
        "why there is no prediction, or what was corrected before it; contradictions with a DICOM "
        "file; and why there is no standard deviation score or adult height",
        _reason,
    ),
    Column(
        "side",
        "`left` or `right` as a DICOM file states it; empty where it states none",
        lambda row: row.result.side,
        choices=schema.SIDES,
    ),
    Column(
        "sex_source",
        "where the sex is from: `flag` (`--sex`, an argument, or the choice on the page), `table` "
        "(a CSV file) or `file` (DICOM)",
        lambda row: row.result.sex_source,
        choices=schema.SEX_SOURCES,
    ),
    Column(
        schema.CHRONOLOGICAL_AGE_MONTHS,
        "the child's age in months when the radiograph was taken, not the bone age; empty where it "
        "is unknown",
        lambda row: row.result.chronological_age_months,
        1,
    ),
    Column(
        "sds",
        "standard deviation score: bone age minus chronological age, divided by the SD of bone age "
        "at the chronological age; empty without a chronological age and outside the table",
        _of_score("sds"),
        2,
        True,
    ),
    Column(
        "sds_reference",
        "the table from which the SD is, see `--sds_reference`",
        _of_score("reference"),
        is_of_prediction=True,
        choices=tuple(schema.SD_REFERENCES),
    ),
    Column(
        "assessment",
        "`delayed` (below -2 SD), `normal` or `advanced` (above 2 SD)",
        _of_score("assessment"),
        is_of_prediction=True,
        choices=(DELAYED, NORMAL, ADVANCED),
    ),
    Column(
        schema.HEIGHT_CM,
        "the child's measured height in cm when the radiograph was taken",
        lambda row: row.result.height_cm,
        1,
    ),
    Column(
        "adult_height_cm",
        "adult height in cm, predicted by Bayley and Pinneau from the measured height; empty where "
        "the height or the chronological age is unknown, and outside the table",
        _of_adult_height("height_cm"),
        1,
        True,
    ),
    Column(
        "adult_height_error_cm",
        "published SD of predicted minus actual adult height in cm",
        _of_adult_height("error_cm"),
        1,
        True,
    ),
    Column(
        "study_instance_uid",
        "(0020,000D) of a DICOM file",
        _of_study("study_instance_uid"),
    ),
    Column(
        "series_instance_uid",
        "(0020,000E) of a DICOM file",
        _of_study("series_instance_uid"),
    ),
    Column(
        "sop_instance_uid",
        "(0008,0018) of a DICOM file",
        _of_study("sop_instance_uid"),
    ),
)
"""All columns, in the order of the table. New ones are added at the end."""

RESULT_COLUMNS: Final = tuple(column.name for column in COLUMNS)
"""Names of the columns of a table of results."""


def rows_of(result: Result, sds_reference: str = schema.BRUSH_FOUNDATION) -> list[Row]:
    """Returns a row for each prediction of a result, and one row if there is none."""
    sexes = result.by_sex or (result.sex,)
    return [Row(result, sex, sds_reference) for sex in sexes]
