import numpy as np
import pytest

from bone_age_tf import schema
from bone_age_tf.quality.samples import SHARES, make_quality_samples, posed


@pytest.fixture(scope="module")
def hands():
    """Squares with a bright stem below and a bright spot to the upper right."""
    image = np.full((3, 60, 60), 20, np.uint8)
    image[:, 25:, 25:35] = 200
    image[:, 10:18, 40:48] = 250
    return image


@pytest.fixture(scope="module")
def samples(hands):
    return make_quality_samples(hands, 600, 32, np.random.default_rng(0))


def test_kinds_come_in_their_shares(samples):
    found = np.bincount(samples.kind, minlength=4) / 600
    np.testing.assert_allclose(found, [SHARES[kind] for kind in schema.IMAGE_KINDS], atol=0.05)


def test_images_are_films(samples):
    assert samples.images.shape == (600, 32, 32, 1)
    assert samples.images.dtype == np.float32
    assert 0 <= samples.images.min() <= samples.images.max() <= 255
    ranges = np.ptp(samples.images[samples.kind == 0], axis=(1, 2, 3))
    assert ranges.min() > 20  # a hand is to be seen


def test_a_pose_is_told_for_whole_hands_alone(samples):
    whole = samples.kind == 0
    assert (samples.pose[~whole] == -1).all()
    assert set(samples.pose[whole]) == set(range(8))
    assert (samples.pose[whole] == 0).mean() == pytest.approx(0.3 + 0.7 / 8, abs=0.08)
    assert (samples.inverted[samples.kind == 3] == -1).all()
    assert samples.inverted[samples.kind < 3].mean() == pytest.approx(0.3, abs=0.06)


def test_the_seed_decides(hands, samples):
    again = make_quality_samples(hands, 600, 32, np.random.default_rng(0))
    np.testing.assert_array_equal(again.images, samples.images)
    other = make_quality_samples(hands, 600, 32, np.random.default_rng(1))
    assert np.abs(other.images - samples.images).max() > 1


def test_poses_are_what_they_are_called():
    image = np.array([[1, 2], [3, 4], [5, 6]])
    expected = {
        "upright": image,
        "turned left": [[2, 4, 6], [1, 3, 5]],
        "upside down": [[6, 5], [4, 3], [2, 1]],
        "turned right": [[5, 3, 1], [6, 4, 2]],
        "mirrored": [[2, 1], [4, 3], [6, 5]],
        "mirrored and turned left": [[1, 3, 5], [2, 4, 6]],
        "mirrored and upside down": [[5, 6], [3, 4], [1, 2]],
        "mirrored and turned right": [[6, 4, 2], [5, 3, 1]],
    }
    assert tuple(expected) == schema.POSES
    for pose, wanted in enumerate(expected.values()):
        np.testing.assert_array_equal(posed(image, pose), wanted)
