"""The result of reading a radiograph, and its representations."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from bone_age_tf import reasons, schema
from bone_age_tf.evaluation.region_norms import RegionAge
from bone_age_tf.images.dicom_facts import Study
from bone_age_tf.inference.predictor import Prediction
from bone_age_tf.reasons import correction_text

OK = reasons.OK
REJECTED = reasons.REJECTED
FAILED = "failed"
"""Status of results: predicted; readable, but rejected by a check; not readable."""

BOTH_SEXES = "sex not given: result for both sexes"


@dataclasses.dataclass(frozen=True)
class Result:
    """The result of reading one radiograph.

    Attributes:
        source: the file as the user wrote it, or another name.
        sex: female, male, or None where it was not given.
        by_sex: the prediction for the given sex, or for both sexes if none was given, keyed by
            female and male; empty if there is no prediction.
        status: `ok`, `rejected` (a check found that the radiograph should not be read) or `failed`
            (it cannot be read).
        reasons: reasons why there is no prediction; empty if there is one.
        corrections: what the quality check corrected before the prediction, as texts.
        quality_checked: whether the quality check ran; None for a server, whose model may have been
            exported without one.
        model: name, version and variant of the model.
        notes: what the user should know about the radiograph, such as a contradiction between the
            sex in a DICOM file and the one that was given.
        sex_source: where the sex is from: `flag` (given by the user), `table` (a CSV file) or
            `file` (DICOM); None without a sex.
        chronological_age_months: the child's age in months when the radiograph was taken, as it was
            given or as a DICOM file states it; None where unknown. It is not the bone age.
        height_cm: the child's height in cm when the radiograph was taken, likewise.
        side: left or right as a DICOM file states it, None where unknown.
        study: identifiers of the DICOM object; None for other files and arrays.
    """

    source: str
    sex: str | None
    by_sex: Mapping[str, Prediction] = dataclasses.field(default_factory=dict)
    status: str = OK
    reasons: tuple[str, ...] = ()
    corrections: tuple[str, ...] = ()
    quality_checked: bool | None = False
    model: str = ""
    notes: tuple[str, ...] = ()
    sex_source: str | None = None
    chronological_age_months: float | None = None
    height_cm: float | None = None
    side: str | None = None
    study: Study | None = None

    @property
    def prediction(self) -> Prediction | None:
        """The prediction for the sex that was given; None without a sex or a prediction."""
        return None if self.sex is None else self.by_sex.get(self.sex)

    @property
    def age_months(self) -> float | None:
        """The bone age in months for the sex that was given; None without a sex or a prediction."""
        return None if self.prediction is None else self.prediction.age_months

    @property
    def interval_90_months(self) -> tuple[float, float] | None:
        """Lower and upper end of the 90 % interval in months, or None."""
        return None if self.prediction is None else self.prediction.interval_90_months

    @property
    def distribution(self) -> np.ndarray | None:
        """[K] probability per age bin, or None."""
        return None if self.prediction is None else self.prediction.distribution

    @property
    def note(self) -> str:
        """Reasons, corrections and notes as a text; may be empty."""
        both = BOTH_SEXES if self.sex is None and self.by_sex else ""
        corrected = correction_text(self.corrections) if self.by_sex else ""
        return "; ".join(filter(None, [both, *self.reasons, corrected, *self.notes]))

    def to_dict(self) -> dict[str, Any]:
        """Returns the result, without distributions, as values that JSON can hold."""
        content = {
            field.name: getattr(self, field.name)
            for field in dataclasses.fields(self)
            if field.name not in ("by_sex", "study")
        }
        content["study"] = None if self.study is None else dataclasses.asdict(self.study)
        content["by_sex"] = {
            sex: {
                schema.AGE_MONTHS: prediction.age_months,
                schema.INTERVAL_90: prediction.interval_90_months,
                schema.UNFAMILIARITY: prediction.unfamiliarity,
                **_regions_to_dict(prediction),
            }
            for sex, prediction in self.by_sex.items()
        }
        return content

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> "Result":
        """Returns the result that `to_dict` wrote.

        Raises:
            KeyError: an entry is missing.
            TypeError: an entry has another type, or is not known.
        """
        by_sex = {
            sex: Prediction(
                prediction[schema.AGE_MONTHS],
                None
                if prediction[schema.INTERVAL_90] is None
                else tuple(prediction[schema.INTERVAL_90]),
                None,
                prediction[schema.UNFAMILIARITY],
                _regions_of(prediction),
            )
            for sex, prediction in content["by_sex"].items()
        }
        texts = {name: tuple(content[name]) for name in ("reasons", "corrections", "notes")}
        study = None if content["study"] is None else Study(**content["study"])
        return cls(**{**content, **texts, "by_sex": by_sex, "study": study})


def _regions_to_dict(prediction: Prediction) -> dict[str, Any]:
    if prediction.regions is None:
        return {}
    by_name = {name: dataclasses.asdict(one) for name, one in prediction.regions.items()}
    return {schema.REGION_AGES: by_name}


def _regions_of(content: Mapping[str, Any]) -> dict[str, RegionAge] | None:
    by_name = content.get(schema.REGION_AGES)
    return by_name and {name: RegionAge(**one) for name, one in by_name.items()}
