"""What every model must hold, whatever its head, its way with the sex and its precision."""

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
from bone_age_tf.export import lite, saved_model
from bone_age_tf.models.build import build_model, build_single_input_model, model_module
from bone_age_tf.models.catalog import MODELS
from bone_age_tf.models.heads import HEADS, SEX_MODES
from bone_age_tf.training.losses import build_losses

NAMES = sorted(MODELS)
FIXED_WIDTH = ("resnet50", "resnet101", "resnet152")
DEEP = ("resnet101", "resnet152")
"""Keras' own, as resnet50 is: they are built, asked and compared with Keras' layer by layer, and
what takes a minute with each (gradients, saving, conversion) is tried with resnet50."""
SHALLOW = [name for name in NAMES if name not in DEEP]
VARIANTS = list(itertools.product(HEADS, SEX_MODES))
EACH_ONCE = list(zip(HEADS, SEX_MODES, strict=True))
"""Each head and each sex encoding once. `cnn`, whose head is the others', and `prsnet`, which has
heads of its own, are tried with every pair."""
CASES = [
    (name, head, mode)
    for name in SHALLOW
    for head, mode in (VARIANTS if name in ("cnn", "prsnet") else EACH_ONCE)
]
TRIES = {"prsnet": 10}
"""Batches in which a gradient must show: anchors learn when they are chosen, some by chance."""
OF_HEADS = {"age_months", "distribution", "interval_90_months"}
ONLY_OF_DISTRIBUTIONS = {
    "distribution",
    "interval_90_months",
    schema.PART_DISTRIBUTIONS,
    schema.GLOBAL_DISTRIBUTION,
}
OF_MODELS = {
    "attention_vgg": set(schema.ATTENTIONS),
    "prsnet": set(schema.PART_OUTPUTS),
}


def config_of(name, **changes):
    """Narrow where a model can be: depth and wiring are what is tested."""
    config = configs.load_config(name, "hand_phantom")
    if name not in FIXED_WIDTH:
        config.base_filters = 8
    config.update(changes)
    return config


def batch(count=2, height=48, width=48):
    rng = np.random.default_rng(0)
    return {
        "image": rng.uniform(0, 255, (count, height, width, 1)).astype(np.float32),
        "sex": np.arange(count, dtype=np.float32)[:, None] % 2,
    }


def answers(model, inputs):
    return {key: np.array(value) for key, value in model(inputs, training=False).items()}


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


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16", "mixed_float16"])
@pytest.mark.parametrize("name", SHALLOW)
def test_outputs_are_months_in_float32_in_every_precision(name, policy):
    keras.utils.set_random_seed(0)  # an untrained network's mean may lie outside of its interval
    keras.mixed_precision.set_global_policy(policy)
    model = build_model(config_of(name))
    check_months(answers(model, batch()), "distribution")


@pytest.mark.slow
@pytest.mark.parametrize(("name", "head", "sex_mode"), CASES)
def test_contract(name, head, sex_mode):
    keras.utils.set_random_seed(0)
    config = config_of(name, head=head, sex_mode=sex_mode)
    model = build_model(config)

    # Outputs
    expected = OF_HEADS | OF_MODELS.get(name, set())
    if head == "regression":
        expected -= ONLY_OF_DISTRIBUTIONS
    assert set(model.output) == expected
    inputs = batch(4)
    found = answers(model, inputs)
    check_months(found, head, 4)
    for key, value in answers(model, inputs).items():
        np.testing.assert_array_equal(value, found[key], err_msg=f"{key}: not deterministic")
    one, odd = batch(1), batch(1, 67, 45)
    check_months(answers(model, one), head, 1)
    check_months(answers(model, odd), head, 1)

    # As the training step sees them: sizes that are not known before it runs; no head sees them
    if (head, sex_mode) == EACH_ONCE[0]:
        in_graph = tf.function(
            lambda image, sex: model({"image": image, "sex": sex}, training=False)
        )
        unknown = in_graph.get_concrete_function(
            tf.TensorSpec([None, None, None, 1]), tf.TensorSpec([None, 1])
        )
        by_graph = unknown(image=tf.constant(odd["image"]), sex=tf.constant(odd["sex"]))
        np.testing.assert_allclose(
            by_graph["age_months"], answers(model, odd)["age_months"], atol=0.01
        )

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
    assert not still


@pytest.mark.slow
@pytest.mark.parametrize("name", SHALLOW)
def test_a_saved_model_answers_the_same(name, tmp_path):
    model = build_model(config_of(name))
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras", compile=False)
    inputs = batch(1, 67, 45)
    found, before = answers(again, inputs), answers(model, inputs)
    assert set(found) == set(before)
    for key, value in before.items():
        np.testing.assert_array_equal(found[key], value)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "head", "sex_mode"),
    [(name, *EACH_ONCE[0]) for name in SHALLOW]
    + [("cnn", head, mode) for head, mode in EACH_ONCE[1:]],
)
def test_conversion_keeps_the_months(name, head, sex_mode, tmp_path):
    from ai_edge_litert.interpreter import Interpreter

    keras.utils.set_random_seed(0)
    model = build_model(config_of(name, head=head, sex_mode=sex_mode), 48)
    saved_model.write_single_case_model(model, 48, tmp_path / "single")
    serve = tf.saved_model.load(str(tmp_path / "single"))
    converted = lite.convert_float32(tmp_path / "single")  # built-in operators only
    runner = Interpreter(model_content=converted).get_signature_runner("serving_default")
    inputs = batch(8)
    expected = answers(model, inputs)
    differences = []
    for place in range(8):
        case = {key: value[place : place + 1] for key, value in inputs.items()}
        served = serve.signatures["serving_default"](
            **{key: tf.constant(value) for key, value in case.items()}
        )
        answered = runner(**case)
        assert set(answered) == set(served) == set(expected)
        for found in (served, answered):
            month = float(np.ravel(found["age_months"])[0])
            differences.append(abs(month - expected["age_months"][place, 0]))
    assert np.mean(differences) <= 0.05
    assert np.max(differences) <= 0.5


def test_a_process_that_built_no_model_loads_any(tmp_path):
    paths = [tmp_path / f"{name}.keras" for name in ("attention_vgg", "prsnet", "cnn")]
    for path in paths:
        build_model(config_of(path.stem)).save(path)
    code = "import sys; from bone_age_tf.models.build import load_network as load; "
    code += "print(*(load(path).name for path in sys.argv[1:]))"
    done = subprocess.run(
        [sys.executable, "-c", code, *paths], capture_output=True, text=True, check=False
    )
    assert done.stdout.split() == ["attention_vgg", "prsnet", "cnn"], done.stderr[-2000:]


@pytest.mark.parametrize("name", NAMES)
def test_the_model_of_one_input_is_the_same_model_and_has_its_explained_layer(name):
    config = config_of(name)
    model = build_model(config)
    inputs = batch()
    for sex in (0, 1) if name not in DEEP else (1,):
        single = build_single_input_model(model, config, 48, sex)
        both = {**inputs, "sex": np.full((2, 1), sex, np.float32)}
        np.testing.assert_allclose(
            single(inputs["image"], training=False),
            model(both, training=False)["age_months"],
            atol=1e-3,
        )
    layer = single.get_layer(model_module(name).explained_layer(config))
    assert layer.output.shape[1] >= 3


PUBLISHED = {
    "efficientnet_lite0": 3_371_008,  # trained ones, without the top
    "resnet18": 11_176_512,  # trained ones; other implementations, without the top
    "resnet34": 21_284_672,
    "resnet50": 23_587_712,  # all; Keras, without the top
    "resnet101": 42_658_176,
    "resnet152": 58_370_944,
    "vgg16": 14_714_688,
}


TRAINED_ALONE = ("efficientnet_lite0", "resnet18", "resnet34")


@pytest.mark.parametrize("name", sorted(PUBLISHED))
def test_published_backbones_have_their_published_parameters(name):
    config = configs.load_config(name, "hand_phantom")
    if name == "vgg16":
        config.batch_norm = False
    model = build_model(config)
    head = ("sex_embedding", "head_dense", "age_logits")
    weights = [
        weight
        for layer in model.layers
        if layer.name not in head
        for weight in (layer.trainable_weights if name in TRAINED_ALONE else layer.weights)
    ]
    assert sum(int(np.prod(weight.shape)) for weight in weights) == PUBLISHED[name]


@pytest.mark.parametrize(
    ("name", "published"),
    [
        ("resnet50", keras.applications.ResNet50),
        ("resnet101", keras.applications.ResNet101),
        ("resnet152", keras.applications.ResNet152),
        ("vgg16", keras.applications.VGG16),
    ],
)
def test_layers_have_the_names_and_shapes_of_published_weights(name, published):
    config = configs.load_config(name, "hand_phantom")
    if name == "vgg16":
        config.batch_norm = False
    ours = {
        layer.name: [weight.shape for weight in layer.weights]
        for layer in build_model(config).layers
    }
    theirs = published(include_top=False, weights=None, input_shape=(64, 64, 3))
    for layer in theirs.layers:
        if layer.weights:
            assert ours[layer.name] == [weight.shape for weight in layer.weights]


def test_residual_branches_start_small_and_come_back_as_they_were(tmp_path):
    model = build_model(config_of("resnet50"))
    branch = model.get_layer("conv3_block2_3_bn")
    np.testing.assert_allclose(branch.gamma, 0.1, rtol=1e-6)
    np.testing.assert_allclose(model.get_layer("conv3_block2_2_bn").gamma, 1.0)
    branch.gamma.assign(np.full(branch.gamma.shape, 0.7, np.float32))
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras", compile=False)
    np.testing.assert_allclose(again.get_layer("conv3_block2_3_bn").gamma, 0.7, rtol=1e-6)


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
