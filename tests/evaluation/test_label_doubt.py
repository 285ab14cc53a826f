import numpy as np

from bone_age_tf.evaluation.label_doubt import LIMIT_SD, label_trust, robust_deviation


def made_up(seed=0, count=2000):
    """Labels, and predictions that err towards the middle and more so for the old."""
    random = np.random.default_rng(seed)
    ages = random.uniform(6, 220, count)
    said = ages + 0.2 * (120 - ages) + random.normal(0, 6 + ages / 30)
    return random, ages, said


def test_wrong_labels_are_found_and_few_others():
    random, ages, said = made_up()
    wrong = random.choice(len(ages), 40, replace=False)
    labels = ages.copy()
    labels[wrong] = np.where(ages[wrong] > 110, ages[wrong] - 75, ages[wrong] + 75)
    doubted = np.abs(robust_deviation(labels, said)) > LIMIT_SD
    assert doubted[wrong].mean() >= 0.9
    assert doubted.sum() - doubted[wrong].sum() <= 5


def test_an_error_towards_the_middle_is_no_doubt():
    _, ages, said = made_up(1)
    oldest = np.argsort(ages)[-100:]
    assert abs(robust_deviation(ages, said)[oldest].mean()) < 0.5
    assert (said - ages)[oldest].mean() < -10


def test_few_labels_and_equal_ones_are_looked_at_too():
    assert np.abs(robust_deviation(np.full(5, 60.0), np.full(5, 66.0))).max() == 0
    assert robust_deviation(np.array([60.0]), np.array([90.0])) == [0]
    found = robust_deviation(np.full(9, 60.0), np.array([60.0] * 8 + [120.0]))
    assert found[-1] == 20 and not found[:-1].any()


def test_trust_falls_beyond_the_usual():
    np.testing.assert_allclose(label_trust(np.array([0, 2.5, -5, 25])), [1, 1, 0.5, 0.1])
