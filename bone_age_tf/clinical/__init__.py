"""What bone age means for a child, and reports on it.

Standard deviations, adult height, scores of stages and a growth chart; results as DICOM SR,
Secondary Capture, PDF, FHIR and JSON.

    from bone_age_tf import clinical

    score = clinical.standard_deviation_score(168, 144, "female")
    print(score.sds, score.assessment, score.reference_name)

    result = bone_age_tf.load().read("hand.png", "female", chronological_age_months=144)
    print(clinical.score_result(result).summary)

Ages are in months and heights in cm. Outside its published table no method gives a value: the
result holds the reason instead. Research use; not a medical device. Names are imported when they
are first used. Needs NumPy only; the chart and the page need the extra `train`, and reports in
DICOM the extra `dicom`.
"""

import importlib
from typing import TYPE_CHECKING, Any

_PUBLIC = {
    "AdultHeight": "adult_height",
    "BoneAgeStudy": "growth_chart",
    "CARPAL_BONES": "tanner_whitehouse",
    "HEIGHT_REFERENCES": "height_score",
    "HeightScore": "height_score",
    "MATURITY_METHODS": "tanner_whitehouse",
    "MaturityAge": "tanner_whitehouse",
    "REPORT_KINDS": "report_kinds",
    "RUS_BONES": "tanner_whitehouse",
    "SD_REFERENCES": "standard_deviation",
    "StandardDeviationScore": "standard_deviation",
    "age_from_score": "tanner_whitehouse",
    "age_from_stages": "tanner_whitehouse",
    "carpal_score": "tanner_whitehouse",
    "draw_growth_chart": "growth_chart",
    "height_for_age": "height_score",
    "is_own_result": "dicom_objects",
    "predict_adult_height": "adult_height",
    "predict_adult_height_of": "result_measures",
    "read_json_schema": "result_json",
    "rus_chn_score": "tanner_whitehouse",
    "rus_score": "tanner_whitehouse",
    "score_result": "result_measures",
    "standard_deviation_score": "standard_deviation",
    "write_growth_chart": "growth_chart",
    "write_reports": "report_files",
}
"""Public name to the module that defines it."""

__all__ = [*_PUBLIC]

if TYPE_CHECKING:
    from bone_age_tf.clinical.adult_height import AdultHeight as AdultHeight
    from bone_age_tf.clinical.adult_height import predict_adult_height as predict_adult_height
    from bone_age_tf.clinical.dicom_objects import is_own_result as is_own_result
    from bone_age_tf.clinical.growth_chart import BoneAgeStudy as BoneAgeStudy
    from bone_age_tf.clinical.growth_chart import draw_growth_chart as draw_growth_chart
    from bone_age_tf.clinical.growth_chart import write_growth_chart as write_growth_chart
    from bone_age_tf.clinical.height_score import HEIGHT_REFERENCES as HEIGHT_REFERENCES
    from bone_age_tf.clinical.height_score import HeightScore as HeightScore
    from bone_age_tf.clinical.height_score import height_for_age as height_for_age
    from bone_age_tf.clinical.report_files import write_reports as write_reports
    from bone_age_tf.clinical.report_kinds import REPORT_KINDS as REPORT_KINDS
    from bone_age_tf.clinical.result_json import read_json_schema as read_json_schema
    from bone_age_tf.clinical.result_measures import (
        predict_adult_height_of as predict_adult_height_of,
    )
    from bone_age_tf.clinical.result_measures import score_result as score_result
    from bone_age_tf.clinical.standard_deviation import SD_REFERENCES as SD_REFERENCES
    from bone_age_tf.clinical.standard_deviation import (
        StandardDeviationScore as StandardDeviationScore,
    )
    from bone_age_tf.clinical.standard_deviation import (
        standard_deviation_score as standard_deviation_score,
    )
    from bone_age_tf.clinical.tanner_whitehouse import CARPAL_BONES as CARPAL_BONES
    from bone_age_tf.clinical.tanner_whitehouse import MATURITY_METHODS as MATURITY_METHODS
    from bone_age_tf.clinical.tanner_whitehouse import RUS_BONES as RUS_BONES
    from bone_age_tf.clinical.tanner_whitehouse import MaturityAge as MaturityAge
    from bone_age_tf.clinical.tanner_whitehouse import age_from_score as age_from_score
    from bone_age_tf.clinical.tanner_whitehouse import age_from_stages as age_from_stages
    from bone_age_tf.clinical.tanner_whitehouse import carpal_score as carpal_score
    from bone_age_tf.clinical.tanner_whitehouse import rus_chn_score as rus_chn_score
    from bone_age_tf.clinical.tanner_whitehouse import rus_score as rus_score


def __getattr__(name: str) -> Any:
    """Imports a public name when it is first used."""
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_PUBLIC[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """Returns the public names."""
    return sorted(__all__)
