"""What is asked of the boxes of parts while they are learned."""

import keras
import numpy as np
import pytest

from bone_age_tf import config as configs
from bone_age_tf.models import prsnet
from bone_age_tf.training import fit
from bone_age_tf.training.augmented import AugmentedModel, PartWeights
from bone_age_tf.training.second_view import SecondView, apart_loss, view_loss


def test_the_copy_shows_each_place_where_the_moves_say():
    image = np.zeros((16, 120, 90, 1), np.float32)
    image[:, 40:45, 60:65] = 255
    copy, moves = (np.array(value) for value in SecondView(seed=1)(image))
    rows, columns = np.mgrid[:120, :90] + 0.5
    light = copy[..., 0].sum(axis=(1, 2))
    found = np.stack(
        [
            (copy[..., 0] * rows).sum(axis=(1, 2)) / light / 120,
            (copy[..., 0] * columns).sum(axis=(1, 2)) / light / 90,
        ],
        axis=1,
    )
    place = np.array([42.5 / 120, 62.5 / 90, 1])
    np.testing.assert_allclose(moves @ place, found, atol=1e-3)
    assert np.abs(found - place[:2]).max() > 0.05


def moved(boxes, moves):
    centre, half = (boxes[..., :2] + boxes[..., 2:]) / 2, (boxes[..., 2:] - boxes[..., :2]) / 2
    centre = np.einsum("bij,bkj->bki", moves[..., :2], centre) + moves[:, None, :, 2]
    half = half * np.hypot(moves[:, 0, 0], moves[:, 1, 0])[:, None, None]
    return np.concatenate([centre - half, centre + half], axis=-1)


def test_boxes_that_move_with_the_hand_cost_nothing_and_others_what_they_are_off():
    boxes = np.array([[[0.1, 0.2, 0.3, 0.4], [0.5, 0.5, 0.9, 0.9]]] * 3, np.float32)
    moves = np.array(SecondView(seed=3)(np.zeros((3, 32, 32, 1), np.float32))[1])
    there = moved(boxes, moves)
    assert float(view_loss(boxes, there, moves)) == pytest.approx(0, abs=1e-4)
    assert float(view_loss(boxes, boxes, moves)) > 0.3
    aside = there + np.array([0.02, 0, 0.02, 0], np.float32)
    assert float(view_loss(boxes, aside, moves)) == pytest.approx(0.2, abs=1e-3)
    middle, half = (there[..., :2] + there[..., 2:]) / 2, (there[..., 2:] - there[..., :2]) / 2
    larger = np.concatenate([middle - 2 * half, middle + 2 * half], axis=-1)
    assert float(view_loss(boxes, larger, moves)) == pytest.approx(np.log(2), abs=1e-3)


def test_boxes_that_meet_cost_one_each_and_boxes_apart_nothing():
    one, far = [0.1, 0.1, 0.3, 0.3], [0.6, 0.6, 0.8, 0.8]
    assert float(apart_loss(np.array([[one, far]], np.float32))) == 0
    meeting = float(apart_loss(np.array([[one, one]], np.float32)))
    assert meeting == pytest.approx(1, abs=0.02)
    half = [0.1, 0.2, 0.3, 0.4]  # half a side away
    assert float(apart_loss(np.array([[one, half]], np.float32))) == pytest.approx(0.5, abs=0.01)


def selecting_config():
    config = configs.load_config("prsnet", "hand_phantom")
    config.update(base_filters=8, part_size_px=16, second_view_weight=20.0, apart_weight=0.5)
    return config


def test_the_weights_of_the_config_reach_the_training():
    model = fit.compiled(selecting_config(), fit.Schedule(1, 60), 0)
    assert model.part_weights == PartWeights(second_view=20.0, apart=0.5)
    image = np.random.default_rng(0).uniform(0, 255, (2, 48, 48, 1)).astype(np.float32)
    inputs = {"image": image, "sex": np.zeros((2, 1), np.float32)}
    outputs = model.network(inputs, training=False)
    np.testing.assert_array_equal(model.locator(inputs, training=False), outputs["part_boxes"])
    assert not model.losses
    model(inputs, training=True)
    assert len(model.losses) == 2


def network_of_boxes():
    """The proposals of `prsnet` behind two convolutions; its crops would take long to trace."""
    image, sex = keras.Input((None, None, 1), name="image"), keras.Input((1,), name="sex")
    grey = keras.layers.Rescaling(1 / 255)(image)
    fine = keras.layers.Conv2D(16, 9, 8, padding="same", activation="relu")(grey)
    coarse = keras.layers.Conv2D(16, 3, 2, padding="same", activation="relu")(fine)
    _, boxes = prsnet._propose(fine, coarse, selecting_config())
    features = keras.layers.GlobalAveragePooling2D()(coarse)
    age = keras.layers.Dense(1)(keras.layers.Concatenate()([features, sex]))
    return keras.Model(
        {"image": image, "sex": sex}, {"age_months": age, "part_boxes": boxes}, name="boxes"
    )


def test_training_brings_the_boxes_of_both_views_together():
    keras.utils.set_random_seed(0)
    model = AugmentedModel(
        network_of_boxes(), None, ("age_months",), part_weights=PartWeights(20.0, 0.5)
    )
    model.build()
    model.compile(keras.optimizers.Adam(3e-3), loss="mae", loss_weights=0.02)
    random = np.random.default_rng(0)
    image = random.uniform(0, 255, (4, 48, 48, 1)).astype(np.float32)
    inputs = {"image": image, "sex": np.zeros((4, 1), np.float32)}
    targets = {"age_months": np.full((4, 1), 99.0, np.float32)}
    copy, moves = (np.array(value) for value in SecondView(seed=9)(image))

    def disagreement():
        seen, in_copy = (
            np.array(model.locator({**inputs, "image": one}, training=False))
            for one in (image, copy)
        )
        return float(view_loss(seen, in_copy, moves))

    before = disagreement()
    for _ in range(30):
        model.train_on_batch(inputs, targets)
    assert disagreement() < 0.8 * before
