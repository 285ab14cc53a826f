import keras
import numpy as np
import pytest
import tensorflow as tf

from bone_age_tf.models import part_layers
from bone_age_tf.models.attention_vgg import SpatialAttention


def test_anchors_stand_on_their_places_with_their_sides_and_ratios():
    layer = part_layers.Anchors((0.25, 0.5), ratios=(1.0, 4.0))
    boxes = np.array(layer(np.zeros((3, 2, 4, 4), np.float32)))
    assert boxes.shape == (1, 2 * 4 * 4, 4)
    boxes = boxes.reshape(2, 4, 4, 4)
    centres = (boxes[..., :2] + boxes[..., 2:]) / 2
    np.testing.assert_allclose(centres[..., 0], [[[0.25] * 4] * 4, [[0.75] * 4] * 4], atol=1e-6)
    np.testing.assert_allclose(centres[0, :, 0, 1], [0.125, 0.375, 0.625, 0.875], atol=1e-6)
    sides = (boxes[..., 2:] - boxes[..., :2])[1, 2]
    np.testing.assert_allclose(sides, [[0.25] * 2, [0.5, 0.125], [0.5] * 2, [1, 0.25]], atol=1e-6)


def test_a_kind_of_part_has_the_mean_box_of_the_anchors_it_wants():
    anchors = np.array([[[0.1, 0.1, 0.3, 0.3], [0.3, 0.1, 0.5, 0.3], [0, 0, 0.8, 0.8]]], np.float32)
    # The first kind wants the first anchor, the second the first two alike.
    wanted = np.array([[[9, 9], [-9, 9], [-9, -9]]], np.float32)
    scores, boxes = part_layers.PartBoxes(reach=100.0)([wanted, anchors])
    np.testing.assert_allclose(boxes[0, 0], anchors[0, 0], atol=1e-4)
    np.testing.assert_allclose(boxes[0, 1], [0.2, 0.1, 0.4, 0.3], atol=1e-4)
    np.testing.assert_allclose(scores, [[9, 9]], atol=1e-4)


def test_kinds_of_parts_begin_apart_and_learn_from_what_their_boxes_show():
    layer = part_layers.PartBoxes()
    anchors = part_layers.Anchors((0.2,), (1.0,))(np.zeros((1, 8, 8, 4), np.float32))
    scores = tf.Variable(np.zeros((1, 64, 4), np.float32))
    image = np.random.default_rng(0).uniform(size=(1, 16, 16, 1)).astype(np.float32)
    with tf.GradientTape() as tape:
        _, boxes = layer([scores, anchors])
        seen = tf.reduce_sum(part_layers.CropParts(8)([image, boxes]) ** 2)
    centres = (np.array(boxes)[0, :, :2] + np.array(boxes)[0, :, 2:]) / 2
    apart = np.linalg.norm(centres[:, None] - centres[None], axis=2)[np.triu_indices(4, 1)]
    assert apart.min() > 0.1
    for gradient in tape.gradient(seen, [scores, *layer.trainable_variables]):
        assert np.isfinite(gradient).all()
        assert (np.abs(gradient).reshape(-1, 4 if len(gradient.shape) == 3 else 2) > 0).any()


def test_keeping_parts_is_non_maximum_suppression():
    boxes = np.array(
        [[[0, 0, 0.4, 0.4], [0, 0, 0.4, 0.38], [0.5, 0.5, 0.9, 0.9], [0.2, 0.2, 0.6, 0.6]]] * 2,
        np.float32,
    )
    scores = np.array([[0.5, 0.9, 0.1, 0.4], [0.9, 0.5, 0.8, 0.95]], np.float32)
    # First image: the second box beats the first, which overlaps it; box 3 overlaps box 1 little.
    kept = part_layers.KeepParts(2, 0.25)([scores, boxes])
    np.testing.assert_array_equal(kept, [[0, 1, 0, 1], [1, 0, 0, 1]])
    # No third one is left but the one that stands apart.
    kept = part_layers.KeepParts(4, 0.25)([scores, boxes])
    np.testing.assert_array_equal(kept, [[0, 1, 1, 1], [1, 0, 1, 1]])


def test_a_part_is_not_kept_again_as_a_piece_of_itself():
    boxes = np.array([[[0, 0, 0.8, 0.8], [0.1, 0.1, 0.3, 0.3], [0.8, 0.8, 0.9, 0.9]]], np.float32)
    scores = np.array([[0.9, 0.8, 0.1]], np.float32)
    np.testing.assert_array_equal(part_layers.KeepParts(2, 0.25)([scores, boxes]), [[1, 0, 1]])


def test_of_equal_scores_the_first_is_kept():
    boxes = np.array([[[0, 0, 0.4, 0.4], [0, 0, 0.4, 0.4], [0.6, 0.6, 1, 1]]], np.float32)
    scores = np.ones((1, 3), np.float32)
    np.testing.assert_array_equal(part_layers.KeepParts(3)([scores, boxes]), [[1, 0, 1]])
    np.testing.assert_array_equal(part_layers.KeepParts(1)([scores, boxes]), [[1, 0, 0]])


def test_a_crop_of_the_whole_image_is_the_image_and_beyond_it_is_black():
    rng = np.random.default_rng(0)
    image = rng.uniform(0, 1, (2, 12, 12, 1)).astype(np.float32)
    boxes = np.array([[[0, 0, 1, 1], [0.25, 0.5, 0.75, 1.0], [1.2, 1.2, 1.5, 1.5]]] * 2, "f4")
    crops = np.array(part_layers.CropParts(12)([image, boxes])).reshape(2, 3, 12, 12, 1)
    np.testing.assert_allclose(crops[:, 0], image, atol=1e-5)
    assert np.abs(crops[:, 2]).max() == 0
    # Twice as large: row and column 2k lie a quarter of a pixel before those of the image.
    rows = 0.25 * image[:, 3] + 0.75 * image[:, 4]
    expected = 0.25 * rows[:, 7] + 0.75 * rows[:, 8]
    np.testing.assert_allclose(crops[:, 1, 2, 4], expected, atol=1e-5)


def test_parts_come_back_to_their_images():
    vectors = np.arange(24, dtype=np.float32).reshape(6, 4)
    grouped = np.array(part_layers.GroupParts(3)(vectors))
    assert grouped.shape == (2, 3, 4)
    np.testing.assert_array_equal(grouped[1, 0], vectors[3])


def test_maps_of_odd_sizes_join():
    fine, coarse = np.zeros((1, 5, 7, 2), np.float32), np.arange(12, dtype=np.float32)
    joined = np.array(part_layers.JoinMaps()([fine, coarse.reshape(1, 3, 4, 1)]))
    assert joined.shape == (1, 5, 7, 3)
    np.testing.assert_array_equal(joined[0, 4, :, 2], [8, 8, 9, 9, 10, 10, 11])


def test_relations_look_where_the_answer_is():
    layer = part_layers.PartRelation(2, scales=(1,))
    features = np.zeros((1, 2, 3, 2), np.float32)
    features[0, 1, 2] = [9, 0]
    layer.build(features.shape)
    layer.queries.assign(np.zeros((2, 2)))
    layer.queries.assign([[1, 0], [0, 1]])
    layer.keys.assign([[1, 0], [0, 1]])
    features[..., 1] = 1  # every place asks for the second feature, which one place has most of
    features[0, 0, 1, 1] = 9
    related, relations = layer(features)
    relations = np.array(relations)
    assert relations.shape == (1, 2, 3)
    assert relations.sum() == pytest.approx(1, abs=1e-5)
    assert relations[0].argmax() == 1
    assert np.abs(np.array(related) - features).max() > 0


@pytest.mark.parametrize("compatibility", ["dot", "parametrised"])
def test_attention_sums_to_one_and_averages(compatibility):
    rng = np.random.default_rng(0)
    local = rng.normal(size=(2, 4, 5, 6)).astype(np.float32)
    query = rng.normal(size=(2, 6)).astype(np.float32)
    layer = SpatialAttention(compatibility)
    mean, attention = (np.array(value) for value in layer([local, query]))
    np.testing.assert_allclose(attention.sum(axis=(1, 2)), 1, atol=1e-5)
    np.testing.assert_allclose(mean, (local * attention[..., None]).sum(axis=(1, 2)), atol=1e-5)
    if compatibility == "dot":
        scores = (local * query[:, None, None]).sum(-1) / np.sqrt(6)
        best = scores.reshape(2, -1).argmax(1)
        np.testing.assert_array_equal(attention.reshape(2, -1).argmax(1), best)


@pytest.mark.parametrize(
    "layer",
    [
        part_layers.PartRelation(4, (1, 2)),
        part_layers.Anchors((0.1, 0.2), (1.0,)),
        part_layers.PartBoxes(0.3),
        part_layers.KeepParts(4, 0.3),
        part_layers.CropParts(32),
        part_layers.GroupParts(3),
        SpatialAttention("parametrised"),
    ],
)
def test_layers_come_back_from_their_config(layer):
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
    assert type(again) is type(layer)
    assert again.get_config() == layer.get_config()
