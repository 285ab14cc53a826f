import keras
import numpy as np
import pytest
import tensorflow as tf

from bone_age_tf import config as configs
from bone_age_tf.errors import ConfigError
from bone_age_tf.models.part_losses import RankingLoss
from bone_age_tf.training.losses import BinLoss, DistributionLoss, build_losses


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


def test_the_bin_that_holds_the_age_counts():
    probabilities = np.array([[0.1, 0.2, 0.3, 0.4]] * 3, np.float32)
    found = np.array(
        BinLoss(10.0).call(np.array([[5.0], [10.0], [39.0]], np.float32), probabilities)
    )
    np.testing.assert_allclose(found, -np.log([0.1, 0.1, 0.4]), rtol=1e-5)


@pytest.mark.parametrize("loss", [DistributionLoss(2.0, 6.0), BinLoss(2.0)])
def test_parts_lose_what_each_would_lose_alone(loss):
    ages = np.array([[60.0], [150.0]], np.float32)
    said = np.array([[gaussian(60, 8), gaussian(90, 8)], [gaussian(150, 20), gaussian(60, 8)]])
    together = np.array(loss.call(ages, said.astype(np.float32)))
    alone = [np.array(loss.call(ages, said[:, part].astype(np.float32))) for part in (0, 1)]
    np.testing.assert_allclose(together, np.stack(alone, axis=1), rtol=1e-6)


def test_of_two_parts_with_the_same_error_the_one_that_knows_ranks_higher():
    age = np.array([[114.0]], np.float32)
    said = np.array([[np.full(120, 1 / 120), gaussian(120, 8)]], np.float32)  # 120 months, both
    loss = RankingLoss(DistributionLoss(2.0, 6.0))

    def cost(*scores):
        pairs = np.concatenate([np.array(scores, np.float32).reshape(1, 2, 1), said], axis=-1)
        return float(np.array(loss.call(age, pairs))[0])

    assert cost(1.0, 0.0) == 2.0
    assert cost(0.0, 1.0) == 0.0


def test_ranking_costs_where_scores_contradict_errors():
    age = np.array([[100.0]], np.float32)
    months = np.array([[100.0, 110.0, 140.0]], np.float32)  # errors 0, 10, 40

    def cost(*scores):
        pairs = np.stack([np.array([scores], np.float32), months], axis=-1)
        return float(np.array(RankingLoss(keras.losses.MeanAbsoluteError()).call(age, pairs))[0])

    assert cost(5.0, 3.0, 1.0) == 0.0
    assert cost(0.0, 0.0, 0.0) == pytest.approx(1.0)  # a hinge of 1 for each of three pairs
    assert cost(1.0, 3.0, 5.0) == pytest.approx((3 + 5 + 3) / 3)


def test_the_ranking_teaches_scores_and_not_ages():
    pairs = tf.Variable([[[0.0, 120.0], [1.0, 190.0]]])
    with tf.GradientTape() as tape:
        loss = RankingLoss(keras.losses.MeanAbsoluteError()).call(tf.constant([[100.0]]), pairs)
    gradient = np.array(tape.gradient(loss, pairs))
    np.testing.assert_allclose(gradient[..., 1], 0)
    np.testing.assert_allclose(gradient[0, :, 0], [-1, 1])


def test_each_head_has_its_losses():
    config = configs.base_config()
    losses, weights = build_losses(config)
    assert set(losses) == set(weights) == {"age_months", "distribution"}
    config.head = "regression"
    assert set(build_losses(config)[0]) == {"age_months"}
    config = configs.load_config("cnn", "hand_phantom", [("head", "classification")])
    losses, weights = build_losses(config)
    assert losses["age_months"] is None
    assert isinstance(losses["distribution"], BinLoss)
    assert set(losses) == set(weights)
    config = configs.load_config("prsnet", "hand_phantom")
    losses, weights = build_losses(config)
    parts = {"part_ages_months", "part_distributions", "global_age_months", "global_distribution"}
    assert set(losses) == {"age_months", "distribution", "part_ranking"} | parts
    assert set(losses) == set(weights)
    assert losses["part_ranking"].of_part is losses["distribution"]
    config = configs.load_config("prsnet", "hand_phantom", [("selection", "false")])
    assert set(build_losses(config)[0]) == {"age_months", "distribution"}


def test_losses_of_a_regression_pull_alike_at_a_year():
    pulls = []
    for name in ("l1", "l2", "huber"):
        settings = [("head", "regression"), ("regression_loss", name)]
        config = configs.load_config("cnn", "hand_phantom", settings)
        losses, weights = build_losses(config)
        value = tf.Variable([[112.0]])
        with tf.GradientTape() as tape:
            loss = weights["age_months"] * losses["age_months"](tf.constant([[100.0]]), value)
        pulls.append(float(tape.gradient(loss, value)[0, 0]))
    np.testing.assert_allclose(pulls, 1.0, rtol=1e-5)
    config = configs.load_config("cnn", "hand_phantom", [("head", "regression")])
    config.regression_loss = "mse"
    with pytest.raises(ConfigError, match="unknown regression_loss 'mse'"):
        build_losses(config)
