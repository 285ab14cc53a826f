import numpy as np
import pytest

from bone_age_tf.evaluation.comparison import compare
from bone_age_tf.evaluation.metrics import Predictions


def predictions(errors, ids=None):
    count = len(errors)
    ids = [f"case{index}" for index in range(count)] if ids is None else ids
    ages = np.linspace(20, 200, count)
    return Predictions(ids, np.arange(count) % 2, ages, ages + np.array(errors))


def test_the_smaller_error_wins_by_its_difference():
    rng = np.random.default_rng(0)
    errors = rng.normal(0, 10, 400)
    found = compare(predictions(errors), predictions(errors * 0.5))
    assert found["better"] == "second"
    assert found["n"] == 400
    mean = np.abs(errors).mean()
    assert found["first_mae_months"] == pytest.approx(mean)
    assert found["difference_months"]["value"] == pytest.approx(-mean / 2)
    assert found["difference_months"]["high"] < 0
    assert compare(predictions(errors * 0.5), predictions(errors))["better"] == "first"


def test_chance_is_not_a_win_and_pairs_narrow_the_interval():
    rng = np.random.default_rng(1)
    errors = rng.normal(0, 20, 300)
    nearly = errors + rng.normal(0, 1, 300)
    found = compare(predictions(errors), predictions(nearly))
    assert found["better"] == "neither"
    width = found["difference_months"]["high"] - found["difference_months"]["low"]
    assert width < 0.5  # unpaired cases of SD 12 months would give about 4


def test_cases_are_matched_by_name():
    errors = [1.0, 2.0, 3.0, 4.0]
    first = predictions(errors)
    ages = first.age_months
    turned = Predictions(first.image_id[::-1], [1, 0, 1, 0], ages[::-1], (ages + errors)[::-1])
    assert compare(first, turned)["difference_months"] == {"value": 0.0, "low": 0.0, "high": 0.0}
    with pytest.raises(ValueError, match="not measured on the same cases"):
        compare(first, predictions(errors, ["a", "b", "c", "d"]))
