"""What a report says about one radiograph, whatever the format that it is written in.

Every writer takes its sentences and numbers from here, so that an SR, a PDF, a FHIR resource and a
JSON file of the same radiograph agree.
"""

import dataclasses
import datetime
import functools
import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any, Final

from bone_age_tf import __version__, schema
from bone_age_tf.clinical.arguments import (
    require_age_months,
    require_choice,
    require_height_cm,
    years_and_months,
)
from bone_age_tf.clinical.growth_chart import DISCLAIMER
from bone_age_tf.clinical.result_columns import Row
from bone_age_tf.clinical.result_json import REPORT, to_json_object
from bone_age_tf.clinical.standard_deviation import (
    BRUSH_FOUNDATION,
    NORMAL_SDS,
    SD_REFERENCES,
    StandardDeviationScore,
)
from bone_age_tf.inference.predictor import Prediction
from bone_age_tf.inference.result import FAILED, REJECTED, Result
from bone_age_tf.reasons import correction_text

SOFTWARE: Final = "bone_age_tf"
_LIMITS: Final = (
    "The bone age is the prediction of a neural network; no reader has verified it.",
    "The 90 % interval holds for radiographs like those on which the model was measured. Other "
    "devices, populations and atlases shift bone ages.",
)
"""Limits that every report of a bone age states."""
_REJECTION_LIMITS: Final = ("The quality check also rejects some radiographs that can be read.",)
SEX_UNKNOWN: Final = "The sex is not known: one result for each sex."
NOT_STATED: Final = "not stated"
_NOT_OF_ANSWER: Final = (
    schema.IMAGE,
    "sex_source",
    "study_instance_uid",
    "series_instance_uid",
    "sop_instance_uid",
)
"""Entries of the JSON object that name the radiograph or its origin, and do not answer anything."""
_MODEL: Final = re.compile(r"(?P<name>.+) version (?P<version>.+)")


@dataclasses.dataclass(frozen=True)
class StudyFacts:
    """What the source of a report states about itself; empty where it states nothing.

    Attributes:
        study_uid: Study Instance UID.
        series_uid: Series Instance UID.
        instance_uid: SOP Instance UID of the radiograph.
        patient_id: the patient's identifier.
        patient_id_issuer: who assigned that identifier.
        accession_number: the request's number.
        study_date: the study's date, YYYYMMDD.
        side: left, right, or None.
    """

    study_uid: str = ""
    series_uid: str = ""
    instance_uid: str = ""
    patient_id: str = ""
    patient_id_issuer: str = ""
    accession_number: str = ""
    study_date: str = ""
    side: str | None = None

    @classmethod
    def of(cls, result: Result) -> "StudyFacts":
        """Returns what a result knows of its source."""
        if result.study is None:
            return cls(side=result.side)
        study = result.study
        return cls(
            study.study_instance_uid,
            study.series_instance_uid,
            study.sop_instance_uid,
            side=result.side,
        )

    @property
    def study_day(self) -> str:
        """The study's date as YYYY-MM-DD; empty where it is not stated or not valid."""
        try:
            return datetime.datetime.strptime(self.study_date, "%Y%m%d").date().isoformat()
        except ValueError:
            return ""


@dataclasses.dataclass(frozen=True)
class BoneAgeReport:
    """The content of a report on one radiograph. Made by `make_report`.

    Attributes:
        result: the result of reading the radiograph, with what is known about the child.
        reference: reference of the standard deviation scores, one of `SD_REFERENCES`.
    """

    result: Result
    reference: str = BRUSH_FOUNDATION

    @property
    def chronological_age_months(self) -> float | None:
        """The child's age in months when the radiograph was taken; None where unknown."""
        return self.result.chronological_age_months

    @functools.cached_property
    def rows(self) -> dict[str, Row]:
        """The clinical measures by sex, for the sexes in `result.by_sex`."""
        return {sex: Row(self.result, sex, self.reference) for sex in self.result.by_sex}

    @property
    def scores(self) -> dict[str, StandardDeviationScore]:
        """Standard deviation scores by sex; empty without a chronological age."""
        return {sex: row.score for sex, row in self.rows.items() if row.score is not None}

    @property
    def model_name(self) -> str:
        """Name of the model; `not stated` where the result names no model."""
        match = _MODEL.fullmatch(self.result.model)
        return match["name"] if match else self.result.model or NOT_STATED

    @property
    def model_version(self) -> str:
        """Version and variant of the model; `not stated` where the result has none."""
        match = _MODEL.fullmatch(self.result.model)
        return match["version"] if match else NOT_STATED

    @property
    def conclusions(self) -> list[str]:
        """The answer in whole sentences, one for each predicted sex, or why there is none."""
        if not self.result.by_sex:
            return [f"{no_result_text(self.result)}."]
        unknown = [SEX_UNKNOWN] if self.result.sex is None else []
        return [*unknown, *(self.conclusion_of(sex) for sex in self.result.by_sex)]

    def conclusion_of(self, sex: str) -> str:
        """Returns the answer for one sex of `result.by_sex` as a sentence."""
        prediction = self.result.by_sex[sex]
        condition = f"If the child is {sex}: b" if self.result.sex is None else "B"
        text = f"{condition}one age {age_text(prediction.age_months)}"
        interval = interval_text(prediction)
        parts = [", ".join(filter(None, [text, interval]))]
        score, age = self.scores.get(sex), self.chronological_age_months
        if score is not None and age is not None:
            parts.append(f"chronological age {age_text(age)}: {score.summary}")
        parts.append(self.rows[sex].adult_height_summary)
        return f"{'; '.join(filter(None, parts))}."

    @property
    def quality_notes(self) -> list[str]:
        """Whether the radiograph was checked, what was corrected, why it was not read; notes."""
        result = self.result
        if result.status == FAILED:
            checked = "The radiograph could not be read"
        elif result.quality_checked is None:
            checked = "Whether the quality check ran is not known: a server made the prediction"
        elif not result.quality_checked:
            checked = "The quality check did not run"
        elif result.status == REJECTED:
            checked = "The quality check ran and rejected the radiograph"
        else:
            checked = "The quality check found no reason to reject the radiograph"
        corrected = correction_text(result.corrections)
        notes = [checked, *result.reasons, *([corrected] if corrected else []), *result.notes]
        return [as_sentence(note) for note in notes]

    @property
    def limits(self) -> tuple[str, ...]:
        """What a reader of the report must know about its reliability, in whole sentences."""
        if self.result.by_sex:
            return _LIMITS
        return _REJECTION_LIMITS if self.result.status == REJECTED else ()

    def normal_range_months(self, sex: str) -> tuple[float, float] | None:
        """Returns chronological age - 2 SD and + 2 SD in months; None without a score."""
        score, age = self.scores.get(sex), self.chronological_age_months
        if score is None or score.sd_months is None or age is None:
            return None
        reach = NORMAL_SDS * score.sd_months
        return age - reach, age + reach

    def to_json_object(self, written_at: datetime.datetime) -> dict[str, Any]:
        """Returns the content as values that JSON can hold; `result.schema.json` describes them.

        Args:
            written_at: date and time of the report, with its time zone.
        """
        return {
            **to_json_object(self.result, self.reference),
            REPORT: {
                "written_at": written_at.isoformat(timespec="seconds"),
                "software": {"name": SOFTWARE, "version": __version__},
                "disclaimer": DISCLAIMER,
                "conclusions": self.conclusions,
                "limits": [*self.limits],
            },
        }

    @property
    def fingerprint(self) -> str:
        """Digest of what the report says, with ages to 0.1 months; equal for equal answers."""
        content = to_json_object(self.result, self.reference)
        for name in _NOT_OF_ANSWER:
            del content[name]
        text = json.dumps(_rounded(content), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()


def make_report(
    result: Result,
    chronological_age_months: float | None = None,
    height_cm: float | None = None,
    reference: str = BRUSH_FOUNDATION,
) -> BoneAgeReport:
    """Collects the content of a report.

    With a chronological age the standard deviation score is calculated for each predicted sex, and
    with a height the adult height too.

    Args:
        result: the result of reading the radiograph.
        chronological_age_months: the child's age in months when the radiograph was taken; None for
            that of the result.
        height_cm: the child's height in cm at that time; None for that of the result.
        reference: reference of the scores, one of `SD_REFERENCES`.

    Raises:
        InputError: the age or the height is not possible, or the reference is unknown.
    """
    require_choice("reference", reference, SD_REFERENCES)
    if chronological_age_months is not None:
        age = require_age_months("chronological age", chronological_age_months)
        result = dataclasses.replace(result, chronological_age_months=age)
    if height_cm is not None:
        result = dataclasses.replace(result, height_cm=require_height_cm(height_cm))
    return BoneAgeReport(result, reference)


def no_result_text(result: Result) -> str:
    """Returns why there is no bone age, without a full stop."""
    cause = "rejected" if result.status == REJECTED else "not readable"
    why = "; ".join(result.reasons)
    return f"No bone age: radiograph {cause}" + (f" ({why})" if why else "")


def age_text(age_months: float) -> str:
    """Returns an age such as `168.2 months (14 y 0 mo)`."""
    return f"{age_months:.1f} months ({years_and_months(age_months)})"


def interval_text(prediction: Prediction) -> str:
    """Returns the 90 % interval as a text; empty if the prediction has none."""
    if prediction.interval_90_months is None:
        return ""
    lower, upper = prediction.interval_90_months
    return f"90 % interval {lower:.1f} to {upper:.1f} months"


def software_text() -> str:
    """Returns the name and version of the software."""
    return f"{SOFTWARE} {__version__}"


def as_sentence(text: str) -> str:
    """Returns a text with a capital letter and a full stop."""
    text = text[:1].upper() + text[1:]
    return text if text.endswith(".") else f"{text}."


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, 1)
    if isinstance(value, Mapping):
        return {key: _rounded(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_rounded(item) for item in value]
    return value
