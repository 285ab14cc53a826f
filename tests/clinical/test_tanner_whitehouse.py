"""Stages of bones to maturity scores and bone ages."""

import numpy as np
import pytest

from bone_age_tf.clinical import (
    CARPAL_BONES,
    MATURITY_METHODS,
    RUS_BONES,
    age_from_score,
    age_from_stages,
    carpal_score,
    rus_chn_score,
    rus_score,
)
from bone_age_tf.clinical.tables import read_rows
from bone_age_tf.clinical.tanner_whitehouse import age_curve
from bone_age_tf.errors import InputError

SEXES = ("female", "male")
MATURE = {**dict.fromkeys(RUS_BONES, "I"), "ulna": "H"}
MATURE_CARPALS = {**dict.fromkeys(CARPAL_BONES, "H"), "hamate": "I", "trapezium": "I"}
MATURE_GRADES = {
    **dict.fromkeys(("PP1", "PP3", "PP5", "MP3", "MP5", "ulna"), 12),
    **dict.fromkeys(("MC1", "DP1", "DP3", "DP5"), 11),
    **dict.fromkeys(("MC3", "MC5"), 10),
    "radius": 14,
}


@pytest.mark.parametrize("sex", SEXES)
def test_each_scale_adds_up_to_1000(sex):
    assert rus_score(MATURE, sex) == 1000
    assert carpal_score(MATURE_CARPALS, sex) == 1000
    assert rus_chn_score(MATURE_GRADES, sex) == 1000
    assert rus_score(dict.fromkeys(RUS_BONES, "A"), sex) == 0
    assert carpal_score(dict.fromkeys(CARPAL_BONES, "A"), sex) == 0
    assert rus_chn_score(dict.fromkeys(RUS_BONES, 0), sex) == 0


@pytest.mark.parametrize(
    "table, step", [("tanner_whitehouse_scores", "stage"), ("rus_chn_scores", "grade")]
)
def test_a_later_stage_never_scores_less(table, step):
    scores = {}
    for row in read_rows(table):
        key = (row.get("scale"), row["sex"], row["bone"])
        scores.setdefault(key, []).append((row[step], int(row["score"])))
    assert len(scores) == (40 if step == "stage" else 26)
    level = 0
    for steps in scores.values():
        names = [name for name, _ in steps]
        letters = list("ABCDEFGHI") if step == "stage" else [str(n) for n in range(1, 15)]
        assert names == letters[: len(names)]
        rises = np.diff([score for _, score in steps])
        assert (rises >= 0).all()
        level += np.count_nonzero(rises == 0)
    assert level == (1 if step == "stage" else 0)  # boys' PP3 has 4 points at B and at C


def test_scores_by_hand():
    stages = {
        "radius": "G", "ulna": "F", "MC1": "F", "MC3": "F", "MC5": "F", "PP1": "F", "PP3": "F",
        "PP5": "F", "MP3": "F", "MP5": "E", "DP1": "G", "DP3": "F", "DP5": "F",
    }  # fmt: skip
    male = 87 + 58 + 26 + 19 + 18 + 26 + 23 + 21 + 22 + 15 + 38 + 18 + 18
    female = 114 + 74 + 31 + 23 + 23 + 31 + 27 + 26 + 27 + 18 + 48 + 22 + 22
    assert (rus_score(stages, "male"), rus_score(stages, "female")) == (male, female) == (389, 486)
    carpals = dict(zip(CARPAL_BONES, "GGFFEFF", strict=True))
    assert carpal_score(carpals, "male") == 160 + 159 + 84 + 84 + 71 + 83 + 77
    grades = {**dict.fromkeys(RUS_BONES, 5), "radius": 7, "DP1": 6}
    rest = 61 + 22 + 13 + 14 + 17 + 14 + 16 + 14 + 17 + 15 + 17
    assert rus_chn_score(grades, "male") == 76 + 28 + rest


def test_ages_by_hand():
    table = {
        (row["method"], row["sex"], row["score"]): float(row["bone_age_months"])
        for row in read_rows("tanner_whitehouse_ages")
    }
    assert table["tw3_rus", "male", "42"] == 24
    assert table["tw3_rus", "female", "1000"] == 180
    assert age_from_score(891, "male").age_months == pytest.approx(192)
    assert age_from_score(912, "male").age_months == pytest.approx(193.2)
    # A third of the way from 16.0 to 16.1 years.
    assert age_from_score(898, "male").age_months == pytest.approx(192.4)
    assert age_from_score(589, "female").age_months == pytest.approx(132)
    assert age_from_score(303, "female", "tw2_rus").age_months == pytest.approx(84)
    assert age_from_score(632, "male", "tw3_carpal").age_months == pytest.approx(108)
    assert age_from_score(416, "male", "rus_chn").age_months == pytest.approx(144)
    assert age_from_score(423, "female", "tw3_c_rus").age_months == pytest.approx(108)
    # The row of girls at 12 years is left out: half between 637 at 11.5 and 775 at 12.5 years.
    assert age_from_score(706, "female", "rus_chn").age_months == pytest.approx(144)


@pytest.mark.parametrize(
    "method, female_years, male_years",
    [
        ("tw3_rus", 15.0, 16.5),
        ("tw2_rus", 16.0, 18.2),
        ("tw3_carpal", 13.0, 15.0),
        ("rus_chn", 17.0, 18.0),
        ("tw3_c_rus", 15.0, 16.0),
    ],
)
def test_a_mature_hand_has_the_last_age(method, female_years, male_years):
    assert method in MATURITY_METHODS
    for sex, years in zip(SEXES, (female_years, male_years), strict=True):
        mature = age_from_score(1000, sex, method)
        assert mature.is_mature and mature.age_months == pytest.approx(12 * years)
        assert not age_from_score(990, sex, method).is_mature


@pytest.mark.parametrize("method", MATURITY_METHODS)
@pytest.mark.parametrize("sex", SEXES)
def test_the_age_rises_with_the_score(method, sex):
    curve = age_curve(sex, method)
    scores = range(int(curve.first), 1001)
    ages = [age_from_score(score, sex, method).age_months for score in scores]
    assert np.diff(ages).min() > 0
    assert np.diff(ages).max() < 3.1  # months for a point


def test_girls_are_more_mature_at_an_age():
    for method in MATURITY_METHODS:
        for score in range(200, 1000, 50):
            girls, boys = (age_from_score(score, sex, method).age_months for sex in SEXES)
            assert girls < boys


def test_from_stages_to_an_age():
    stages = dict.fromkeys(RUS_BONES, "e")
    result = age_from_stages(stages, "male")
    assert (result.score, result.method, result.reason) == (246, "tw3_rus", "")
    assert result.age_months == age_from_score(246, "male", "tw3_rus").age_months
    assert "TW3 RUS" in result.method_name
    assert age_from_stages(stages, "male", "tw2_rus").score == 246
    assert age_from_stages(MATURE_CARPALS, "female", "tw3_carpal").age_months == 156
    assert age_from_stages(MATURE_GRADES, "female", "rus_chn").is_mature


@pytest.mark.parametrize(
    "score, sex, method, start",
    [
        (41, "male", "tw3_rus", "starts at 42 (2.0 years; male"),
        (125, "female", "tw3_rus", "starts at 126 (2.0 years; female"),
        (0, "male", "rus_chn", "starts at 15 (1.0 years; male"),
        (189, "male", "tw3_carpal", "starts at 190 (2.4 years; male"),
    ],
)
def test_below_the_table_there_is_a_reason(score, sex, method, start):
    result = age_from_score(score, sex, method)
    assert result.age_months is None and not result.is_mature
    assert f"score {score} is below the table" in result.reason and start in result.reason


def test_missing_bones_are_named():
    stages = {bone: "E" for bone in RUS_BONES if bone not in ("MC3", "DP5")}
    with pytest.raises(InputError, match="bones without a stage: MC3, DP5; all bones are needed"):
        rus_score(stages, "male")
    with pytest.raises(InputError, match="bones without a grade: radius"):
        rus_chn_score(dict.fromkeys(RUS_BONES[1:], 4), "male")


def test_unknown_bones_are_named():
    with pytest.raises(InputError, match="unknown bones: PP2, MC4; known: radius, ulna, MC1"):
        rus_score({**MATURE, "PP2": "I", "MC4": "I"}, "male")
    with pytest.raises(InputError, match="unknown bones: radius; known: capitate, hamate"):
        carpal_score({**MATURE_CARPALS, "radius": "I"}, "male")


def test_a_wrong_stage_is_named_with_what_is_allowed():
    with pytest.raises(InputError, match="ulna: stage is 'I'; give one of A to H"):
        rus_score({**MATURE, "ulna": "I"}, "female")
    with pytest.raises(InputError, match="MP3: stage is 'K'; give one of A to I"):
        rus_score({**MATURE, "MP3": "K"}, "female")
    with pytest.raises(InputError, match="capitate: stage is 'I'; give one of A to H"):
        carpal_score({**MATURE_CARPALS, "capitate": "I"}, "female")
    with pytest.raises(InputError, match="MC3: grade is 11; give one of 0 to 10"):
        rus_chn_score({**MATURE_GRADES, "MC3": 11}, "female")
    with pytest.raises(InputError, match="MC3: grade is 'G'"):
        rus_chn_score({**MATURE_GRADES, "MC3": "G"}, "female")


@pytest.mark.parametrize("score", [-1, 1001, 3.5])
def test_a_score_outside_the_scale_is_rejected(score):
    with pytest.raises(InputError, match="give an integer from 0 to 1000"):
        age_from_score(score, "male")


def test_an_unknown_method_is_rejected():
    with pytest.raises(InputError, match="method is 'tw4'; give tw3_rus or tw2_rus or"):
        age_from_stages(MATURE, "male", "tw4")
