import numpy as np
import pytest

from bone_age_tf import config as configs
from bone_age_tf.training.losses import DistributionLoss, build_losses


def gaussian(age, sd, bin_months=2.0):
    centres = (np.arange(120) + 0.5) * bin_months
    weights = np.exp(-0.5 * ((centres - age) / sd) ** 2)
    return (weights / weights.sum()).astype(np.float32)


def test_the_loss_is_zero_at_the_label_and_the_divergence_elsewhere():
    loss = DistributionLoss(2.0, 6.0)
    ages = np.array([[100.0], [100.0]], np.float32)
    predicted = np.stack([gaussian(100, 6), gaussian(112, 6)])
    values = np.array(loss.call(ages, predicted))
    assert values[0] == pytest.approx(0, abs=1e-4)
    # Two Gaussians of one SD, d apart: d^2 / (2 sd^2) nats.
    assert values[1] == pytest.approx(12**2 / (2 * 6**2), rel=0.02)


def test_an_impossible_prediction_costs_much_but_not_infinitely():
    certain = np.zeros((1, 120), np.float32)
    certain[0, 0] = 1
    value = np.array(DistributionLoss(2.0, 6.0).call(np.array([[200.0]]), certain))
    assert np.isfinite(value).all()
    assert value > 10


def test_each_head_has_its_losses():
    config = configs.base_config()
    losses, weights = build_losses(config)
    assert set(losses) == set(weights) == {"age_months", "distribution"}
    config.head = "regression"
    assert set(build_losses(config)[0]) == {"age_months"}
