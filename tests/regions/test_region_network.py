import keras
import numpy as np
import pytest

from bone_age_tf import schema
from bone_age_tf.regions import network as region_detector
from bone_age_tf.regions.network import ExpectedPlaces, SizedBoxes


def test_it_answers_with_boxes_in_the_image_and_is_small():
    keras.utils.set_random_seed(0)
    network = region_detector.build_region_detector(64)
    image = np.random.default_rng(0).uniform(0, 255, (2, 64, 64, 1)).astype(np.float32)
    found = {key: np.array(value) for key, value in network(image, training=False).items()}
    boxes, scores = found[schema.REGION_BOXES], found[schema.REGION_SCORES]
    assert boxes.shape == (2, 17, 4)
    assert scores.shape == (2, 17)
    assert found[region_detector.HEATMAPS].shape == (2, 256, 17)
    assert (boxes >= 0).all()
    assert (boxes <= 1).all()
    assert (boxes[..., 2:] > boxes[..., :2]).all()
    assert ((scores > 0) & (scores < 1)).all()
    assert network.count_params() * 4 < 3e6
    served = region_detector.build_served_detector(network)
    assert set(served.output) == {schema.REGION_BOXES, schema.REGION_SCORES}
    np.testing.assert_array_equal(served(image)[schema.REGION_BOXES], boxes)


def test_a_sharp_heatmap_is_a_place_between_its_cells():
    logits = np.full((1, 16, 2), -50, np.float32)
    logits[0, 6, 0] = 0  # row 1, column 2
    logits[0, [9, 10], 1] = 0  # row 2, between columns 1 and 2
    features = np.arange(16, dtype=np.float32)[None, :, None]
    centres, seen = ExpectedPlaces(4)([logits, features])
    np.testing.assert_allclose(centres[0], [[0.375, 0.625], [0.625, 0.5]], atol=1e-5)
    np.testing.assert_allclose(np.ravel(seen), [6, 9.5], atol=1e-4)


def test_boxes_have_the_told_sides_and_end_at_the_edge():
    told = np.log([[[2.0, 0.5, 1.0]]]).astype(np.float32)
    boxes, scores = SizedBoxes()([np.array([[[0.5, 0.01]]], np.float32), told])
    height, width = region_detector.MEAN_SIDES
    np.testing.assert_allclose(
        boxes[0, 0], [0.5 - height, 0, 0.5 + height, 0.01 + width / 4], atol=1e-6
    )
    assert float(scores[0, 0]) == pytest.approx(0.5)
