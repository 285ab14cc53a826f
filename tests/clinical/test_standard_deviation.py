"""Bone ages in standard deviations."""

import pytest

from bone_age_tf.clinical import SD_REFERENCES, standard_deviation_score
from bone_age_tf.clinical.standard_deviation import mean_curve
from bone_age_tf.errors import BoneAgeError, InputError


def test_the_references_decide_differently():
    by_brush = standard_deviation_score(168, 144, "female")
    by_atlas = standard_deviation_score(168, 144, "female", "greulich_pyle_v_vi")
    assert (by_brush.sd_months, by_atlas.sd_months) == (10.24, 14.0)
    assert by_brush.sds == pytest.approx(2.34375)
    assert by_atlas.sds == pytest.approx(1.7142857)
    assert (by_brush.assessment, by_atlas.assessment) == ("advanced", "normal")
    assert by_brush.reference == "brush_foundation" and by_brush.reason == ""
    assert by_brush.reference_name == SD_REFERENCES["brush_foundation"]
    assert "Brush Foundation" in by_brush.summary and "+2.3 SD" in by_brush.summary
    assert "tables V and VI" in by_atlas.summary and "+1.7 SD" in by_atlas.summary


@pytest.mark.parametrize(
    "sex, age, reference, sd",
    [
        ("male", 60, "brush_foundation", 8.79),
        ("male", 66, "brush_foundation", (8.79 + 9.17) / 2),
        ("m", 100, "brush_foundation", 9.10 + 4 / 12 * (9.00 - 9.10)),
        (0, 186, "brush_foundation", (9.23 + 7.31) / 2),
        ("F", 150, "greulich_pyle_v_vi", (14.0 + 14.6) / 2),
        (1, 201, "greulich_pyle_v_vi", 15.1 + 0.75 * 0.3),
    ],
)
def test_the_sd_is_interpolated_in_the_chronological_age(sex, age, reference, sd):
    score = standard_deviation_score(age - 5, age, sex, reference)
    assert score.sd_months == pytest.approx(sd)
    assert score.sds == pytest.approx(-5 / sd)


@pytest.mark.parametrize(
    "sds, assessment",
    [(-2.01, "delayed"), (-2, "normal"), (0, "normal"), (2, "normal"), (2.01, "advanced")],
)
def test_two_sds_are_normal(sds, assessment):
    # The SD of boys is exactly 9 months at 108 months.
    assert standard_deviation_score(108 + 9 * sds, 108, "male").assessment == assessment


@pytest.mark.parametrize(
    "sex, age, reference, covered",
    [
        ("male", 2.9, "brush_foundation", "3 to 204"),
        ("male", 204.1, "brush_foundation", "3 to 204"),
        ("female", 192.5, "brush_foundation", "3 to 192"),
        ("female", 180.5, "greulich_pyle_v_vi", "12 to 180"),
        ("male", 11, "greulich_pyle_v_vi", "12 to 204"),
    ],
)
def test_outside_the_table_there_is_a_reason(sex, age, reference, covered):
    score = standard_deviation_score(100, age, sex, reference)
    assert (score.sds, score.sd_months, score.assessment) == (None, None, None)
    assert f"{age:g} months" in score.reason and f"covers {covered} months" in score.reason
    assert sex in score.reason and SD_REFERENCES[reference] in score.reason
    assert score.reason in score.summary


@pytest.mark.parametrize(
    "arguments, message",
    [
        ((float("nan"), 144, "female"), "bone age is nan"),
        ((168, -1, "female"), "chronological age is -1"),
        ((168, None, "female"), "chronological age is None"),
        ((168, 4380, "female"), "number from 0 to 1320 months"),
        ((168, 144, None), "the sex is missing"),
        ((168, 144, "girl"), "sex is 'girl'"),
        ((168, 144, "female", "harvard"), "give brush_foundation or greulich_pyle_v_vi"),
    ],
)
def test_arguments_that_cannot_be_used_are_named(arguments, message):
    with pytest.raises(InputError, match=message) as error:
        standard_deviation_score(*arguments)
    assert isinstance(error.value, BoneAgeError)


def test_only_one_table_has_means():
    assert mean_curve("female").at(54) == pytest.approx(60.06)
    assert mean_curve("female", "greulich_pyle_v_vi") is None
