import ast
import json
from pathlib import Path

import pytest

from bone_age_tf import config as configs
from bone_age_tf import schema, settings
from bone_age_tf.config_ranges import RANGES
from bone_age_tf.errors import ConfigError
from bone_age_tf.models.catalog import MODELS


def load(*overrides):
    return configs.load_config("resnet50", "hand_phantom", overrides)


def test_overrides_keep_the_type_of_the_setting():
    config = load(
        ("epochs", "3"),
        ("learning_rate", "2"),
        ("augmentation.flip", "false"),
        ("augmentation.policy", "strong"),
        ("stage_scales", "(0.5, 1)"),
        ("stage_ends", "0.25, 1"),
    )
    assert config.epochs == 3
    assert config.learning_rate == 2.0
    assert isinstance(config.learning_rate, float)
    assert config.augmentation.flip is False
    assert config.augmentation.policy == "strong"
    assert config.stage_scales == (0.5, 1)
    assert config.stage_ends == (0.25, 1)


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("epochs", "3.5"),
        ("epochs", "many"),
        ("epochs", "true"),
        ("learning_rate", "fast"),
        ("augmentation.flip", "1"),
        ("stage_scales", "big"),
    ],
)
def test_a_wrong_type_is_refused_with_the_key_the_value_and_an_example(key, text):
    with pytest.raises(ConfigError) as error:
        load((key, text))
    assert f"--config.{key}={text}" in str(error.value)
    assert "such as" in str(error.value)


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("image_size_px", "0"),
        ("image_size_px", "-3"),
        ("batch_size", "0"),
        ("bin_months", "0"),
        ("base_filters", "0"),
        ("dropout", "1"),
        ("learning_rate", "0"),
        ("learning_rate", "1e999"),
        ("epochs", "-1"),
        ("parity_images", "0"),
        ("early_rate", "0"),
        ("augmentation.cover", "2"),
    ],
)
def test_an_impossible_value_is_refused_with_its_range(key, text):
    with pytest.raises(ConfigError, match=rf"--config\.{key}=.*: a number .* is needed"):
        load((key, text))


@pytest.mark.parametrize("dataset", schema.DATASETS)
@pytest.mark.parametrize("model", MODELS)
def test_every_numeric_setting_has_a_range_that_its_default_is_in(model, dataset):
    settings = configs.flat(configs.load_config(model, dataset))
    numeric = {key for key, value in settings.items() if type(value) in (int, float)}
    assert numeric <= RANGES.keys()


def test_an_unknown_key_is_refused_with_the_nearest():
    with pytest.raises(ConfigError, match=r"Did you mean --config\.learning_rate\?"):
        load(("learning_rat", "1"))
    with pytest.raises(ConfigError, match="unknown config key 'augmentation'"):
        load(("augmentation", "none"))


def test_unknown_names_list_the_known_and_the_nearest():
    with pytest.raises(ConfigError, match=r"Did you mean resnet50\? Known: .*resnet50"):
        configs.load_config("resnet5", "hand_phantom")
    with pytest.raises(ConfigError, match=r"Did you mean rsna_bone_age\?"):
        configs.load_config("resnet50", "rsna_boneage")


@pytest.mark.parametrize(
    ("scales", "ends"),
    [
        ("(0.5, 1)", "(1,)"),
        ("(0.5, 1)", "(0.5, 0.9)"),
        ("(0.5, 0.9)", "(0.5, 1)"),
        ("(1, 0.5)", "(0.5, 1)"),
        ("(0, 1)", "(0.5, 1)"),
    ],
)
def test_stages_must_end_with_the_full_size(scales, ends):
    with pytest.raises(ConfigError, match="ascending values, above 0 and up to 1"):
        load(("stage_scales", scales), ("stage_ends", ends))


def test_a_saved_config_comes_back_the_same(tmp_path):
    config = load(("stage_scales", "(0.5, 1)"), ("stage_ends", "(0.5, 1)"))
    configs.save_config(config, tmp_path / "config.json")
    again = configs.read_config(tmp_path / "config.json")
    assert not configs.differences(config, again)
    assert json.loads((tmp_path / "config.json").read_text())["epochs"] == config.epochs
    with again.unlocked():
        again.epochs = 99
    assert configs.differences(config, again) == [
        f"epochs: {config.epochs} in the run, 99 asked for"
    ]


def test_a_setting_newer_than_the_run_has_its_default(tmp_path):
    config = configs.load_config("resnet50", "hand_phantom", [("epochs", "3")])
    settings = config.to_dict()
    del settings["sex_mode"]
    (tmp_path / "config.json").write_text(json.dumps(settings))
    again = configs.read_config(tmp_path / "config.json")
    assert again.epochs == 3
    assert again.sex_mode == "concat"


def test_removed_settings_of_an_older_run_are_ignored(tmp_path):
    config = load()
    settings = config.to_dict() | {"served_resize": "portrait"}
    settings["augmentation"]["frame_aspect"] = 0.785
    (tmp_path / "config.json").write_text(json.dumps(settings))
    assert not configs.differences(config, configs.read_config(tmp_path / "config.json"))


def test_a_removed_or_unknown_resize_mode_is_named(tmp_path):
    settings = load().to_dict() | {"resize": "portrait"}
    (tmp_path / "config.json").write_text(json.dumps(settings))
    with pytest.raises(
        ConfigError, match=r"config.json: resize is 'portrait'; known: pad, stretch"
    ):
        configs.read_config(tmp_path / "config.json")
    with pytest.raises(ConfigError, match="resize is 'crop'; known: pad, stretch"):
        load(("resize", "crop"))


@pytest.mark.parametrize("model", ["compact", "efficientnet_lite0"])
def test_rsna_radiographs_keep_their_aspect_ratio(model):
    assert configs.load_config(model, "rsna_bone_age").resize == "pad"


def test_a_missing_or_broken_record_is_named(tmp_path):
    with pytest.raises(ConfigError, match="no such file"):
        configs.read_config(tmp_path / "config.json")
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ConfigError, match="not a saved config"):
        configs.read_config(tmp_path / "config.json")


def test_the_typed_settings_are_those_of_the_models():
    """`settings.py` is for type checkers, so that nothing else would notice a missing key."""
    tree = ast.parse(Path(settings.__file__).read_text())
    typed = {
        node.name: {each.target.id for each in node.body if isinstance(each, ast.AnnAssign)}
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
    }
    keys = set().union(*(configs.flat(configs.load_config(m, "rsna_bone_age")) for m in MODELS))
    grouped = {key.partition(".")[2] for key in keys if "." in key}
    assert typed["Augmentation"] == grouped
    assert typed["Config"] == {key for key in keys if "." not in key} | {"augmentation"}
