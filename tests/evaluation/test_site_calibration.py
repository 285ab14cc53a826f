import json

import numpy as np
import pytest

from bone_age_tf.errors import CalibrationError
from bone_age_tf.evaluation.site_calibration import (
    SiteCalibration,
    fit_site_calibration,
    largest_correction_months,
    read_site_calibration,
    save_site_calibration,
)


def site(n, random, shift=0.0, by_sex=0.0, slope=0.0, sd=10.0):
    """Predicted and true ages and sexes where the model is off by a line."""
    age = random.uniform(12, 216, n)
    sex = random.permutation(np.arange(n) % 2)
    error = -shift - by_sex * (2 * sex - 1) - slope * (age - 120)
    return age + error + random.normal(0, sd, n), age, sex


def mae(calibration, cases):
    predicted, age, sex = cases
    return np.abs(calibration.apply(predicted, sex) - age).mean()


@pytest.mark.parametrize("shift", [12, -12])
def test_a_shift_falls_under_two_months_with_fifty_cases(shift):
    random = np.random.default_rng(0)
    everyone = site(4000, random, shift)
    for _ in range(20):
        found = fit_site_calibration(*site(50, random, shift))
        left = (found.apply(everyone[0], everyone[2]) - everyone[1]).mean()
        # The mean of 50 cases itself is off by 1.4 months (SD).
        assert abs(left) < 4.5
    lefts = [
        (fit_site_calibration(*site(50, random, shift)).apply(everyone[0], everyone[2])).mean()
        - everyone[1].mean()
        for _ in range(20)
    ]
    assert np.abs(lefts).mean() < 2


@pytest.mark.parametrize("shift", [0, 6, 12])
def test_five_cases_do_no_harm(shift):
    random = np.random.default_rng(1)
    everyone = site(2000, random, shift)
    before = np.abs(everyone[0] - everyone[1]).mean()
    after = [mae(fit_site_calibration(*site(5, random, shift)), everyone) for _ in range(100)]
    assert max(after) < before + 0.5


@pytest.mark.parametrize("count", [3, 5, 12, 20, 25])
def test_few_cases_move_no_age_far_whatever_they_are(count):
    ages = np.linspace(24, 216, 50)
    predicted = np.linspace(60, 180, count)
    sex = np.arange(count) % 2
    for wrong in (np.full(count, 60.0), 60.0 * sex, (predicted - 120) / 2):
        found = fit_site_calibration(predicted, predicted + wrong, sex)
        moves = [found.apply(ages, np.full(50, code)) - ages for code in (0, 1)]
        assert np.abs(moves).max() <= largest_correction_months(count) + 1e-9
    assert largest_correction_months(5) == 0.5


def test_one_wrong_label_moves_nothing():
    random = np.random.default_rng(2)
    predicted, age, sex = site(8, random)
    age = age.copy()
    age[3] += 90
    found = fit_site_calibration(predicted, age, sex)
    np.testing.assert_allclose(found.apply(120.0, np.array([0, 1])), 120, atol=2)


def test_a_line_by_sex_is_found_where_there_is_one():
    random = np.random.default_rng(3)
    found = fit_site_calibration(*site(2000, random, shift=8, by_sex=4, slope=0.2, sd=6))
    middle = 120 + np.array([4.0, 12.0])  # the shifts of girls and boys
    np.testing.assert_allclose(
        found.apply(120.0 - (middle - 120), np.array([0, 1])), [120, 120], atol=1.5
    )
    assert found.slope == pytest.approx((1.2, 1.2), abs=0.05)
    assert found.details["probabilities"]["line by sex"] > 0.99
    assert found.cases == (1000, 1000)


def test_one_sex_alone_gets_an_offset():
    random = np.random.default_rng(4)
    predicted, age, _ = site(60, random, shift=15)
    found = fit_site_calibration(predicted, age, np.zeros(60, int))
    assert found.offset_months == pytest.approx((15, 15), abs=4)
    assert set(found.details["probabilities"]) == {"none", "offset"}


def test_ages_stay_possible():
    calibration = SiteCalibration((-20.0, 30.0), (1.0, 1.0), "m", 1, (1, 1))
    np.testing.assert_array_equal(
        calibration.apply(np.array([5.0, 230.0]), np.array([0, 1])), [0, 240]
    )


def test_too_few_cases_are_refused():
    with pytest.raises(CalibrationError, match=r"2 cases .* at least 3, better 50"):
        fit_site_calibration([100, 90], [101, 95], [0, 1])


def test_a_file_brings_it_back(tmp_path):
    made = fit_site_calibration(*site(40, np.random.default_rng(5), 12), model="m", version=3)
    save_site_calibration(made, tmp_path / "site" / "a.json")
    assert read_site_calibration(tmp_path / "site" / "a.json") == made
    assert [path.name for path in (tmp_path / "site").iterdir()] == ["a.json"]


@pytest.mark.parametrize(
    ("change_fn", "message"),
    [
        (lambda c: c.pop("slope"), "lacks the entry 'slope'"),
        (lambda c: c["slope"].update(male=-1), "slopes must be above 0"),
        (lambda c: c["offset_months"].update(male="x"), "could not convert"),
        (lambda c: c.update(cases=3), "not a site calibration"),
    ],
)
def test_a_spoilt_file_is_named(tmp_path, change_fn, message):
    path = tmp_path / "a.json"
    save_site_calibration(SiteCalibration((0.0, 0.0), (1.0, 1.0), "m", 1, (1, 1)), path)
    content = json.loads(path.read_text())
    change_fn(content)
    path.write_text(json.dumps(content))
    with pytest.raises(CalibrationError, match=message) as error:
        read_site_calibration(path)
    assert str(path) in str(error.value)


def test_a_missing_or_broken_file_is_named(tmp_path):
    with pytest.raises(CalibrationError, match=r"no\.json: no such file; make one with"):
        read_site_calibration(tmp_path / "no.json")
    (tmp_path / "a.json").write_text("{")
    with pytest.raises(CalibrationError, match="not a site calibration"):
        read_site_calibration(tmp_path / "a.json")
