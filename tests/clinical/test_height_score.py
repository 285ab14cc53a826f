"""Heights in standard deviations."""

import pytest

from bone_age_tf.clinical import height_for_age
from bone_age_tf.errors import InputError


def test_the_median_is_zero_and_one_sd_is_one():
    assert height_for_age(110.2647, 61, "male").sds == pytest.approx(0)
    # L is 1 in this reference, so that one SD is M * S.
    assert height_for_age(110.2647 * 1.04164, 61, "male").sds == pytest.approx(1)
    between = height_for_age(120, 61.5, "female")
    assert between.median_cm == pytest.approx((109.6016 + 110.1258) / 2)
    assert between.reference_name == "WHO growth reference 2007"


def test_the_power_is_used():
    score = height_for_age(170, 216.5, "female", "cdc_2000")
    power, median, variation = 1.05, 163.1, 0.040  # the row of 216.5 months
    assert score.median_cm == median
    assert score.sds == pytest.approx(((170 / median) ** power - 1) / (power * variation))
    assert height_for_age(median, 216.5, "female", "cdc_2000").sds == pytest.approx(0)


@pytest.mark.parametrize("age", [72, 120, 180, 220])
@pytest.mark.parametrize("sex", ["female", "male"])
def test_the_references_agree_within_a_third_of_an_sd(age, sex):
    for height in (105, 130, 150):
        first, second = (
            height_for_age(height + age / 4, age, sex, name) for name in ("cdc_2000", "who_2007")
        )
        assert first.median_cm == pytest.approx(second.median_cm, abs=2)
        if abs(second.sds) < 2:
            assert first.sds == pytest.approx(second.sds, abs=0.34)


@pytest.mark.parametrize(
    "age, reference, covered",
    [(60, "who_2007", "61 to 228"), (24, "cdc_2000", "24.5 to 239.5")],
)
def test_outside_the_table_there_is_a_reason(age, reference, covered):
    score = height_for_age(100, age, "male", reference)
    assert score.sds is None and score.median_cm is None
    assert f"covers {covered} months" in score.reason


def test_an_unknown_reference_is_rejected():
    with pytest.raises(InputError, match="give cdc_2000 or who_2007"):
        height_for_age(100, 61, "male", "who_2006")
