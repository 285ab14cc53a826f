"""The result of reading a radiograph, and its representations."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from bone_age_tf import reasons, schema
from bone_age_tf.evaluation.region_norms import RegionAge
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

    def rows(self) -> list[tuple[str, ...]]:
        """Returns the rows of a table with the columns `schema.RESULT_COLUMNS`.

        There are two rows, one for each sex, if the sex was not given.
        """
        if not self.by_sex:
            return [(self.source, self.sex or "", "", "", "", self.status, self.note)]
        return [
            (self.source, sex, *_cells(prediction), self.status, self.note)
            for sex, prediction in self.by_sex.items()
        ]

    def to_dict(self) -> dict[str, Any]:
        """Returns the result, without distributions, as values that JSON can hold."""
        content = {
            field.name: getattr(self, field.name)
            for field in dataclasses.fields(self)
            if field.name != "by_sex"
        }
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
        return cls(**{**content, **texts, "by_sex": by_sex})


def _regions_to_dict(prediction: Prediction) -> dict[str, Any]:
    if prediction.regions is None:
        return {}
    by_name = {name: dataclasses.asdict(one) for name, one in prediction.regions.items()}
    return {schema.REGION_AGES: by_name}


def _regions_of(content: Mapping[str, Any]) -> dict[str, RegionAge] | None:
    by_name = content.get(schema.REGION_AGES)
    return by_name and {name: RegionAge(**one) for name, one in by_name.items()}


def _cells(prediction: Prediction) -> tuple[str, str, str]:
    lower, upper = prediction.interval_90_months or (None, None)
    numbers = (prediction.age_months, lower, upper)
    age, low, high = ("" if number is None else f"{number:.1f}" for number in numbers)
    return age, low, high
