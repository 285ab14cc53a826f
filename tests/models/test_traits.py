"""Adding a model: one file, one config, one line in the catalogue."""

import sys
from types import ModuleType

import numpy as np
import pytest

from bone_age_tf import config as configs
from bone_age_tf.config import base_config, minutes_on_two_cores
from bone_age_tf.errors import ConfigError
from bone_age_tf.explain.explaining import chosen_methods
from bone_age_tf.explain.network import ExplainedNetwork
from bone_age_tf.models.build import build_model, build_served_model, model_traits
from bone_age_tf.models.catalog import MODELS
from bone_age_tf.training import fit as fitting
from bone_age_tf.training.initial_weights import require_source
from toy_network import SCORE


@pytest.fixture
def toy_config(monkeypatch):
    """The toy's settings, after its file, its config and its line were added."""

    def get_config(dataset):
        config = base_config()
        config.score_weight = 0.01
        minutes_on_two_cores(config, dataset)
        return config

    module = ModuleType("bone_age_tf.configs.toy")
    module.get_config = get_config
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setitem(MODELS, "toy", "toy_network")
    overrides = [("image_size_px", "32"), ("dense_units", "8"), ("sex_units", "4")]
    return configs.load_config("toy", "hand_phantom", overrides)


def test_a_model_with_parts_of_its_own_trains_exports_and_explains(toy_config):
    model = fitting.compiled(toy_config, fitting.Schedule(1, 4), seed=0)
    rng = np.random.default_rng(0)
    inputs = {"image": rng.uniform(0, 255, (8, 32, 32, 1)), "sex": rng.integers(0, 2, (8, 1))}
    ages = np.full((8, 1), 90.0, np.float32)
    before = model.network.get_layer(SCORE).get_weights()[0].copy()
    for _ in range(3):
        model.train_on_batch(inputs, dict.fromkeys(model.trained_outputs, ages))
    assert SCORE in model.trained_outputs
    assert np.abs(model.network.get_layer(SCORE).get_weights()[0] - before).max() > 0
    plain = build_model(toy_config, 32)
    assert SCORE in plain.output
    assert SCORE not in build_served_model(plain).output
    network = ExplainedNetwork(plain, toy_config)
    assert chosen_methods(None, network) == ["cam", "crm"]
    with pytest.raises(ConfigError, match="'relation' is not available for toy"):
        chosen_methods("relation", network)


def test_what_a_file_does_not_declare_has_defaults(toy_config, tiny_config):
    toy_config = toy_config.copy_and_resolve_references()
    toy_config.init = "imagenet"
    with pytest.raises(ConfigError, match=r"no ImageNet weights for toy; there are for .*resnet50"):
        require_source(toy_config)
    assert model_traits("tiny").explanations == ()
    assert model_traits("prsnet").training_outputs == ("part_ranking",)
    assert model_traits("resnet18").imagenet is None
    assert model_traits("resnet50").imagenet is not None
