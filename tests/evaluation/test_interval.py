import json

import numpy as np
import pytest

from bone_age_tf.evaluation.interval import (
    KNOTS_MONTHS,
    IntervalTable,
    cross_fitted_interval,
    fit_interval,
)


def cases(n, seed, scale=1.0):
    """Ages whose errors grow with the age and are larger for boys; the network says 10 months."""
    random = np.random.default_rng(seed)
    months = random.uniform(20, 220, n)
    sex = random.integers(0, 2, n)
    spread = (4 + months / 20) * (1 + sex) * scale
    age = np.clip(months + random.normal(0, spread), 1, 239)
    return months, months - 10, months + 10, age, sex


def covered(ends, age):
    return (ends[0] <= age) & (age <= ends[1])


@pytest.mark.parametrize("scale", [0.3, 1.0])
def test_new_cases_are_covered_everywhere(scale):
    table = fit_interval(*cases(3000, 0, scale))
    months, lower, upper, age, sex = cases(20000, 1, scale)
    found = covered(table.apply(months, lower, upper, sex), age)
    assert 0.89 < found.mean() < 0.92
    for group in (sex == 0, sex == 1, age < 60, (age > 100) & (age < 140), age > 180):
        assert 0.86 < found[group].mean() < 0.95
    low, high = table.apply(months, lower, upper, sex)
    assert (high - low)[sex == 1].mean() > 1.5 * (high - low)[sex == 0].mean()


def test_the_old_and_the_young_are_covered_by_a_network_that_draws_them_to_the_middle():
    def drawn(n, seed):
        random = np.random.default_rng(seed)
        age = np.clip(random.normal(120, 40, n), 5, 235)
        months = 120 + 0.7 * (age - 120) + random.normal(0, 8, n)
        return months, months - 10, months + 10, age, random.integers(0, 2, n)

    table = fit_interval(*drawn(3000, 0))
    months, lower, upper, age, sex = drawn(20000, 1)
    low, high = table.apply(months, lower, upper, sex)
    found = covered((low, high), age)
    assert 0.88 < found.mean() < 0.93
    for group in (age < 60, (age > 100) & (age < 140), age > 180):
        assert 0.85 < found[group].mean() < 0.96
    # An answer of 60 is more likely of a still younger child, one of 180 of an older.
    assert np.all((low < months) & (months < high))
    assert (months - low)[months < 60].mean() > (high - months)[months < 60].mean()
    assert (months - low)[months > 180].mean() < (high - months)[months > 180].mean()


def test_no_interval_of_its_own_works_too():
    months, _, _, age, sex = cases(3000, 2)
    table = fit_interval(months, months, months, age, sex)
    months, _, _, age, sex = cases(5000, 3)
    assert covered(table.apply(months, months, months, sex), age).mean() == pytest.approx(
        0.9, abs=0.02
    )


def test_the_networks_own_width_is_kept_where_it_tells_cases_apart():
    random = np.random.default_rng(4)
    months, width = random.uniform(20, 220, 4000), random.choice([5.0, 25.0], 4000)
    age, sex = months + random.normal(0, width), random.integers(0, 2, 4000)
    table = fit_interval(months, months - width, months + width, age, sex)
    low, high = table.apply(months, months - width, months + width, sex)
    for each in (5.0, 25.0):
        assert covered((low, high), age)[width == each].mean() == pytest.approx(0.9, abs=0.03)


def test_cross_fitting_covers_the_cases_themselves():
    data = cases(1000, 5)
    found = covered(cross_fitted_interval(*data), data[3])
    assert found.mean() == pytest.approx(0.9, abs=0.03)


def test_few_cases_give_wide_intervals_rather_than_none():
    table = fit_interval(*cases(25, 6))
    months, lower, upper, age, sex = cases(5000, 7)
    assert covered(table.apply(months, lower, upper, sex), age).mean() > 0.85
    with pytest.raises(ValueError, match="9 cases give no interval; at least 10"):
        fit_interval(*cases(9, 6))


def test_ends_stay_possible_and_about_the_age():
    table = IntervalTable(((50.0,) * 21, (0.5,) * 21), 100)
    months = np.array([5.0, 230.0, 100.0, 240.0])
    low, high = table.apply(months, months - 2, months + 4, np.array([0, 0, 1, 1]))
    np.testing.assert_allclose(low, [0, 130, 99, 239])
    np.testing.assert_allclose(high, [205, 240, 102, 240])


def test_what_an_age_allows_decides_whether_it_is_in_the_interval():
    # From 0 to 120 months an answer may be off by 5, from 132 on by 20, of a half-width of 1.
    table = IntervalTable((tuple(5.0 if k <= 120 else 20.0 for k in KNOTS_MONTHS),) * 2, 100)
    months = np.array([100.0, 118.0, 130.0, 150.0])
    low, high = table.apply(months, months - 1, months + 1, np.array([0, 0, 1, 1]))
    np.testing.assert_allclose(high, [105, 138, 150, 170])
    np.testing.assert_allclose(low, [95, 113, 120 + 12 * 5 / 27, 120 + 12 * 25 / 27], atol=1e-6)


def test_the_graph_does_the_same():
    from bone_age_tf.models.answer_layers import ConformalInterval

    months, lower, upper, _, sex = cases(500, 8)
    table = fit_interval(*cases(500, 9))
    layer = ConformalInterval(**table.for_graph())
    inputs = months[:, None], np.stack([lower, upper], axis=1), sex[:, None]
    found = layer([values.astype(np.float32) for values in inputs])
    expected = np.stack(table.apply(months, lower, upper, sex), axis=1)
    np.testing.assert_allclose(found, expected, atol=1e-3)


def test_json_brings_it_back():
    table = fit_interval(*cases(200, 10))
    content = json.loads(json.dumps(table.as_json()))
    assert IntervalTable.read(content) == table
    assert content["knots_months"] == list(KNOTS_MONTHS)
