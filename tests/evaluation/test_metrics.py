import dataclasses
import json

import numpy as np
import pytest

from bone_age_tf.evaluation.metrics import (
    AGE_BAND_MONTHS,
    Predictions,
    age_band,
    evaluate,
    limits_of_agreement,
)


def five_cases(**changes):
    """Errors -3, +6, -12, +24, +30; three of the five intervals hold the true age."""
    fields = {
        "image_id": ["a", "b", "c", "d", "e"],
        "sex": [0, 1, 0, 1, 1],
        "age_months": [23.0, 24.0, 100.0, 120.0, 150.0],
        "predicted_months": [20.0, 30.0, 88.0, 144.0, 180.0],
        "lower_90": [10.0, 24.0, 80.0, 125.0, 160.0],
        "upper_90": [30.0, 36.0, 100.0, 165.0, 200.0],
    }
    return Predictions(**{**fields, **changes})


def made_up(count, seed=0, spread=9.0):
    random = np.random.default_rng(seed)
    age = random.uniform(10, 220, count)
    predicted = age + random.normal(1, spread, count)
    width = random.uniform(10, 20, count)
    return Predictions(
        [f"case_{index:05d}" for index in range(count)],
        random.integers(0, 2, count),
        age,
        predicted,
        predicted - width,
        predicted + width,
    )


def values(group):
    return {name: item["value"] for name, item in group.items() if isinstance(item, dict)}


def estimates(metrics):
    groups = [metrics["overall"], *metrics["by_sex"].values(), *metrics["by_age_band"]]
    for group in [*groups, metrics["constant_median"]]:
        for name, item in group.items():
            if isinstance(item, dict):
                yield name, item


def test_every_metric_by_hand():
    metrics = evaluate(five_cases(), constant_months=100.0)
    assert metrics["n"] == 5
    assert values(metrics["overall"]) == pytest.approx(
        {
            "mae_months": 15.0,  # (3 + 6 + 12 + 24 + 30) / 5
            "median_absolute_error_months": 12.0,
            "rmse_months": np.sqrt(333.0),  # (9 + 36 + 144 + 576 + 900) / 5
            "bias_months": 9.0,  # (-3 + 6 - 12 + 24 + 30) / 5
            "within_6_months": 0.4,  # exactly 6 counts
            "within_12_months": 0.6,
            "within_24_months": 0.8,
            "interval_90_coverage": 0.6,  # the ends count: b touches lower, c upper
            "interval_90_width_months": 26.4,  # (20 + 12 + 20 + 40 + 40) / 5
        },
        abs=1e-6,
    )


def test_floor_and_ratio_by_hand():
    constant = evaluate(five_cases(), constant_months=100.0)["constant_median"]
    # |100 - age| is 77, 76, 0, 20, 50: mean 44.6.
    assert constant["months"] == 100.0
    assert constant["mae_months"]["value"] == pytest.approx(44.6)
    assert constant["ratio"]["value"] == pytest.approx(15 / 44.6, abs=1e-6)


def test_by_sex_by_hand():
    by_sex = evaluate(five_cases(), 100.0)["by_sex"]
    assert list(by_sex) == ["female", "male"]
    assert by_sex["female"]["n"] == 2
    assert by_sex["female"]["mae_months"]["value"] == 7.5
    assert by_sex["female"]["median_absolute_error_months"]["value"] == 7.5  # an even count
    assert by_sex["male"]["n"] == 3
    assert by_sex["male"]["bias_months"]["value"] == 20.0


def test_absent_sex_and_absent_interval_are_left_out():
    metrics = evaluate(five_cases(sex=[1] * 5, lower_90=None, upper_90=None), 100.0)
    assert list(metrics["by_sex"]) == ["male"]
    assert not any(name.startswith("interval") for name in metrics["overall"])
    assert values(metrics["by_sex"]["male"]) == values(metrics["overall"])


def test_age_bands_include_their_lower_end():
    bands = evaluate(five_cases(), 100.0)["by_age_band"]
    assert [(band["from_months"], band["to_months"], band["n"]) for band in bands] == [
        (0, 24, 1),  # 23
        (24, 48, 1),  # exactly 24
        (96, 120, 1),
        (120, 144, 1),  # exactly 120
        (144, 168, 1),
    ]
    assert bands[1]["mae_months"]["value"] == 6.0
    edges = np.array([0.5, np.nextafter(24.0, 0), 24.0, 47.9, 48.0, 240.0])
    np.testing.assert_array_equal(age_band(edges), [0, 0, 1, 1, 2, 10])
    assert AGE_BAND_MONTHS == 24


def test_groups_count_each_case_once():
    metrics = evaluate(made_up(300), 120.0, resamples=20)
    assert sum(group["n"] for group in metrics["by_sex"].values()) == 300
    assert sum(band["n"] for band in metrics["by_age_band"]) == 300
    lower_ends = [band["from_months"] for band in metrics["by_age_band"]]
    assert lower_ends == sorted(lower_ends)


@pytest.mark.parametrize(("count", "has_interval"), [(9, False), (10, True)])
def test_small_groups_have_no_interval(count, has_interval):
    for _, item in estimates(evaluate(five_cases(), 100.0)):
        assert item["low"] is None and item["high"] is None
    overall = evaluate(made_up(count), 100.0, resamples=50)["overall"]
    assert (overall["mae_months"]["low"] is not None) == has_interval


def test_intervals_contain_the_value():
    for name, item in estimates(evaluate(made_up(400), 120.0)):
        if item["low"] is not None:
            assert item["low"] <= item["value"] <= item["high"], name


def test_intervals_are_set_by_the_seed_and_not_by_the_order_of_cases():
    cases = made_up(101)
    first = evaluate(cases, 120.0, seed=3)
    assert evaluate(cases, 120.0, seed=3) == first
    assert evaluate(cases, 120.0, seed=4)["overall"] != first["overall"]
    order = np.random.default_rng(0).permutation(101)
    shuffled = Predictions(
        [cases.image_id[index] for index in order],
        *(
            column[order]
            for column in (
                cases.sex,
                cases.age_months,
                cases.predicted_months,
                cases.lower_90,
                cases.upper_90,
            )
        ),
    )
    assert evaluate(shuffled, 120.0, seed=3) == first


def test_intervals_narrow_with_more_cases():
    def width(count):
        item = evaluate(made_up(count), 120.0)["overall"]["mae_months"]
        return item["high"] - item["low"]

    assert width(1600) == pytest.approx(width(100) / 4, rel=0.3)


@pytest.mark.parametrize("metric", ["bias_months", "mae_months"])
def test_interval_of_a_mean_agrees_with_the_normal_approximation(metric):
    cases = made_up(500)
    error = cases.error_months if metric == "bias_months" else np.abs(cases.error_months)
    half = 1.96 * error.std(ddof=1) / np.sqrt(error.size)
    item = evaluate(cases, 120.0)["overall"][metric]
    assert item["high"] - item["low"] == pytest.approx(2 * half, rel=0.1)
    assert item["low"] == pytest.approx(error.mean() - half, abs=0.1 * half)


def test_bootstrap_equals_one_written_with_numpy_functions():
    """The same draws, case by case: checks the counting, the median of even samples, the pairs."""
    count, resamples = 40, 300  # 40 is even, and one chunk
    cases = made_up(count)
    metrics = evaluate(cases, 120.0, seed=5, resamples=resamples)
    order = np.argsort(np.abs(cases.error_months))
    error, age = cases.error_months[order], cases.age_months[order]
    drawn = np.random.default_rng(5).integers(0, count, size=(resamples, count))
    mae = np.abs(error)[drawn].mean(axis=1)
    expected = {
        "mae_months": mae,
        "median_absolute_error_months": np.median(np.abs(error)[drawn], axis=1),
        "rmse_months": np.sqrt((error**2)[drawn].mean(axis=1)),
    }
    for name, draws in expected.items():
        item = metrics["overall"][name]
        assert [item["low"], item["high"]] == pytest.approx(
            np.percentile(draws, [2.5, 97.5]), abs=2e-6
        )
    ratio = metrics["constant_median"]["ratio"]
    draws = mae / np.abs(120.0 - age)[drawn].mean(axis=1)
    assert [ratio["low"], ratio["high"]] == pytest.approx(
        np.percentile(draws, [2.5, 97.5]), abs=2e-6
    )


def test_pairing_makes_the_ratio_of_proportional_errors_certain():
    age = np.linspace(20, 200, 60)
    cases = Predictions([str(i) for i in range(60)], [0] * 60, age, age + (100 - age) / 2)
    ratio = evaluate(cases, 100.0)["constant_median"]["ratio"]
    assert ratio == {"value": 0.5, "low": 0.5, "high": 0.5}


def test_json_is_strict_even_where_the_ratio_is_undefined():
    cases = Predictions([str(i) for i in range(12)], [0] * 12, [100.0] * 12, [90.0] * 12)
    metrics = evaluate(cases, 100.0)
    assert metrics["constant_median"]["ratio"] == {"value": None, "low": None, "high": None}
    assert metrics["overall"]["bias_months"] == {"value": -10.0, "low": -10.0, "high": -10.0}
    for result in (metrics, evaluate(made_up(1), 100.0), evaluate(made_up(50), np.float32(100))):
        assert json.loads(json.dumps(result, allow_nan=False)) == result


def test_limits_of_agreement_by_hand():
    # Errors 0, 3, 6: mean 3, SD 3.
    assert limits_of_agreement(np.array([0.0, 3.0, 6.0])) == pytest.approx((-2.88, 8.88))
    assert limits_of_agreement(np.array([4.0])) is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image_id": ["a", "b", "c", "d"]}, "sex has 5 values for 4 cases"),
        ({"predicted_months": [1.0]}, "predicted_months has 1 values for 5 cases"),
        ({"predicted_months": np.ones((5, 1))}, r"predicted_months has shape \(5, 1\)"),
        ({"predicted_months": [1.0, 2, np.nan, 4, 5]}, "predicted_months of 'c' is nan"),
        ({"age_months": [1.0, 2, 3, np.inf, 5]}, "age_months of 'd' is inf"),
        ({"age_months": ["old"] * 5}, "age_months is not a column of numbers"),
        ({"upper_90": [30.0, 36, 100, 165, np.nan]}, "upper_90 of 'e' is nan"),
        ({"upper_90": None}, "give both or neither"),
        ({"upper_90": [30.0, 20, 100, 165, 200]}, "lower_90 of 'b' is above upper_90"),
        ({"sex": [0, 1, 2, 0, 0]}, "sex of 'c' is 2"),
        ({"sex": [0, 0.5, 1, 0, 0]}, "sex of 'b' is 0.5"),
        ({"image_id": ["a", "b", "a", "d", "e"]}, "'a' is repeated"),
        ({"image_id": [b"a", b"b", b"c", b"d", b"e"]}, "is not text"),
        ({"image_id": []}, "at least one case"),
    ],
)
def test_bad_predictions_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        five_cases(**changes)


def test_predictions_keep_their_own_read_only_copy():
    age = np.array([23.0, 24.0, 100.0, 120.0, 150.0], np.float32)
    cases = five_cases(age_months=age)
    age[0] = 99
    assert cases.age_months[0] == 23.0
    with pytest.raises(ValueError, match="read-only"):
        cases.sex[0] = 1
    np.testing.assert_array_equal(cases.error_months, [-3, 6, -12, 24, 30])
    assert len(cases) == 5


def test_bad_settings_are_refused():
    with pytest.raises(ValueError, match="constant_months is nan"):
        evaluate(five_cases(), float("nan"))
    with pytest.raises(ValueError, match="resamples is 0"):
        evaluate(five_cases(), 100.0, resamples=0)


def test_each_part_alone_is_compared_with_the_fused_answer():
    perfect, late = np.array(five_cases().age_months), np.array(five_cases().age_months) + 30
    metrics = evaluate(five_cases(parts_months={"whole hand": late, "DIP2": perfect}), 100.0)
    assert list(metrics["parts"]) == ["whole hand", "DIP2"]
    assert values(metrics["parts"]["whole hand"]) == {"mae_months": 30.0, "ratio": 0.5}
    assert values(metrics["parts"]["DIP2"]) == {"mae_months": 0.0, "ratio": None}
    whole = evaluate(five_cases(), 100.0)
    assert {name: item for name, item in metrics.items() if name != "parts"} == whole


def test_ratio_to_a_part_is_paired():
    cases = made_up(300)
    double = cases.age_months + 2 * cases.error_months
    same = dataclasses.replace(cases, parts_months={"radius": double})
    ratio = evaluate(same, 100.0)["parts"]["radius"]["ratio"]
    assert ratio == pytest.approx({"value": 0.5, "low": 0.5, "high": 0.5})


def test_part_of_wrong_length_is_an_error():
    with pytest.raises(ValueError, match="DIP2 has 4 values for 5 cases"):
        five_cases(parts_months={"DIP2": np.zeros(4)})
