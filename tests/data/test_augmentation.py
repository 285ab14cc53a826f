import numpy as np
import pytest
import tensorflow as tf

from bone_age_tf import config as configs
from bone_age_tf.data.augmentation import build_augmentation, build_mixing
from bone_age_tf.errors import ConfigError


def settings(policy, **changes):
    config = configs.base_config().augmentation
    config.policy = policy
    config.update(changes)
    return config


@pytest.fixture
def images():
    rng = np.random.default_rng(0)
    return rng.uniform(20, 200, (6, 40, 40, 1)).astype(np.float32)


@pytest.mark.parametrize("policy", ["standard", "strong", "films"])
def test_a_policy_changes_images_in_a_graph_of_any_size(policy, images):
    augment = build_augmentation(settings(policy), seed=3)
    graph = tf.function(
        lambda x: augment(x, training=True), input_signature=[tf.TensorSpec([None, None, None, 1])]
    )
    for picture in (images, images[:, :, :24]):
        found = graph(picture).numpy()
        assert found.shape == picture.shape
        assert np.isfinite(found).all()
        assert 0 <= found.min() <= found.max() <= 255
        changed = np.abs(found - picture).mean(axis=(1, 2, 3))
        assert (changed > 1).all()  # every image
    assert np.abs(graph(images) - graph(images)).max() > 1  # another draw each time


def test_two_augmentations_of_one_seed_draw_alike(images):
    first, second = (
        build_augmentation(settings("standard"), seed=5)(images, training=True) for _ in range(2)
    )
    other = build_augmentation(settings("standard"), seed=6)(images, training=True)
    np.testing.assert_allclose(first, second, atol=1e-3)
    assert np.abs(np.array(first) - np.array(other)).max() > 1


def test_outside_training_nothing_changes(images):
    augment = build_augmentation(settings("standard"), seed=0)
    np.testing.assert_allclose(augment(images, training=False), images)


def test_strengths_of_zero_switch_operations_off(images):
    still = settings(
        "standard",
        flip=False,
        rotation_degrees=0.0,
        shift_fraction=0.0,
        zoom_fraction=0.0,
        contrast=0.0,
        brightness=0.0,
    )
    np.testing.assert_allclose(build_augmentation(still, 0)(images, training=True), images)
    assert build_augmentation(settings("none"), 0) is None


def test_an_unknown_policy_lists_the_known():
    with pytest.raises(ConfigError, match="known: none, standard, strong, films"):
        build_augmentation(settings("wild"), 0)


def test_images_are_mixed_in_one_way():
    config = settings("standard")
    assert build_mixing(config, 0) is None
    config.update(pairing=0.5, mixup=0.2)
    with pytest.raises(ConfigError, match=r"pairing=0.5 and augmentation.mixup=0.2: one of the"):
        build_mixing(config, 0)


@pytest.mark.parametrize(
    ("build", "policy", "key", "value", "message"),
    [
        (build_augmentation, "none", "grey_match", 0.5, "no effect with augmentation.policy=none"),
        (build_augmentation, "films", "grey_match", 1.5, "grey_match=1.5: a share from 0 to 1"),
        (build_mixing, "films", "pairing", -0.1, "pairing=-0.1: a share from 0 to 1"),
        (build_mixing, "films", "mixup", -1.0, "mixup=-1.0: 0 for none"),
    ],
)
def test_shares_that_cannot_be_are_named(build, policy, key, value, message):
    config = settings(policy)
    config.update({key: value})
    with pytest.raises(ConfigError, match=message):
        build(config, 0)
