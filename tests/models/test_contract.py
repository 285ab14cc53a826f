"""What every model must hold, whatever its head, its way with the sex and its precision."""

import functools
import itertools
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from bone_age_tf import config as configs
from bone_age_tf import schema
from bone_age_tf.errors import ConfigError
from bone_age_tf.export import lite
from bone_age_tf.models.build import (
    build_model,
    build_served_model,
    build_single_input_model,
    model_module,
)
from bone_age_tf.models.catalog import MODELS
from bone_age_tf.models.heads import HEADS, SEX_MODES, build_head
from bone_age_tf.models.removal import build_mapped_model
from bone_age_tf.training.losses import build_losses

NAMES = sorted(MODELS)
FIXED_WIDTH = ("resnet50", "resnet101", "resnet152")
DEEPER = ("resnet34", "resnet101", "resnet152")
"""These repeat the blocks of resnet18 and resnet50: test_published builds them."""
SHALLOW = [name for name in NAMES if name not in DEEPER]
VARIANTS = list(itertools.product(HEADS, SEX_MODES))
EACH_ONCE = list(zip(HEADS, SEX_MODES, strict=True))
"""Each head and each sex encoding once."""
OWN_CASES = {"cnn": VARIANTS, "prsnet": EACH_ONCE}
CASES = [
    (name, head, mode) for name in SHALLOW for head, mode in OWN_CASES.get(name, EACH_ONCE[:1])
]
"""The head of `cnn` is that of all the others, so every pair is tried with it, and the others train
with one pair: see `test_every_model_has_every_head`. `prsnet` calls the same code for several parts
at once: see `test_heads_of_several_parts`."""
TRIES = {"prsnet": 10}
"""Batches in which a gradient must show: anchors learn when they are chosen, some by chance."""
OF_HEADS = {"age_months", "distribution", "interval_90_months"}
ONLY_OF_DISTRIBUTIONS = {
    "distribution",
    "interval_90_months",
    schema.PART_DISTRIBUTIONS,
    schema.REGION_DISTRIBUTIONS,
    schema.GLOBAL_DISTRIBUTION,
}
OF_MODELS = {
    "attention_vgg": set(schema.ATTENTIONS),
    "bonewise": {
        schema.REGION_CROPS,
        schema.REGION_WEIGHTS,
        schema.REGION_AGES,
        schema.REGION_DISTRIBUTIONS,
        schema.GLOBAL_AGE,
        schema.GLOBAL_DISTRIBUTION,
    },
    "prsnet": set(schema.PART_OUTPUTS),
}


def config_of(name, **changes):
    """Narrow where a model can be: depth and wiring are what is tested."""
    config = configs.load_config(name, "hand_phantom")
    if name not in FIXED_WIDTH:
        config.base_filters = 8
    config.update(changes)
    return config


@functools.cache
def built(name, head=HEADS[0], sex_mode=SEX_MODES[0]):
    """A model for all tests that leave its weights as they were."""
    keras.utils.set_random_seed(0)  # an untrained network's mean may lie outside of its interval
    return build_model(config_of(name, head=head, sex_mode=sex_mode))


@pytest.fixture(autouse=True)
def narrow(narrow_resnet50):
    """Where the config of a model cannot narrow it."""


@pytest.fixture(scope="module", autouse=True)
def forget_models():
    """Gives the memory of the shared models back when the tests of this file are done."""
    yield
    built.cache_clear()


def batch(count=2, height=48, width=48):
    rng = np.random.default_rng(0)
    return {
        "image": rng.uniform(0, 255, (count, height, width, 1)).astype(np.float32),
        "sex": np.arange(count, dtype=np.float32)[:, None] % 2,
    }


def answers(model, inputs):
    return {key: np.array(value) for key, value in model(inputs, training=False).items()}


def check_names(model, head):
    expected = OF_HEADS | OF_MODELS.get(model.name, set())
    if head == "regression":
        expected -= ONLY_OF_DISTRIBUTIONS
    assert set(model.output) == expected


def check_months(outputs, head, count=2):
    for name, value in outputs.items():
        assert value.dtype == np.float32, name
        assert np.isfinite(value).all(), name
        assert len(value) == count, name
    age = outputs["age_months"]
    assert age.shape == (count, 1)
    assert (age > 0).all()
    assert (age < schema.MAX_AGE_MONTHS).all()
    if head != "regression":
        assert outputs["distribution"].shape == (count, 120)
        np.testing.assert_allclose(outputs["distribution"].sum(axis=1), 1, atol=1e-5)
        lower, upper = outputs["interval_90_months"].T
        assert (lower < age[:, 0]).all()
        assert (age[:, 0] < upper).all()


@pytest.mark.parametrize(
    ("name", "policy"),
    [(name, "mixed_bfloat16") for name in SHALLOW]
    + [(name, "mixed_float16") for name in OWN_CASES],
)
def test_outputs_are_months_in_float32_in_mixed_precision(name, policy):
    """Float16 for the models that `test_every_model_has_every_head` leaves out."""
    keras.utils.set_random_seed(0)  # as in `built`
    keras.mixed_precision.set_global_policy(policy)
    model = build_model(config_of(name))
    check_months(answers(model, batch()), "distribution")


@pytest.mark.slow
@pytest.mark.parametrize(("name", "head", "sex_mode"), CASES)
def test_contract(name, head, sex_mode):
    config = config_of(name, head=head, sex_mode=sex_mode)
    model = built(name, head, sex_mode)

    # Outputs
    check_names(model, head)
    inputs = batch(4)
    found = answers(model, inputs)
    check_months(found, head, 4)
    for key, value in answers(model, inputs).items():
        np.testing.assert_array_equal(value, found[key], err_msg=f"{key}: not deterministic")
    # Other sizes, also as the training step sees them: not known before it runs. No head sees them.
    if (head, sex_mode) == EACH_ONCE[0]:
        odd = batch(1, 67, 45)
        expected = answers(model, odd)
        check_months(expected, head, 1)
        in_graph = tf.function(
            lambda image, sex: model({"image": image, "sex": sex}, training=False)
        )
        unknown = in_graph.get_concrete_function(
            tf.TensorSpec([None, None, None, 1]), tf.TensorSpec([None, 1])
        )
        by_graph = unknown(image=tf.constant(odd["image"]), sex=tf.constant(odd["sex"]))
        np.testing.assert_allclose(by_graph["age_months"], expected["age_months"], atol=0.01)

    # The sex
    swapped = answers(model, {**inputs, "sex": 1 - inputs["sex"]})["age_months"]
    assert (np.abs(swapped - found["age_months"]).max() > 0) == (sex_mode != "off")

    # Gradients
    for layer in model.layers:
        if type(layer) is keras.layers.Conv2D:
            assert layer.kernel_size != (1, 1) or layer.strides == (1, 1), layer.name
    losses, weights = build_losses(config)
    # A bias in front of a batch norm is taken away again by it, and one that all scores share does
    # not change their order: zero but for rounding. Every other weight must move.
    still = {v.path for v in model.trainable_variables if not v.path.endswith("bias")}
    before = model.get_weights()
    for _ in range(TRIES.get(name, 1)):
        with tf.GradientTape() as tape:
            outputs = model(inputs, training=True)
            months = tf.constant([[30.0], [90.0], [150.0], [210.0]])
            total = sum(
                weights[key] * tf.reduce_mean(loss(months, outputs[key]))
                for key, loss in losses.items()
                if loss is not None
            )
        gradients = tape.gradient(total, model.trainable_variables)
        for variable, gradient in zip(model.trainable_variables, gradients, strict=True):
            assert gradient is not None, variable.path
            assert np.isfinite(gradient).all(), variable.path
            if np.abs(gradient).max() > 0:
                still.discard(variable.path)
        if not still:
            break
    model.set_weights(before)  # the training steps changed the batch norms
    assert not still


@pytest.mark.parametrize(("head", "sex_mode"), EACH_ONCE[1:])
@pytest.mark.parametrize("name", [name for name in SHALLOW if name not in ("cnn", "prsnet")])
def test_every_model_has_every_head(name, head, sex_mode):
    """In float16, which `test_contract` does not use."""
    keras.utils.set_random_seed(0)  # as in `built`
    keras.mixed_precision.set_global_policy("mixed_float16")
    model = build_model(config_of(name, head=head, sex_mode=sex_mode))
    check_names(model, head)
    # Two images alike but for the sex
    inputs = batch()
    inputs["image"][1] = inputs["image"][0]
    found = answers(model, inputs)
    check_months(found, head)
    assert (np.ptp(found["age_months"]) > 1e-4) == (sex_mode != "off")


@pytest.mark.parametrize(("head", "sex_mode"), VARIANTS)
def test_heads_of_several_parts(head, sex_mode):
    """As `prsnet` calls them: one head reads the features of each part."""
    keras.utils.set_random_seed(0)
    features, sex = keras.Input((3, 6)), keras.Input((1,))
    config = config_of("cnn", head=head, sex_mode=sex_mode)
    model = keras.Model([features, sex], build_head(features, sex, config))
    given = np.random.default_rng(0).normal(size=(2, 3, 6)).astype(np.float32)
    given[1] = given[0]
    with tf.GradientTape() as tape:
        found = model([given, np.array([[0.0], [1.0]], np.float32)], training=False)
        loss = tf.reduce_sum((found["age_months"] - 30) ** 2)
    age = np.array(found["age_months"])
    assert age.shape == (2, 3, 1)
    assert np.ptp(age[0]) > 0
    assert (np.abs(age[0] - age[1]).max() > 0) == (sex_mode != "off")
    if head != "regression":
        distribution = np.array(found["distribution"])
        assert distribution.shape == (2, 3, 120)
        np.testing.assert_allclose(distribution.sum(axis=2), 1, atol=1e-5)
        middles = np.arange(1, 240, 2)
        np.testing.assert_allclose(distribution @ middles, age[..., 0], rtol=1e-4)
    gradients = tape.gradient(loss, model.trainable_variables)
    for variable, gradient in zip(model.trainable_variables, gradients, strict=True):
        assert np.isfinite(gradient).all(), variable.path
        assert np.abs(gradient).max() > 0, variable.path


def with_own_layers():
    """Names of models that together have each layer class of this project."""
    seen, names = set(), []
    for name in SHALLOW:
        own = {type(layer) for layer in built(name).layers if "bone_age" in type(layer).__module__}
        if own - seen:
            names.append(name)
        seen |= own
    return names


@pytest.mark.slow
def test_saved_models_answer_the_same_in_a_process_that_built_none(tmp_path):
    inputs = batch(1, 67, 45)
    expected = {}
    for name in with_own_layers():
        model = built(name)
        first = model.get_weights()
        # No longer what the initialisers gave them, which a new model has, too
        model.set_weights([1.1 * weights for weights in first])
        model.save(tmp_path / f"{name}.keras")
        expected[name] = answers(model, inputs)
        model.set_weights(first)
    np.savez(tmp_path / "inputs.npz", **inputs)
    code = """
import sys
import numpy as np
from bone_age_tf.models.build import load_network
inputs = dict(np.load("inputs.npz"))
for name in sys.argv[1:]:
    found = load_network(f"{name}.keras")(inputs, training=False)
    np.savez(f"{name}.npz", **{key: np.array(found[key]) for key in found})
"""
    command = [sys.executable, "-c", code, *expected]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    for name, of_model in expected.items():
        found = dict(np.load(tmp_path / f"{name}.npz"))
        assert set(found) == set(of_model)
        for key, value in of_model.items():
            # The other process may have taken other kernels of TensorFlow.
            np.testing.assert_allclose(found[key], value, 1e-5, 1e-5, err_msg=f"{name}: {key}")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "head", "sex_mode"),
    [(name, *EACH_ONCE[0]) for name in SHALLOW]
    + [("cnn", head, mode) for head, mode in EACH_ONCE[1:]],
)
def test_conversion_keeps_the_months_and_the_map(name, head, sex_mode):
    """The LiteRT file that an export writes."""
    from ai_edge_litert.interpreter import Interpreter

    keras.utils.set_random_seed(0)
    model = build_model(config_of(name, head=head, sex_mode=sex_mode), 64)
    if name in ("bonewise", "efficientnet_lite0"):  # untrained, next to nothing arrives there
        gamma, *others = model.get_layer("top_bn").get_weights()
        model.get_layer("top_bn").set_weights([1e6 * gamma, *others])
    served = build_mapped_model(build_served_model(model))
    converted = lite.convert_network(served, 64)  # built-in operators only
    runner = Interpreter(model_content=converted).get_signature_runner("serving_default")
    inputs = batch(8, 64, 64)
    expected = answers(served, inputs)
    assert np.ptp(expected[schema.MAP]) > 1e-3
    differences = []
    for place in range(8):
        answered = runner(**{key: value[place : place + 1] for key, value in inputs.items()})
        assert set(answered) == set(expected)
        differences.append(answered["age_months"][0, 0] - expected["age_months"][place, 0])
        assert answered[schema.MAP].shape == (1, *expected[schema.MAP].shape[1:])
        np.testing.assert_allclose(answered[schema.MAP][0], expected[schema.MAP][place], atol=0.02)
    assert np.abs(differences).max() <= 0.05


@pytest.mark.parametrize("name", SHALLOW)
def test_the_model_of_one_input_is_the_same_model_and_has_its_explained_layer(name):
    config, model = config_of(name), built(name)
    inputs = batch()
    for sex in (0, 1) if name in ("cnn", "prsnet") else (1,):
        single = build_single_input_model(model, config, 48, sex)
        both = {**inputs, "sex": np.full((2, 1), sex, np.float32)}
        np.testing.assert_allclose(
            single(inputs["image"], training=False),
            model(both, training=False)["age_months"],
            atol=1e-3,
        )
    layer = single.get_layer(model_module(name).explained_layer(config))
    assert layer.output.shape[1] >= 3


@pytest.mark.parametrize(
    ("name", "last", "before"),
    [("resnet50", "3_bn", "2_bn"), ("resnet18", "2_bn", "1_bn")],
)
def test_residual_branches_start_small(name, last, before):
    model = built(name)
    np.testing.assert_allclose(model.get_layer(f"conv3_block2_{last}").gamma, 0.1, rtol=1e-6)
    np.testing.assert_allclose(model.get_layer(f"conv3_block2_{before}").gamma, 1.0)


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("cnn", {"head": "both"}, "unknown head 'both'.*classification, distribution, regression"),
        ("cnn", {"sex_mode": "none"}, "unknown sex_mode 'none'.*concat, modulate, off"),
        ("cnn", {"bin_months": 7.0}, "must divide 240 months"),
        ("cnn", {"pixels": "caffe"}, "unknown pixels 'caffe'.*imagenet, unit"),
        ("resnet50", {"base_filters": 32}, "base_filters is 32; resnet50 has 64"),
        ("attention_vgg", {"compatibility": "sum"}, "unknown compatibility 'sum'"),
    ],
)
def test_settings_that_cannot_be_are_refused(name, changes, message):
    with pytest.raises(ConfigError, match=message):
        build_model(config_of(name, **changes))
