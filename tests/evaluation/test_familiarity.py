import numpy as np
import pytest

from bone_age_tf.evaluation.familiarity import SLACK, fit_familiarity


def features(random, count):
    """Of any strength; what they consist of differs much in one way, little in a second, else not.

    Directions at right angles that leave the sum as it is: one of two features is the other's loss.
    """
    first, second, third = _ways(
        random.normal(size=(3, count, 1)) * [[[0.15]], [[0.03]], [[0.003]]]
    )
    return random.uniform(1, 9, (count, 1)) * (1 + first + second + third)


def _ways(amounts):
    ways = np.zeros((3, 10))
    ways[[0, 1, 2], [0, 2, 4]], ways[[0, 1, 2], [1, 3, 5]] = 1, -1
    return amounts * ways[:, None]


@pytest.fixture
def fitted():
    random = np.random.default_rng(0)
    return fit_familiarity(features(random, 500), features(random, 1000))


def test_held_out_images_are_familiar(fitted):
    fresh = features(np.random.default_rng(1), 4000)
    shares = fitted.unfamiliarity(fresh)
    assert np.mean(shares <= 1 / SLACK) == pytest.approx(0.995, abs=0.006)
    assert np.mean(shares <= 1) > 0.997


def test_a_distance_counts_by_the_spread_of_its_direction(fitted):
    moved = 1 + _ways(np.full((3, 1, 1), 0.25))[:, 0]
    near, middle, off = fitted.unfamiliarity(moved)
    assert near < 1 < middle < off


def test_how_strongly_all_features_answer_does_not_count(fitted):
    weak, strong = fitted.unfamiliarity(np.stack([np.full(10, 0.02), np.full(10, 50.0)]))
    assert weak == pytest.approx(strong)
    assert fitted.unfamiliarity(np.zeros((1, 10)))[0] > 1


def test_few_held_out_images_leave_room():
    random = np.random.default_rng(2)
    few = fit_familiarity(features(random, 500), features(random, 16))
    fresh = few.unfamiliarity(features(random, 4000))
    assert fresh.max() < 1.2 and np.median(fresh) < 0.6


def test_equal_and_few_images_give_numbers():
    same = fit_familiarity(np.ones((3, 4)), np.ones((2, 4)))
    assert np.isfinite(same.unfamiliarity(np.zeros((1, 4)))).all()
