"""First weights, rates by depth, late starts."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from bone_age_tf import config as configs
from bone_age_tf.errors import ConfigError
from bone_age_tf.models.build import build_model
from bone_age_tf.training.initial_weights import initialise, load_matching, require_source
from bone_age_tf.training.optimizer import StagedAdamW, backbone_layers, plan_stages


def config_of(name="cnn", **changes):
    config = configs.load_config(name, "hand_phantom")
    config.update({"base_filters": 8, "dense_units": 16} | changes)
    return config


def weights_of(model, layer):
    return [np.array(weight) for weight in model.get_layer(layer).weights]


def test_random_weights_are_left_as_they_are():
    assert initialise(build_model(config_of()), config_of()) is None


def test_a_file_gives_its_weights_and_what_did_not_come_is_listed(tmp_path):
    source = build_model(config_of(head="distribution"))
    source.save(tmp_path / "model.keras")
    config = config_of(head="regression", init=str(tmp_path / "model.keras"), sex_units=8)
    network = build_model(config)
    loaded = initialise(network, config)
    for layer in ("block1_conv", "block5_bn"):
        for ours, theirs in zip(weights_of(network, layer), weights_of(source, layer), strict=True):
            np.testing.assert_array_equal(ours, theirs)
    assert "block5_conv" in loaded.layers
    assert loaded.missing == ("age_share",)
    assert set(loaded.other_shape) == {"sex_embedding", "head_dense"}
    assert loaded.unused == ("age_logits",)
    text = str(loaded)
    assert "loaded 10 layers" in text
    assert "left random, not in the source: age_share" in text
    assert "left random, of another shape in the source: " in text
    assert "only in the source: age_logits" in text
    backbone = sum(network.get_layer(name).count_params() for name in loaded.layers)
    assert loaded.parameters == backbone


def test_a_run_gives_its_best_network_and_must_have_the_same_pixels(tmp_path):
    config = config_of()
    source = build_model(config)
    (tmp_path / "checkpoints").mkdir()
    source.save(tmp_path / "checkpoints" / "best.keras")
    configs.save_config(config, tmp_path / "config.json")
    wanted = config_of(init=str(tmp_path))
    network = build_model(wanted)
    assert not initialise(network, wanted).missing
    inputs = {"image": np.full((1, 40, 40, 1), 99.0, np.float32), "sex": np.zeros((1, 1))}
    np.testing.assert_array_equal(network(inputs)["age_months"], source(inputs)["age_months"])
    other = config_of(init=str(tmp_path), pixels="imagenet")
    with pytest.raises(ConfigError, match=r"trained on pixels=unit; add --config.pixels=unit"):
        initialise(build_model(other), other)


def test_several_files_give_the_mean_of_their_weights(tmp_path):
    sources = []
    for number in range(3):
        sources.append(build_model(config_of()))
        sources[-1].save(tmp_path / f"{number}.keras")
    config = config_of(init=",".join(str(tmp_path / f"{number}.keras") for number in range(3)))
    require_source(config)
    network = build_model(config)
    assert not initialise(network, config).missing
    each = zip(*(source.get_weights() for source in sources), strict=True)
    for ours, theirs in zip(network.get_weights(), each, strict=True):
        np.testing.assert_allclose(ours, np.mean(theirs, axis=0), atol=1e-6)

    build_model(config_of(dense_units=8)).save(tmp_path / "1.keras")
    with pytest.raises(ConfigError, match="not networks of the same model"):
        initialise(network, config)
    (tmp_path / "2.keras").unlink()
    with pytest.raises(ConfigError, match=r"2.keras: no such file or run"):
        require_source(config)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda folder: folder / "nothing.keras", "no such file or run"),
        (lambda folder: folder, "config.json: no such file"),
        (lambda folder: write(folder / "bad.keras", b"PK no"), "not a Keras model"),
    ],
)
def test_sources_that_cannot_be_had_are_named(tmp_path, make, message):
    config = config_of(init=str(make(tmp_path)))
    with pytest.raises(ConfigError, match=message):
        initialise(build_model(config), config)
    if "not a Keras model" not in message:  # what needs no reading is told before a run is begun
        with pytest.raises(ConfigError, match=message):
            require_source(config)


def write(path, content):
    path.write_bytes(content)
    return path


def test_a_source_without_a_common_layer_is_refused(tmp_path):
    inputs = keras.Input((3,))
    keras.Model(inputs, keras.layers.Dense(2, name="other")(inputs)).save(tmp_path / "m.keras")
    config = config_of(init=str(tmp_path / "m.keras"))
    with pytest.raises(ConfigError, match="no layer has the name and shapes of one of cnn"):
        initialise(build_model(config), config)


def test_imagenet_weights_that_cannot_be_fetched_are_named(monkeypatch, tmp_path):
    def fail(*args, **kwargs):
        raise OSError("URL fetch failure: no route to host")

    monkeypatch.setattr("keras.src.utils.file_utils.get_file", fail)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    config = configs.load_config("vgg16", "hand_phantom", [("init", "imagenet")])
    assert (config.pixels, config.batch_norm) == ("imagenet", False)
    with pytest.raises(ConfigError) as raised:
        initialise(build_model(config), config)
    assert "vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5" in str(raised.value)
    assert str(tmp_path / "models") in str(raised.value)
    assert "no route to host" in str(raised.value)
    with pytest.raises(
        ConfigError,
        match="no ImageNet weights for cnn; there are for bonewise, efficientnet_lite0, ",
    ):
        initialise(build_model(config_of()), config_of(init="imagenet"))


@pytest.mark.slow
def test_the_file_that_keras_distributes_fits(tmp_path):
    published = keras.applications.VGG16(include_top=False, weights=None)
    path = tmp_path / "vgg16_weights_tf_dim_ordering_tf_kernels_notop.weights.h5"
    published.save_weights(path)
    config = configs.load_config(
        "vgg16", "hand_phantom", [("init", str(path)), ("batch_norm", "false")]
    )
    network = build_model(config)
    loaded = initialise(network, config)
    assert len(loaded.layers) == 13
    assert loaded.parameters == 14_714_688
    np.testing.assert_array_equal(
        weights_of(network, "block5_conv3")[0], published.get_layer("block5_conv3").kernel
    )


def test_grey_stands_for_each_colour_less_the_means_of_imagenet():
    network = build_model(config_of("resnet18", pixels="imagenet"))
    ramp = np.tile(np.linspace(10, 250, 64, dtype=np.float32)[:, None], (1, 64))[None, :, :, None]
    pixels = keras.Model(network.input, network.get_layer("to_imagenet_range").output)
    found = np.array(pixels({"image": ramp, "sex": np.zeros((1, 1))}))
    np.testing.assert_allclose(found[..., 0] - found[..., 2], 123.68 - 103.939, atol=1e-3)
    np.testing.assert_allclose(found.min(axis=(0, 1, 2)), [-103.939, -116.779, -123.68], atol=1)
    np.testing.assert_allclose(found.max(), 255 - 103.939, atol=1)


def test_rates_rise_with_depth_and_groups_begin_late():
    network = build_model(config_of())
    config = config_of(early_rate=0.01, unfreeze_shares=(0.1, 0.5))
    stages = plan_stages(network, config, steps=200)
    names = backbone_layers(network)
    assert names[0] == "block1_conv"
    assert names[-1] == "block5_bn"
    first = stages[network.get_layer("block1_conv").kernel.path]
    middle = stages[network.get_layer("block3_conv").kernel.path]
    last = stages[network.get_layer("block5_bn").gamma.path]
    assert first == (pytest.approx(0.01), 100)
    assert last == (pytest.approx(1.0), 20)
    assert 0.01 < middle[0] < 1
    assert network.get_layer("head_dense").kernel.path not in stages
    everything = plan_stages(network, config_of(), 200)
    assert set(everything.values()) == {(1.0, 0)}


def test_a_weight_stands_still_before_its_step_and_then_moves_at_its_rate():
    variables = [keras.Variable([1.0], name=name) for name in ("early", "late", "head")]
    early, late, head = variables
    optimizer = StagedAdamW(
        {early.path: (0.1, 0), late.path: (1.0, 2)}, learning_rate=0.01, weight_decay=0.1
    )
    optimizer.build(variables)
    gradients = [np.array([1.0], np.float32)] * 3
    for _ in range(2):
        optimizer.apply(gradients)
    assert float(late[0]) == 1.0
    moved = [1 - float(weight[0]) for weight in (early, head)]
    assert moved[1] == pytest.approx(0.022, rel=0.02)  # two steps of Adam and of decay
    assert moved[0] == pytest.approx(0.1 * moved[1], rel=0.02)
    optimizer.apply(gradients)
    assert float(late[0]) < 1.0


def test_the_steps_are_those_of_keras_own_adamw_with_its_moving_average():
    settings = {
        "learning_rate": 0.01,
        "weight_decay": 0.1,
        "global_clipnorm": 1.0,
        "use_ema": True,
        "ema_momentum": 0.8,
    }
    random = np.random.default_rng(0)
    start = random.normal(size=(3, 5)).astype(np.float32)
    gradients = random.normal(size=(6, 3, 5)).astype(np.float32)
    weights, averages = [], []
    for optimizer in (StagedAdamW({}, **settings), keras.optimizers.AdamW(**settings)):
        weight = keras.Variable(start)
        optimizer.build([weight])
        apply_fn = tf.function(lambda gradient, by=optimizer: by.apply([gradient]))
        for gradient in gradients:
            apply_fn(tf.constant(gradient))
        weights.append(weight.numpy())
        averages.append(optimizer._model_variables_moving_average[0].numpy())
    assert np.abs(weights[1] - start).max() > 0.02
    np.testing.assert_allclose(weights[0], weights[1], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(averages[0], averages[1], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("unfreeze_shares", "(0.5,0.1)"),
        ("unfreeze_shares", "(0.5,1.0)"),
        ("early_rate", "0.0"),
        ("early_rate", "2.0"),
    ],
)
def test_plans_that_cannot_be_are_refused(key, text):
    with pytest.raises(ConfigError, match=key):
        configs.load_config("cnn", "hand_phantom", [(key, text)])


def test_layers_of_equal_name_and_other_shape_stay():
    network, source = build_model(config_of()), build_model(config_of(dense_units=32))
    before = weights_of(network, "head_dense")
    load_matching(network, source)
    np.testing.assert_array_equal(weights_of(network, "head_dense")[0], before[0])
