"""Bone age from the stages of single bones: Tanner-Whitehouse and the Chinese RUS-CHN.

A reader gives each bone a stage. The stages have scores, the scores are added up, and the sum, the
maturity score from 0 to 1000, corresponds to a bone age.

Sources: Tanner, Healy, Goldstein and Cameron, Assessment of Skeletal Maturity and Prediction of
Adult Height (TW3 Method), 3rd edition 2001; the same title (TW2 Method), 2nd edition 1983; Zhang et
al., The Standards of Skeletal Maturity of Hand and Wrist for Chinese, 2006. The files in `tables`
say how many transcriptions of each table were compared.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Final

from bone_age_tf.clinical.arguments import (
    MONTHS_PER_YEAR,
    require_choice,
    require_sex,
)
from bone_age_tf.clinical.tables import Curve, read_curve, read_rows
from bone_age_tf.errors import InputError

RUS_BONES: Final = (
    "radius", "ulna", "MC1", "MC3", "MC5", "PP1", "PP3", "PP5", "MP3", "MP5", "DP1", "DP3", "DP5",
)  # fmt: skip
"""Bones of the RUS scales: radius, ulna, and the metacarpals (MC), proximal (PP), middle (MP) and
distal (DP) phalanges of the first, third and fifth finger."""
CARPAL_BONES: Final = (
    "capitate", "hamate", "triquetrum", "lunate", "scaphoid", "trapezium", "trapezoid",
)  # fmt: skip
"""Bones of the carpal scale."""
MATURE_SCORE: Final = 1000
"""Maturity score of an adult."""

TW3_RUS: Final = "tw3_rus"
TW2_RUS: Final = "tw2_rus"
TW3_CARPAL: Final = "tw3_carpal"
RUS_CHN: Final = "rus_chn"
TW3_C_RUS: Final = "tw3_c_rus"
MATURITY_METHODS: Final = {
    TW3_RUS: "TW3 RUS (Tanner et al. 2001)",
    TW2_RUS: "TW2 RUS (Tanner et al. 1983)",
    TW3_CARPAL: "TW3 carpal (Tanner et al. 2001)",
    RUS_CHN: "RUS-CHN, Chinese medians (Zhang et al. 2006)",
    TW3_C_RUS: "TW3-C RUS, Chinese medians (Zhang et al. 2006)",
}
"""Full names of the methods by their keys. `tw3_c_rus` has the scores of TW3 and Chinese ages."""


@dataclasses.dataclass(frozen=True)
class MaturityAge:
    """A bone age that was determined from the stages of bones.

    Attributes:
        score: maturity score, 0 to 1000.
        age_months: bone age in months; for a mature hand the age from which a hand is mature. None
            if the score is below the method's table.
        is_mature: whether all bones are mature; the bone age is then at least `age_months`.
        method: key of the method, one of `MATURITY_METHODS`.
        method_name: full name of the method.
        reason: why there is no bone age; empty if there is one.
    """

    score: int
    age_months: float | None
    is_mature: bool
    method: str
    method_name: str
    reason: str = ""


def rus_score(stages: Mapping[str, str], sex: str | int) -> int:
    """Returns the RUS maturity score of TW3 and TW2 (0 to 1000).

    Args:
        stages: a stage from A (not visible) to I (mature) for each of `RUS_BONES`; the ulna is
            mature at H. Small letters are accepted.
        sex: female or male, or a code of `schema`.

    Raises:
        InputError: a bone is missing or unknown, or a stage is not one of the bone's stages.
    """
    return _add_up(_stage_scores("rus", require_sex(sex)), stages, "stage", _stage_letter)


def carpal_score(stages: Mapping[str, str], sex: str | int) -> int:
    """Returns the carpal maturity score of TW3 (0 to 1000).

    Args:
        stages: a stage from A (not visible) to H or I (mature) for each of `CARPAL_BONES`; hamate
            and trapezium are mature at I. Small letters are accepted.
        sex: female or male, or a code of `schema`.

    Raises:
        InputError: a bone is missing or unknown, or a stage is not one of the bone's stages.
    """
    return _add_up(_stage_scores("carpal", require_sex(sex)), stages, "stage", _stage_letter)


def rus_chn_score(grades: Mapping[str, int], sex: str | int) -> int:
    """Returns the maturity score of RUS-CHN (0 to 1000).

    Args:
        grades: a grade from 0 (not visible) to the mature grade for each of `RUS_BONES`; the mature
            grades are 14 for the radius, 12 for the ulna, and 10 to 12 for the other bones.
        sex: female or male, or a code of `schema`.

    Raises:
        InputError: a bone is missing or unknown, or a grade is not one of the bone's grades.
    """
    return _add_up(_grade_scores(require_sex(sex)), grades, "grade", str)


def age_from_score(score: int, sex: str | int, method: str = TW3_RUS) -> MaturityAge:
    """Returns the bone age of a maturity score.

    The age is interpolated linearly between the rows of the table. Below the first row there is no
    age: the table does not say how young a child with so low a score may be.

    Args:
        score: maturity score, 0 to 1000: of `carpal_score` for `tw3_carpal`, of `rus_chn_score` for
            `rus_chn`, and of `rus_score` for the other methods.
        sex: female or male, or a code of `schema`.
        method: one of `MATURITY_METHODS`.

    Raises:
        InputError: the score is not an integer from 0 to 1000, or the sex or method is unknown.
    """
    require_choice("method", method, MATURITY_METHODS)
    sex, name = require_sex(sex), MATURITY_METHODS[method]
    if score not in range(MATURE_SCORE + 1):
        raise InputError(f"score is {score!r}; give an integer from 0 to {MATURE_SCORE}")
    curve = age_curve(sex, method)
    age = curve.at(score)
    reason = ""
    if age is None:
        reason = (
            f"score {score} is below the table, which starts at {curve.first:g} "
            f"({curve.values[0] / MONTHS_PER_YEAR:.1f} years; {sex}, {name})"
        )
    return MaturityAge(int(score), age, score == MATURE_SCORE, method, name, reason)


def age_from_stages(
    stages: Mapping[str, str] | Mapping[str, int], sex: str | int, method: str = TW3_RUS
) -> MaturityAge:
    """Returns the bone age of a hand whose bones have been staged.

    Args:
        stages: the stage letter of each bone, or for `rus_chn` its grade; see `rus_score`,
            `carpal_score` and `rus_chn_score`.
        sex: female or male, or a code of `schema`.
        method: one of `MATURITY_METHODS`.

    Raises:
        InputError: a bone is missing or unknown, a stage is not one of the bone's stages, or the
            sex or method is unknown.
    """
    require_choice("method", method, MATURITY_METHODS)
    scorers: dict[str, Callable] = {TW3_CARPAL: carpal_score, RUS_CHN: rus_chn_score}
    score = scorers.get(method, rus_score)(stages, sex)
    return age_from_score(score, sex, method)


def age_curve(sex: str, method: str) -> Curve:
    """Returns the bone age in months by maturity score.

    Args:
        sex: female or male.
        method: one of `MATURITY_METHODS`.
    """
    table = "chinese_medians" if method in (RUS_CHN, TW3_C_RUS) else "tanner_whitehouse_ages"
    return read_curve(table, "score", "bone_age_months", sex=sex, method=method)


@functools.cache
def _stage_scores(scale: str, sex: str) -> dict[str, dict[str, int]]:
    """Returns the scores of a scale, rus or carpal, by bone and stage."""
    scores: dict[str, dict[str, int]] = {}
    for row in read_rows("tanner_whitehouse_scores"):
        if row["scale"] == scale and row["sex"] == sex:
            scores.setdefault(row["bone"], {})[row["stage"]] = int(row["score"])
    return scores


@functools.cache
def _grade_scores(sex: str) -> dict[str, dict[str, int]]:
    """Returns the scores of RUS-CHN by bone and grade, with grade 0 of a bone that is not visible.

    Grades are texts, as in the table.
    """
    scores: dict[str, dict[str, int]] = {}
    for row in read_rows("rus_chn_scores"):
        if row["sex"] == sex:
            scores.setdefault(row["bone"], {"0": 0})[row["grade"]] = int(row["score"])
    return scores


def _stage_letter(stage: object) -> str:
    return str(stage).strip().upper()


def _add_up(
    scores: Mapping[str, Mapping[str, int]],
    stages: Mapping[str, object],
    what: str,
    as_text: Callable[[object], str],
) -> int:
    unknown = [str(bone) for bone in stages if bone not in scores]
    if unknown:
        raise InputError(f"unknown bones: {', '.join(unknown)}; known: {', '.join(scores)}")
    missing = [bone for bone in scores if bone not in stages]
    if missing:
        raise InputError(f"bones without a {what}: {', '.join(missing)}; all bones are needed")
    for bone, stage in stages.items():
        if as_text(stage) not in scores[bone]:
            allowed = list(scores[bone])
            raise InputError(
                f"{bone}: {what} is {stage!r}; give one of {allowed[0]} to {allowed[-1]}"
            )
    return sum(scores[bone][as_text(stage)] for bone, stage in stages.items())
