import numpy as np
import pytest

from bone_age_tf.evaluation.familiarity import fit_familiarity


def features(random, count):
    """On a plane in ten dimensions, wide one way and narrow the other, with a little noise."""
    plane = np.zeros((2, 10))
    plane[0, 0], plane[1, 1] = 10, 1
    return 5 + random.normal(size=(count, 2)) @ plane + random.normal(0, 0.1, (count, 10))


@pytest.fixture
def fitted():
    random = np.random.default_rng(0)
    return fit_familiarity(features(random, 500), features(random, 1000))


def test_held_out_images_are_familiar(fitted):
    fresh = features(np.random.default_rng(1), 4000)
    assert np.mean(fitted.unfamiliarity(fresh) <= 1) == pytest.approx(0.995, abs=0.004)


def test_a_distance_counts_by_the_spread_of_its_direction(fitted):
    far, narrow, across = np.full((3, 10), 5.0)
    far[0] += 20
    narrow[1] += 20
    across[9] += 20
    near, middle, off = fitted.unfamiliarity(np.stack([far, narrow, across]))
    assert near < 1 < middle < off


def test_few_held_out_images_leave_room():
    random = np.random.default_rng(2)
    few = fit_familiarity(features(random, 500), features(random, 16))
    fresh = few.unfamiliarity(features(random, 4000))
    assert fresh.max() < 1.2 and np.median(fresh) < 0.6


def test_equal_and_few_images_give_numbers():
    same = fit_familiarity(np.ones((3, 4)), np.ones((2, 4)))
    assert np.isfinite(same.unfamiliarity(np.zeros((1, 4)))).all()
