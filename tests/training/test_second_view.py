"""What is asked of the boxes of parts while they are learned."""

import keras
import numpy as np
import pytest

from bone_age_tf import config as configs
from bone_age_tf.training import fit
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


def test_training_brings_the_boxes_of_both_views_together():
    keras.utils.set_random_seed(0)
    config = configs.load_config("prsnet", "hand_phantom")
    config.update(base_filters=8, part_size_px=16, second_view_weight=20.0, learning_rate=3e-3)
    model = fit.compiled(config, fit.Schedule(1, 60), 0)
    random = np.random.default_rng(0)
    image = random.uniform(0, 255, (4, 48, 48, 1)).astype(np.float32)
    inputs = {"image": image, "sex": np.zeros((4, 1), np.float32)}
    targets = dict.fromkeys(model.trained_outputs, np.full((4, 1), 99.0, np.float32))
    copy, moves = (np.array(value) for value in SecondView(seed=9)(image))

    def disagreement():
        seen, in_copy = (
            np.array(model.locator({**inputs, "image": one}, training=False))
            for one in (image, copy)
        )
        return float(view_loss(seen, in_copy, moves))

    before = disagreement()
    for _ in range(60):
        model.train_on_batch(inputs, targets)
    assert disagreement() < 0.8 * before
