"""The layers of `bonewise`, and what the network begins with."""

import cv2
import keras
import numpy as np
import pytest
from bone_age_datasets.hand_phantom.examples import make_example
from bone_age_datasets.hand_phantom.population import PhantomSettings

from bone_age_tf import config as configs
from bone_age_tf import schema
from bone_age_tf.bundle import load_region_detector
from bone_age_tf.models import bone_layers, bonewise
from bone_age_tf.models.build import build_model
from bone_age_tf.regions import frame
from bone_age_tf.training.initial_weights import initialise

ALL = np.array([[[0.0, 0.0, 1.0, 1.0]]], np.float32)


def test_squares_have_their_sides_and_tremble_in_training_only():
    boxes = np.array([[[0.2, 0.3, 0.3, 0.5], [0.6, 0.6, 0.9, 0.7]]], np.float32)
    layer = bone_layers.SquaresAround((0.2, 0.4), jitter=0.1)
    expected = [[0.15, 0.3, 0.35, 0.5], [0.55, 0.45, 0.95, 0.85]]
    np.testing.assert_allclose(layer(boxes)[0], expected, atol=1e-6)
    many = np.array(layer(np.repeat(boxes, 500, axis=0), training=True))
    sides = many[..., 2:] - many[..., :2]
    np.testing.assert_allclose(sides[..., 0], sides[..., 1], atol=1e-6)
    np.testing.assert_allclose(np.log(sides / [[[0.2], [0.4]]]).std(axis=0), 0.1, atol=0.02)
    shifts = (many[..., :2] + many[..., 2:]) / 2 - [[[0.25, 0.4], [0.75, 0.65]]]
    np.testing.assert_allclose(shifts.std(axis=0), [[0.02] * 2, [0.04] * 2], rtol=0.15)


def test_a_crop_of_whole_pixels_is_these_pixels_and_black_beyond():
    image = np.random.default_rng(0).uniform(0, 255, (1, 40, 60, 1)).astype(np.float32)
    boxes = np.array([[[10 / 40, 6 / 60, 26 / 40, 22 / 60], [-8 / 40, 0, 8 / 40, 16 / 60]]])
    crops = np.array(bone_layers.CropRegions(16)([image, boxes]))
    assert crops.shape == (2, 16, 16, 1)
    np.testing.assert_allclose(crops[0], image[0, 10:26, 6:22], atol=1e-3)
    np.testing.assert_allclose(crops[1, 8:], image[0, :8, :16], atol=1e-3)
    assert not crops[1, :8].any()


def test_a_shrunk_crop_skips_nothing():
    stripes = np.tile([0.0, 200.0], (1, 64, 32)).astype(np.float32)[..., None]
    crop = np.array(bone_layers.CropRegions(16)([stripes, ALL]))
    np.testing.assert_allclose(crop[0, 2:-2, 2:-2], 100, atol=2)
    smooth = cv2.GaussianBlur(
        np.random.default_rng(1).uniform(0, 255, (64, 64)).astype(np.float32), (0, 0), 3
    )
    crop = bone_layers.CropRegions(16)([smooth[None, ..., None], ALL])
    expected = cv2.resize(smooth, (16, 16), interpolation=cv2.INTER_AREA)
    np.testing.assert_allclose(crop[0, 2:-2, 2:-2, 0], expected[2:-2, 2:-2], atol=3)


def test_opinions_count_by_their_shares():
    whole, one, two = np.random.default_rng(2).dirichlet(np.ones(5), 3).astype(np.float32)
    pool = bone_layers.OpinionPool()

    def pooled(*shares):
        parts = np.stack([one, two])[None]
        return np.array(pool([whole[None], parts, np.array([shares], np.float32)]))[0]

    np.testing.assert_allclose(pooled(0.0, 0.0), whole, rtol=1e-5)
    np.testing.assert_allclose(pooled(0.0, 1.0), two, rtol=1e-5)
    product = whole**0.5 * one**0.3 * two**0.2
    np.testing.assert_allclose(pooled(0.3, 0.2), product / product.sum(), rtol=1e-4)
    ages = [np.float32([[100.0]]), np.float32([[40.0, 80.0]]), np.float32([[0.25, 0.25]])]
    assert float(bone_layers.WeightedMean()(ages)[0, 0]) == pytest.approx(80.0)


def test_the_whole_hand_keeps_its_share_and_more_where_regions_are_not_found():
    layer = bone_layers.SharesOfRegions(0.4, drop=0.3)
    weights = np.float32([[3.0, 1.0]])
    shares = np.array(layer([weights, np.ones((1, 2), np.float32)]))
    np.testing.assert_allclose(shares, [[0.45, 0.15]], atol=1e-6)
    lost = np.array(layer([weights, np.float32([[1.0, 0.0]])]))
    np.testing.assert_allclose(lost, [[0.45 / 0.85, 0.0]], atol=1e-6)
    assert not np.array(layer([weights, np.zeros((1, 2), np.float32)])).any()
    many = [np.repeat(weights, 2000, axis=0), np.ones((2000, 2), np.float32)]
    alone = np.array(layer(many, training=True)).sum(axis=1) > 0.99
    assert alone.mean() == pytest.approx(0.3, abs=0.04)


@pytest.fixture(scope="module")
def network():
    keras.utils.set_random_seed(3)
    config = configs.load_config("bonewise", "hand_phantom", [("base_filters", "8")])
    model = build_model(config)
    initialise(model, config)
    return model


def test_the_detector_is_the_exported_one_whatever_else_is_in_the_source(network, tmp_path):
    config = configs.load_config("bonewise", "hand_phantom", [("base_filters", "8")])
    source = build_model(config)
    source.save(tmp_path / "source.keras")
    with config.unlocked():
        config.init = str(tmp_path / "source.keras")
    model = build_model(config)
    initialise(model, config)
    for name, expected in ((schema.REGION_DETECTOR, network), ("global_head_dense", source)):
        found, weights = (one.get_layer(name).get_weights() for one in (model, expected))
        for one, other in zip(found, weights, strict=True):
            np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("number", [1, 2, 3])
def test_it_looks_where_the_regions_are(root, network, number):
    """In the frame, which the detector sees with a wider border, as in its own training."""
    drawn = make_example(PhantomSettings(image_size_px=256), "test", number)[0]
    radiograph = np.asarray(drawn, np.float32)[..., 0]
    hand = frame.find_hand(radiograph, load_region_detector(root / "exports"))
    image = frame.framed(radiograph, hand, 256)
    expected = hand.boxes_in(frame.frame_view(hand.places, hand.mirrored))
    inputs = {schema.IMAGE: image[None, ..., None], schema.SEX: np.zeros((1, 1), np.float32)}
    squares = np.array(network(inputs, training=False)[schema.REGION_CROPS])[0]
    off = (squares[:, :2] + squares[:, 2:]) / 2 - (expected[:, :2] + expected[:, 2:]) / 2
    assert np.abs(off).max() < 0.02
    assert len(squares) == len(schema.REGIONS)


def test_it_begins_with_the_weights_of_the_whole_hands_network(network, tmp_path):
    keras.utils.set_random_seed(4)
    config = configs.load_config("efficientnet_lite0", "hand_phantom", [("base_filters", "8")])
    source = build_model(config)
    source.save(tmp_path / "model.keras")
    overrides = [("base_filters", "8"), ("init", str(tmp_path / "model.keras"))]
    config = configs.load_config("bonewise", "hand_phantom", [*overrides, ("train_whole", "false")])
    model = build_model(config)
    loaded = initialise(model, config)
    assert not loaded.unused
    for own, theirs in (
        ("stem_conv", "stem_conv"),
        ("bone_block5c_project_conv", "block5c_project_conv"),
        ("global_head_dense", "head_dense"),
    ):
        np.testing.assert_array_equal(
            model.get_layer(own).get_weights()[0], source.get_layer(theirs).get_weights()[0]
        )
    detector = network.get_layer(schema.REGION_DETECTOR).get_weights()
    for own, expected in zip(
        model.get_layer(schema.REGION_DETECTOR).get_weights(), detector, strict=True
    ):
        np.testing.assert_array_equal(own, expected)
    trained = {variable.path.split("/")[0] for variable in model.trainable_variables}
    assert trained
    assert {name.partition("_")[0] for name in trained} == {"bone", "region"}
    assert bonewise.source_layer("bone_stem_conv") == "stem_conv"
