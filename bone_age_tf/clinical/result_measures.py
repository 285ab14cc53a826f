"""Clinical measures of a result of `Reader.read`, from what is known about the child."""

from bone_age_tf import schema
from bone_age_tf.clinical.adult_height import AdultHeight, predict_adult_height
from bone_age_tf.clinical.arguments import MAX_AGE_MONTHS, require_choice
from bone_age_tf.clinical.standard_deviation import (
    StandardDeviationScore,
    standard_deviation_score,
)
from bone_age_tf.inference.predictor import Prediction
from bone_age_tf.inference.result import Result


def score_result(
    result: Result, reference: str = schema.BRUSH_FOUNDATION, sex: str | None = None
) -> StandardDeviationScore | None:
    """Returns how many standard deviations a result lies from the chronological age.

    Args:
        result: the result, whose `chronological_age_months` is used.
        reference: `brush_foundation` or `greulich_pyle_v_vi`.
        sex: female or male, for a result for both sexes; None for the result's own.

    Returns:
        The score, with the reason instead outside the reference's table; None without a
        chronological age or a prediction.

    Raises:
        InputError: the reference is unknown.
    """
    require_choice("reference", reference, schema.SD_REFERENCES)
    sex, age = sex or result.sex, result.chronological_age_months
    if sex is None or sex not in result.by_sex or age is None:
        return None
    return standard_deviation_score(_possible_age(result.by_sex[sex]), age, sex, reference)


def predict_adult_height_of(result: Result, sex: str | None = None) -> AdultHeight | None:
    """Returns the adult height by Bayley and Pinneau for a result, with its published error.

    Args:
        result: the result, whose `height_cm` and `chronological_age_months` are used.
        sex: female or male, for a result for both sexes; None for the result's own.

    Returns:
        The adult height, with the reason instead outside the table; None without a height, a
        chronological age or a prediction.
    """
    sex, age, height = sex or result.sex, result.chronological_age_months, result.height_cm
    if sex is None or sex not in result.by_sex or age is None or height is None:
        return None
    return predict_adult_height(height, _possible_age(result.by_sex[sex]), age, sex)


def _possible_age(prediction: Prediction) -> float:
    """Returns the bone age in months; a network's small negative number becomes 0."""
    return min(max(prediction.age_months, 0.0), MAX_AGE_MONTHS)
