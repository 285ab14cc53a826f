"""Every method on every model and head, and what the maps of known networks must be."""

import itertools
from types import SimpleNamespace

import keras
import numpy as np
import pytest

from bone_age_tf import config as configs
from bone_age_tf import schema
from bone_age_tf.explain import gradients, methods, own_maps
from bone_age_tf.explain.network import ExplainedNetwork
from bone_age_tf.models.build import build_model
from bone_age_tf.models.catalog import MODELS
from bone_age_tf.models.heads import HEADS, SEX_MODES

FIXED_WIDTH = ("resnet50", "resnet101", "resnet152")
ON_THE_TINY_ONE = list(itertools.product(HEADS, SEX_MODES))
# Depth changes nothing that a method does: one network of each wiring stands for the deeper ones.
# The heads are tried on the tiny one, and on the one that has heads of its own.
CASES = [
    (name, "distribution", "concat")
    for name in sorted(MODELS)
    if name not in FIXED_WIDTH and name != "resnet34"
] + [("prsnet", "regression", "concat"), ("resnet50", "distribution", "modulate")]
OF_THE_INPUT = {"occlusion", "gradients_inputs", "smoothgrad", "integrated_gradients", "saliency"}
"""What these do with the gradient of the pixels, or with the answers alone, depends on no layer:
in all networks but `cnn`, `vanilla_gradients` stands for them."""
OF_A_LAYER = {"grad_cam", "hires_cam", "crm", "crm_months"}
"""One for each layer that a model names for its maps, and what is computed from its head."""


@pytest.fixture
def coarse(monkeypatch):
    """Few squares, samples and steps: how many there are changes nothing that is tested here."""
    for setting in ("PATCHES", "SAMPLES", "PATH_STEPS"):
        monkeypatch.setattr(gradients, setting, 3)


def images(size_px, count=2):
    rng = np.random.default_rng(0)
    found = rng.uniform(20, 120, (count, size_px, size_px, 1))
    found[:, size_px // 4 : size_px // 2, size_px // 4 : size_px // 2] += 100
    return found.astype(np.float32)


def check_maps(network, names, count, twice=False):
    shown, sexes = images(network.size_px, count), np.arange(count) % 2
    for name in names:
        maps = methods.make_maps(name, network, shown, sexes)
        assert maps.shape == (count, network.size_px, network.size_px), name
        assert np.isfinite(maps).all(), name
        spread = np.ptp(maps, axis=(1, 2)) / np.maximum(np.abs(maps).max(axis=(1, 2)), 1e-20)
        assert (spread > 1e-3).all(), f"{name} is constant"
        if methods.METHODS[name].unit:
            assert np.abs(maps).max() < schema.MAX_AGE_MONTHS, name
        else:
            np.testing.assert_allclose(np.abs(maps).max(axis=(1, 2)), 1, rtol=1e-5, err_msg=name)
        if not methods.METHODS[name].signed:
            assert maps.min() >= 0, name
        if twice:
            again = methods.make_maps(name, network, shown[:1], sexes[:1])
            np.testing.assert_allclose(again[0], maps[0], atol=1e-4, err_msg=f"{name} is random")


@pytest.mark.slow
@pytest.mark.parametrize(("name", "head", "sex_mode"), CASES)
def test_no_map_is_constant_or_nan(eager, coarse, narrow_resnet50, name, head, sex_mode):
    keras.utils.set_random_seed(0)
    config = configs.load_config(name, "hand_phantom")
    if name not in FIXED_WIDTH:
        config.base_filters = 8
    config.update({"head": head, "sex_mode": sex_mode, "image_size_px": 64})
    network = ExplainedNetwork(build_model(config), config)
    names = methods.available(network)
    own = {
        "attention_vgg": {"attention"},
        "bonewise": {"regions"},
        "prsnet": {"relation", "parts"},
    }
    everyone = {name for name, method in methods.METHODS.items() if not method.own}
    assert set(names) == everyone | own.get(name, set())
    if name != "cnn":
        names = [one for one in names if one not in OF_THE_INPUT]
    if (name, head) in (("prsnet", "regression"), ("resnet50", "distribution")):
        names = [one for one in names if one in OF_A_LAYER | own.get(name, set())]
    check_maps(network, names, 1)


@pytest.mark.parametrize(("head", "sex_mode"), ON_THE_TINY_ONE)
def test_every_head_and_way_of_the_sex(eager, coarse, tiny_config, head, sex_mode):
    keras.utils.set_random_seed(0)
    tiny_config.head, tiny_config.sex_mode = head, sex_mode
    network = ExplainedNetwork(build_model(tiny_config), tiny_config)
    # What is random in a method does not depend on the head.
    check_maps(network, methods.available(network), 2, (head, sex_mode) == ON_THE_TINY_ONE[0])


@pytest.fixture
def spotted(tiny_config):
    """A network for which brightness makes the hand older, and an image with one bright spot."""
    model = build_model(tiny_config)
    for name in ("conv1", "conv2"):
        layer = model.get_layer(name)
        kernel = np.zeros_like(layer.get_weights()[0])
        kernel[1, 1] = 1.0
        layer.set_weights([kernel, np.zeros_like(layer.get_weights()[1])])
    head = model.get_layer("head_dense")
    head.set_weights([np.abs(weights) for weights in head.get_weights()])
    logits = model.get_layer("age_logits")
    kernel, bias = logits.get_weights()
    kernel[:] = 0
    kernel[:, -1] = 0.02
    logits.set_weights([kernel, bias])
    image = np.full((32, 32, 1), 40, np.float32)
    image[20:28, 4:12] = 250
    return ExplainedNetwork(model, tiny_config), image


def test_maps_point_at_the_only_thing_there_is(eager, spotted):
    network, image = spotted
    for name in methods.available(network):
        heat = methods.make_maps(name, network, image[None], np.array([0]))[0]
        y, x = np.unravel_index(methods.importance(name, heat).argmax(), heat.shape)
        assert 17 <= y < 31, name
        assert 1 <= x < 15, name
        if methods.METHODS[name].signed:
            assert heat[y, x] > 0, f"{name}: what is bright makes this hand older"


def test_months_add_up_to_the_age(eager, spotted):
    """Integrated Gradients to the difference from black, CAM and removal by their definitions."""
    network, image = spotted
    sexes = np.array([1])
    stretched = network.stretched(image[None])
    age, black = network.months(np.concatenate([stretched, 0 * stretched]), np.array([1, 1]))
    integrated = methods.METHODS["integrated_gradients"].maps_fn(network, stretched, 1)
    assert integrated.sum() == pytest.approx(age - black, rel=0.1)
    path = methods.METHODS["path_cam"].maps_fn(network, stretched, 1)
    assert path.sum() == pytest.approx(age - black, rel=0.1)  # no features without brightness
    removed = methods.METHODS["crm_months"].maps_fn(network, stretched, 1)[0]
    features = network.whole.get_layer("image_features").input
    places = keras.Model(network.whole.input, features)({"image": stretched, "sex": sexes[:, None]})
    behind = keras.Model(
        [network.whole.get_layer("image_features").output, network.whole.input["sex"]],
        network.whole.output["age_months"],
    )
    y, x = np.unravel_index(removed.argmax(), removed.shape)
    without = np.array(places)
    without[:, y, x] = 0
    expected = age - float(np.ravel(behind([without.mean(axis=(1, 2)), sexes[:, None]]))[0])
    assert removed[y, x] == pytest.approx(expected, rel=1e-3)


def test_the_stretch_in_front_takes_nothing_from_integrated_gradients(eager, spotted):
    """A film at half the exposure is the same film: its map must be, too."""
    network, image = spotted
    maps = methods.make_maps(
        "integrated_gradients", network, np.stack([image, image / 2]), np.array([0, 0])
    )
    np.testing.assert_allclose(maps[0], maps[1], atol=0.02 * np.abs(maps[0]).max())


def test_new_weights_from_the_answer_on(eager, spotted):
    network, _ = spotted
    half = network.randomised(1, share=0.5)
    kept = [
        np.array_equal(ours.get_weights()[0], theirs.get_weights()[0])
        for ours, theirs in zip(network.whole.layers, half.whole.layers, strict=True)
        if ours.weights
    ]
    assert kept == sorted(kept, reverse=True)
    assert 0 < sum(kept) < len(kept)
    assert not np.array_equal(
        network.randomised(1).whole.get_layer("conv1").get_weights()[0],
        network.whole.get_layer("conv1").get_weights()[0],
    )


def test_new_batch_norms_have_seen_the_images(eager, spotted):
    network, _ = spotted
    shown = images(32, 4)
    other = network.randomised(1, images=shown)
    norm = other.whole.get_layer("norm1")
    inputs = {"image": other.stretched(shown), "sex": np.zeros((4, 1), np.float32)}
    features = np.array(keras.Model(other.whole.input, norm.input)(inputs, training=False))
    assert np.ptp(features) > 0.1
    np.testing.assert_allclose(norm.moving_mean, features.mean(axis=(0, 1, 2)), rtol=1e-3)
    np.testing.assert_allclose(norm.moving_variance, features.var(axis=(0, 1, 2)), rtol=1e-3)
    kept = network.randomised(1, share=0.5, images=shown).whole.get_layer("norm1")
    np.testing.assert_array_equal(kept.moving_mean, network.whole.get_layer("norm1").moving_mean)


def test_parts_that_are_not_kept_are_not_shown():
    boxes = np.array([[[0, 0, 0.5, 0.5], [0.5, 0.5, 1, 1], [0, 0.5, 0.5, 1]]])
    outputs = {
        schema.PART_BOXES: boxes,
        schema.PART_SCORES: np.log([[3.0, 9.0, 1.0]]),
        schema.PART_KEPT: np.array([[1.0, 0.0, 1.0]]),
    }
    network = SimpleNamespace(own_outputs=lambda *_: outputs, size_px=4)
    (found,) = own_maps.parts(network, np.zeros((1, 4, 4, 1)), 0)
    np.testing.assert_allclose(found[[0, 0, 3, 3], [0, 3, 0, 3]], [3.0, 1.0, 0.0, 0.0], rtol=1e-5)
