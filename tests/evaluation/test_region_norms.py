"""Norms of the regions' bone ages, on made-up children."""

import json

import numpy as np
import pytest

from bone_age_tf import schema
from bone_age_tf.commands import predict
from bone_age_tf.evaluation.region_norms import (
    MIN_CASES,
    RegionAge,
    RegionNorms,
    fit_region_norms,
    hand_months,
)
from bone_age_tf.inference.predictor import Prediction
from bone_age_tf.inference.result import Result

COUNT = len(schema.REGIONS)
RADIUS, WRIST = (schema.REGIONS.index(name) for name in ("radius", "wrist"))
WEIGHTS = np.full(COUNT, 0.1)


def children(count=1500, seed=0):
    """Ages of regions: the wrist scatters more in girls, and the radius lags the older ones."""
    random = np.random.default_rng(seed)
    sex = np.arange(count) % 2
    ages = random.uniform(12, 216, count)
    months = ages[:, None] + random.normal(0, 6, (count, COUNT))
    months[:, WRIST] += random.normal(0, 1, count) * np.where(sex == schema.FEMALE, 20, 4)
    months[:, RADIUS] -= np.where(ages > 120, 15, 0)
    return months, sex


@pytest.fixture(scope="module")
def norms():
    months, sex = children()
    return fit_region_norms(months, np.broadcast_to(WEIGHTS, months.shape), sex)


def test_what_is_usual_is_no_deviation(norms):
    months, sex = children(600, seed=1)
    found = [norms.compare(row, WEIGHTS, code) for row, code in zip(months, sex, strict=True)]
    deviations = np.array([[one.deviations for one in of_child.values()] for of_child in found])
    assert np.abs(deviations.mean(axis=0)).max() < 0.25
    np.testing.assert_allclose(deviations.std(axis=0), 1, atol=0.2)
    unusual = np.mean([one.is_unusual for of_child in found for one in of_child.values()])
    assert unusual == pytest.approx(0.046, abs=0.012)


def test_the_same_lead_means_less_where_more_is_usual(norms):
    months = np.full(COUNT, 84.0)
    months[WRIST] += 17
    girl, boy = (norms.compare(months, WEIGHTS, sex)["wrist"] for sex in (0, 1))
    assert girl.age_months == boy.age_months == 101
    assert boy.deviations > 1.5 * girl.deviations > 0
    older = np.full(COUNT, 180.0)
    assert norms.compare(older, WEIGHTS, 1)["radius"].difference_months > 8  # it usually lags


def test_regions_count_by_their_weights():
    months, weights = np.array([100.0, 40.0]), np.array([3.0, 1.0])
    assert hand_months(months, weights) == pytest.approx(85)


def test_norms_survive_json_and_wrong_ones_are_named(norms):
    content = json.loads(json.dumps(norms.as_json()))
    again = RegionNorms.read(content)
    np.testing.assert_allclose(again.means_months, norms.means_months, atol=0.005)
    np.testing.assert_allclose(again.sds_months, norms.sds_months, atol=0.005)
    assert again.cases == 1500
    content["sd_months"]["male"] = content["sd_months"]["male"][:-1]
    content["sd_months"]["female"] = content["sd_months"]["female"][:-1]
    with pytest.raises(ValueError, match="regions: norms of shape"):
        RegionNorms.read(content)


def test_few_children_give_no_norms():
    months, sex = children(MIN_CASES - 1)
    assert fit_region_norms(months, np.broadcast_to(WEIGHTS, months.shape), sex) is None


def result_with(**deviations):
    regions = {name: RegionAge(90.0, 0.0, 0.0) for name in schema.REGIONS}
    for name, value in deviations.items():
        regions[name] = RegionAge(90.0 + 6 * value, 6 * value, value)
    return Result("hand.png", "male", {"male": Prediction(90.0, None, regions=regions)})


def test_the_command_names_what_is_ahead_and_what_behind():
    lines = predict._single(result_with(wrist=2.5, DIP3=3.0, ulna=-2.1))
    assert lines[1:] == [
        "  ahead of the hand: DIP3 108 months (+18 from usual, 3.0 SD), "
        "wrist 105 months (+15 from usual, 2.5 SD)",
        "  behind the hand: ulna 77 months (-13 from usual, 2.1 SD)",
    ]
    assert "no region" in predict._single(result_with(wrist=1.9))[1]
    many = dict(zip(schema.REGIONS, (2.5, 4.0, 3.0, 6.0, 5.0, 2.2), strict=False))
    assert predict._single(result_with(**many))[1].endswith("3.0 SD), and 2 more")


def test_a_result_keeps_its_regions():
    result = result_with(wrist=2.5)
    assert Result.from_dict(json.loads(json.dumps(result.to_dict()))).by_sex == result.by_sex
