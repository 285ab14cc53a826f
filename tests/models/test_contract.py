"""What every model must hold, whatever its head and precision."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from bone_age_tf import config as configs
from bone_age_tf import schema
from bone_age_tf.config import ConfigError
from bone_age_tf.models.build import build_model, build_single_input_model, model_module
from bone_age_tf.models.catalog import MODELS

NAMES = sorted(MODELS)
HEADS = ("distribution", "regression")
EXPECTED = {
    "distribution": {"age_months", "distribution", "interval_90_months"},
    "regression": {"age_months"},
}


def config_of(name, **changes):
    config = configs.load_config(name, "hand_phantom")
    config.update(changes)
    return config


def batch(count=2, height=48, width=48):
    rng = np.random.default_rng(0)
    return {
        "image": rng.uniform(0, 255, (count, height, width, 1)).astype(np.float32),
        "sex": np.arange(count, dtype=np.float32)[:, None] % 2,
    }


@pytest.fixture
def precision():
    yield keras.mixed_precision.set_global_policy
    keras.mixed_precision.set_global_policy("float32")


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16", "mixed_float16"])
@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("name", NAMES)
def test_outputs_are_months_in_float32(name, head, policy, precision):
    precision(policy)
    model = build_model(config_of(name, head=head))
    assert set(model.output) == EXPECTED[head] <= set(schema.OUTPUTS)
    outputs = {key: np.array(value) for key, value in model(batch(), training=False).items()}
    for value in outputs.values():
        assert value.dtype == np.float32
        assert np.isfinite(value).all()
    assert outputs["age_months"].shape == (2, 1)
    assert (outputs["age_months"] > 0).all()
    assert (outputs["age_months"] < schema.MAX_AGE_MONTHS).all()
    if head == "distribution":
        assert outputs["distribution"].shape == (2, 120)
        np.testing.assert_allclose(outputs["distribution"].sum(axis=1), 1, atol=1e-5)
        lower, upper = outputs["interval_90_months"].T
        assert (lower < outputs["age_months"][:, 0]).all()
        assert (outputs["age_months"][:, 0] < upper).all()


@pytest.mark.slow
@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("name", NAMES)
def test_every_weight_learns_and_the_sex_counts(name, head):
    keras.utils.set_random_seed(0)
    model = build_model(config_of(name, head=head))
    inputs = batch(4)
    with tf.GradientTape() as tape:
        outputs = model(inputs, training=True)
        loss = tf.reduce_sum(outputs["age_months"]) / 100
        if head == "distribution":
            loss += tf.reduce_sum(tf.math.log(outputs["distribution"][:, ::7]))
    gradients = tape.gradient(loss, model.trainable_variables)
    # A bias in front of a batch norm is taken away again by it: its gradient is zero but for
    # rounding. Every other weight must move.
    dead = [
        variable.path
        for variable, gradient in zip(model.trainable_variables, gradients, strict=True)
        if gradient is None
        or not np.isfinite(gradient).all()
        or (not np.abs(gradient).max() > 0 and not variable.path.endswith("bias"))
    ]
    assert not dead
    girls, boys = (
        model({**inputs, "sex": np.full((4, 1), code, np.float32)}, training=False)["age_months"]
        for code in (0, 1)
    )
    assert np.abs(np.array(girls) - np.array(boys)).max() > 0


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_saved_model_answers_the_same(name, tmp_path):
    model = build_model(config_of(name))
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras", compile=False)
    inputs = batch(1, 67, 45)  # any size, one image
    first, second = (np.array(m(inputs, training=False)["age_months"]) for m in (model, again))
    np.testing.assert_array_equal(first, second)
    np.testing.assert_array_equal(first, np.array(model(inputs, training=False)["age_months"]))


@pytest.mark.parametrize("name", NAMES)
def test_the_model_of_one_input_is_the_same_model(name):
    config = config_of(name)
    model = build_model(config)
    inputs = batch()
    for sex in (0, 1):
        single = build_single_input_model(model, config, 48, sex)
        both = {**inputs, "sex": np.full((2, 1), sex, np.float32)}
        np.testing.assert_allclose(
            single(inputs["image"], training=False),
            model(both, training=False)["age_months"],
            atol=1e-3,
        )
    assert single.get_layer(model_module(name).EXPLAINED_LAYER).output.shape[1] >= 3


def test_resnet50_is_the_published_backbone():
    model = build_model(config_of("resnet50"))
    head = ("sex_embedding", "head_dense", "age_logits")
    backbone = sum(layer.count_params() for layer in model.layers if layer.name not in head)
    assert backbone == 23_587_712
    with_imagenet_names = keras.applications.ResNet50(include_top=False, weights=None)
    assert {layer.name for layer in with_imagenet_names.layers[1:]} <= {
        layer.name for layer in model.layers
    }


def test_residual_branches_start_small_and_come_back_as_they_were(tmp_path):
    model = build_model(config_of("resnet50"))
    branch = model.get_layer("conv3_block2_3_bn")
    np.testing.assert_allclose(branch.gamma, 0.1, rtol=1e-6)
    np.testing.assert_allclose(model.get_layer("conv3_block2_2_bn").gamma, 1.0)
    branch.gamma.assign(np.full(branch.gamma.shape, 0.7, np.float32))
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras", compile=False)
    np.testing.assert_allclose(again.get_layer("conv3_block2_3_bn").gamma, 0.7, rtol=1e-6)


def test_unknown_heads_and_uneven_bins_are_refused():
    with pytest.raises(ConfigError, match="known: distribution, regression"):
        build_model(config_of("resnet50", head="both"))
    with pytest.raises(ConfigError, match="must divide 240 months"):
        build_model(config_of("resnet50", bin_months=7.0))
