"""Tests of the settings, of the distributions of ages and of the share of girls."""

import dataclasses
import json

import numpy as np
import pytest
from bone_age_datasets.hand_phantom import population
from bone_age_datasets.hand_phantom.population import PhantomSettings

from bone_age_tf import schema


@pytest.mark.parametrize(
    ("field", "value", "allowed"),
    [
        ("train", -1, "whole numbers from 0 on"),
        ("test", 2.5, "whole numbers"),
        ("image_size_px", 16, "from 32 to 2048"),
        ("min_age_months", 0.0, "from 1 to 240"),
        ("min_age_months", float("nan"), "from 1 to 240"),
        ("max_age_months", 2.0, "from 3 to 240"),
        ("max_age_months", 241.0, "from 3 to 240"),
        ("age_distribution", "normal", "uniform, rsna_like, skewed"),
        ("female_fraction", 1.2, "from 0 to 1"),
        ("maturity_shift_months", "12", "from -120 to 120"),
        ("label_noise_months", -1.0, "from 0 to 60"),
        ("ossification", 1, "True and False"),
        ("random_size", None, "True and False"),
        ("seed", -4, "from 0 on"),
    ],
)
def test_a_bad_setting_is_named_with_what_is_allowed(field, value, allowed):
    with pytest.raises(ValueError, match=field) as error:
        PhantomSettings(**{field: value})
    assert repr(value) in str(error.value) and allowed in str(error.value)


def test_a_dataset_has_an_example():
    with pytest.raises(ValueError, match="at least one"):
        PhantomSettings(train=0, validation=0, test=0)


def test_settings_are_plain_numbers():
    settings = PhantomSettings(train=np.int64(7), max_age_months=np.float32(200), seed=np.uint8(3))
    assert settings == PhantomSettings(train=7, max_age_months=200, seed=3)
    stored = json.loads(json.dumps(dataclasses.asdict(settings)))
    assert stored == dataclasses.asdict(settings)
    assert PhantomSettings(**stored) == settings


def moments(**knobs):
    settings = PhantomSettings(**knobs)
    ages = np.array([population.age_quantile(settings, (i + 0.5) / 2000) for i in range(2000)])
    assert settings.min_age_months <= ages.min() < ages.max() <= settings.max_age_months
    assert (np.diff(ages) > 0).all()
    return ages.mean(), ages.std(), (((ages - ages.mean()) / ages.std()) ** 3).mean()


def test_age_distributions():
    mean, sd, skewness = moments(age_distribution="uniform")
    assert (mean, sd) == (pytest.approx(115.5, abs=0.1), pytest.approx(225 / 12**0.5, abs=0.1))
    mean, sd, skewness = moments(age_distribution="rsna_like")
    assert (mean, sd) == (pytest.approx(127, abs=0.5), pytest.approx(41, abs=0.5))
    assert -0.5 < skewness < -0.05
    mean, sd, skewness = moments(age_distribution="skewed")
    assert mean == pytest.approx(3 + 225 * 2 / 7, abs=0.5)
    assert skewness > 0.4
    for name in population.AGE_DISTRIBUTIONS:  # cut off, not gathered at the ends
        mean, sd, _ = moments(age_distribution=name, min_age_months=100.0, max_age_months=110.0)
        assert 101 < mean < 109 and sd > 1.5
    assert population.age_quantile(PhantomSettings(min_age_months=60, max_age_months=60), 0.3) == 60


def test_ages_are_drawn_from_the_distribution():
    settings = PhantomSettings(age_distribution="skewed")
    mean, sd, _ = moments(age_distribution="skewed")
    ages = np.array(
        [population.draw_subject(settings, "train", index).age_months for index in range(2000)]
    )
    assert (ages.mean(), ages.std()) == (pytest.approx(mean, rel=0.05), pytest.approx(sd, rel=0.05))


@pytest.mark.parametrize("fraction", [0.0, 0.1, 0.5, 0.8, 1.0])
def test_girls_have_their_share_of_any_stretch(fraction):
    settings = PhantomSettings(female_fraction=fraction)
    sexes = [population.sex_at(settings, index) for index in range(200)]
    for count in (10, 50, 200):
        assert sexes[:count].count(schema.FEMALE) == pytest.approx(fraction * count, abs=0.51)
    if fraction == 0.5:
        assert sexes[:4] == [schema.FEMALE, schema.MALE] * 2
    assert population.draw_subject(settings, "test", 3).sex == sexes[3]
