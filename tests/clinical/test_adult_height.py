"""Adult heights by Bayley and Pinneau."""

import pytest

from bone_age_tf.clinical import predict_adult_height
from bone_age_tf.errors import InputError


@pytest.mark.parametrize(
    "height, bone_age, age, sex, group, percent, error_in",
    [
        (150, 144, 144, "male", "average", 83.4, 1.09),
        (140, 135, 126, "male", "average", 81.2, 1.11),
        (150, 145.5, 140, "female", "average", (92.2 + 93.2) / 2, 0.94 + (1.06 - 0.94) / 3),
        (130, 120, 108, "female", "accelerated", 82.8, 1.46),
        (130, 83, 96, "female", "retarded", 76.3 + (77 - 76.3) / 2, 1.73),
        (130, 104, 120, "male", "retarded", 77.3 + 2 / 3 * 0.6, 1.33),
        # No SD is printed for the validation sample at 102 months: half between 96 and 108.
        (125, 102, 102, "male", "average", 73.9, (1.47 + 1.27) / 2),
    ],
)
def test_the_height_is_divided_by_the_percentage(
    height, bone_age, age, sex, group, percent, error_in
):
    result = predict_adult_height(height, bone_age, age, sex)
    assert result.group == group and result.reason == ""
    assert result.percent_of_adult_height == pytest.approx(percent)
    assert result.height_cm == pytest.approx(100 * height / percent)
    assert result.error_cm == pytest.approx(2.54 * error_in)
    assert "Bayley and Pinneau" in result.source


@pytest.mark.parametrize(
    "difference, group",
    [(12, "accelerated"), (11.9, "average"), (-11.9, "average"), (-12, "retarded")],
)
def test_a_year_of_difference_makes_the_group(difference, group):
    assert predict_adult_height(140, 120 + difference, 120, "male").group == group


def test_the_group_changes_the_height():
    by_group = {
        age: predict_adult_height(140, 126, age, "male").height_cm for age in (110, 126, 140)
    }
    assert by_group[110] == pytest.approx(140 / 0.758)
    assert by_group[126] == pytest.approx(140 / 0.795)
    assert by_group[140] == pytest.approx(140 / 0.819)


@pytest.mark.parametrize(
    "bone_age, age, sex, covered",
    [
        (157, 170, "male", "72 to 156"),
        (71, 71, "female", "72 to 216"),
        (83.9, 84, "male", "84 to 222"),
        (211, 180, "female", "84 to 210"),
    ],
)
def test_outside_the_table_there_is_a_reason(bone_age, age, sex, covered):
    result = predict_adult_height(140, bone_age, age, sex)
    assert (result.height_cm, result.error_cm, result.percent_of_adult_height) == (None,) * 3
    assert f"bone age {bone_age:g} months" in result.reason
    assert f"covers {covered} months" in result.reason
    assert result.group in result.reason and sex in result.reason


def test_a_height_without_a_published_error_has_none():
    result = predict_adult_height(115, 84, 84, "female")
    assert result.height_cm == pytest.approx(115 / 0.757)
    assert result.error_cm is None


@pytest.mark.parametrize("height", [1.5, 1500, "tall", float("nan")])
def test_a_height_in_another_unit_is_rejected(height):
    with pytest.raises(InputError, match="give a number from 30 to 250 cm"):
        predict_adult_height(height, 144, 144, "male")
