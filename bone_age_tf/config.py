"""Configs: one file a model, overrides that are checked, a record that is saved with each run."""

import ast
import difflib
import importlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import ml_collections

from bone_age_tf import schema
from bone_age_tf.config_ranges import find_impossible_value
from bone_age_tf.errors import ConfigError, require_known
from bone_age_tf.files import replace_file
from bone_age_tf.models.catalog import MODELS
from bone_age_tf.settings import Augmentation, Config

_REMOVED = (("", "served_resize"), ("augmentation", "frame_aspect"))
"""Settings of earlier versions, by group and name; they are ignored in saved configs."""


def base_config() -> Config:
    """Settings that every model starts from; a model's file changes what it needs to."""
    config = ml_collections.ConfigDict()
    # Data
    config.image_size_px = 128
    # How images become squares: pad, or stretch for images that others have stretched already
    config.resize = "pad"
    config.holdout_fraction = 0.1
    config.use_validation_split = True
    # Tables that --mode=audit writes: images not to train on, and how far labels are trusted
    config.leave_out = ""
    config.trust = ""
    # How much more rare ages of a sex weigh: 0 not, 1 as if all were equally frequent
    config.balance = 0.0
    # Input layers: "unit" or "imagenet", see models/photometry.py
    config.pixels = "unit"
    # Head: distribution, classification or regression; loss of the last: l1, l2 or huber
    config.head = "distribution"
    config.bin_months = 2.0
    config.label_sd_months = 6.0
    config.age_loss_weight = 0.02
    config.regression_loss = "l1"
    config.huber_months = 12.0
    # How the sex joins: concat, modulate or off
    config.sex_mode = "concat"
    config.sex_units = 32
    config.dense_units = 256
    config.dropout = 0.2
    # First weights: random, imagenet, the folder of a run, or a .keras file; of several with commas
    # between, their mean
    config.init = "random"
    # Factor of the learning rate of the first layer; it rises to 1 at the last of the backbone
    config.early_rate = 1.0
    # Shares of the training at which groups of the backbone begin to learn, the last group first
    config.unfreeze_shares = ()
    # Training
    config.batch_size = 32
    config.epochs = 20  # 0: the first weights as they are
    config.learning_rate = 1e-3
    config.warmup_fraction = 0.1
    config.weight_decay = 1e-4
    config.clip_norm = 1.0
    # The weights that are kept are averaged over this share of all steps. Batch-norm statistics
    # follow the newest weights: a longer average, over weights that still move, does not fit them.
    config.ema_share = 0.02
    # Side of the training images as a share of image_size_px, and the share of training up to
    # which it is used. Empty: image_size_px throughout.
    config.stage_scales = ()
    config.stage_ends = ()
    config.augmentation = _augmentation()
    # Export
    config.calibration_images = 200
    config.parity_images = 200
    # Training images from which exports learn what a familiar image is
    config.familiarity_images = 4000
    return config


def _augmentation() -> Augmentation:
    """Settings of what changes images in the training graph."""
    config = ml_collections.ConfigDict()
    config.policy = "standard"
    config.flip = True
    config.rotation_degrees = 15.0
    config.shift_fraction = 0.06
    config.zoom_fraction = 0.12
    config.contrast = 0.3
    config.brightness = 0.15
    config.magnitude = 0.3
    # Of the policy "films"
    config.aspect_fraction = 0.15
    config.shear = 0.1
    config.shrink_fraction = 0.0  # as zoom_fraction, for hands that come smaller; 0: the same
    config.tone = 1.0
    config.sharpness = 0.7
    config.crush = 0.0  # share of the greys that may be lost in black; half as many in white
    config.grain = 0.0  # SD of the strongest noise, in parts of the range of grey
    config.marks = 0.0  # share of images with something written on them
    config.cover = 0.3
    # Of any policy but "none": share of images that get the greys of another one
    config.grey_match = 0.0
    # Of any policy: share of images that are averaged with one of the same sex and nearly their
    # age, or alpha of MixUp, which mixes ages too
    config.pairing = 0.0
    config.pairing_months = 6.0
    config.mixup = 0.0
    return config


def minutes_on_two_cores(config: Config, dataset: str) -> None:
    """Sets what suits a dataset that the project knows: minutes for phantoms, an hour for RSNA.

    For two CPU cores: cheap small images first. A network trained at one size answers badly at
    another, so the full size comes while the learning rate can still adapt it.
    """
    if dataset == "hand_phantom":
        config.image_size_px = 64
        config.batch_size = 16
        config.epochs = 5
        config.stage_scales = (0.625, 1.0)
        config.stage_ends = (0.7, 1.0)
    elif dataset == "rsna_bone_age":
        config.image_size_px = 100
        # The published validation labels are single readings, noisier than the test set's; the
        # cut keeps them apart from training and from the choice of checkpoint.
        config.use_validation_split = False
        config.epochs = 6
        config.stage_scales = (0.64, 1.0)
        config.stage_ends = (0.55, 1.0)
        config.warmup_fraction = 0.05
    else:
        return
    # Both show left hands, upright.
    config.augmentation.flip = False
    config.augmentation.rotation_degrees = 10.0


def load_config(model: str, dataset: str, overrides: Sequence[tuple[str, str]] = ()) -> Config:
    """Resolves the config of a model for a dataset.

    Args:
        model: a key of `MODELS`.
        dataset: one of `DATASETS`; a model's file may hold settings for it.
        overrides: (key, text), as in `--config.augmentation.policy=strong`.

    Raises:
        ConfigError: an unknown name or key, or a value of another type.
    """
    require_known("model", model, MODELS)
    require_known("dataset", dataset, schema.DATASETS)
    config = _model_config(model, dataset)
    config.model = model
    config.dataset = dataset
    config.lock()
    for key, text in overrides:
        _override(config, key, text)
    if config.init == "imagenet":  # what those weights were trained with
        config.pixels = getattr(_model_module(model), "IMAGENET_PIXELS", "imagenet")
        if "batch_norm" in config:
            config.batch_norm = False
    _check_resize(config)
    problem = find_impossible_value(flat(config))
    if problem is not None:
        raise ConfigError(f"--config.{problem}")
    _check_stages(config)
    _check_transfer(config)
    return config


def without_transfer(config: Config) -> Config:
    """Returns a copy that starts from random weights and trains all of them alike."""
    changed = config.copy_and_resolve_references()
    changed.update(init="random", early_rate=1.0, unfreeze_shares=())
    return changed.lock()


def flat(config: Config, prefix: str = "") -> dict[str, Any]:
    """Returns every setting by its dotted key."""
    settings: dict[str, Any] = {}
    for key in sorted(config.keys()):
        value = config[key]
        if isinstance(value, Config):
            settings |= flat(value, f"{prefix}{key}.")
        else:
            settings[prefix + key] = value
    return settings


def save_config(config: Config, path: Path) -> None:
    """Writes the resolved config as JSON, whole or not at all."""
    text = json.dumps(_plain(config.to_dict()), indent=2, sort_keys=True) + "\n"
    replace_file(path, text.encode())


def read_config(path: Path) -> Config:
    """Reads what `save_config` wrote.

    A setting that came into being after the run was made has its default.

    Raises:
        ConfigError: no such file, not a config, or one with a resize mode that this version does
            not have; the message names the file.
    """
    try:
        settings = json.loads(path.read_text())
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file; is its folder the --workdir of a run?") from None
    except json.JSONDecodeError as error:
        raise ConfigError(f"{path}: not a saved config ({error})") from None
    try:
        return _completed(settings)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}; train again with this version") from None


def from_flat(settings: Mapping[str, Any]) -> Config:
    """Returns a config from what `flat` made of it, such as an export's metadata holds.

    A setting that came into being afterwards has its default.

    Raises:
        ConfigError: no model of this project is named, or a resize mode that this version does not
            have.
    """
    require_known("model", settings.get("model", ""), MODELS)
    nested: dict[str, Any] = {}
    for key, value in settings.items():
        *folders, leaf = key.split(".")
        place = nested
        for folder in folders:
            place = place.setdefault(folder, {})
        place[leaf] = value
    return _completed(nested)


def _completed(settings: dict[str, Any]) -> Config:
    """Returns saved settings, with defaults for newer settings and without removed ones."""
    defaults: dict[str, Any] = {}
    if settings.get("model") in MODELS:
        defaults = _model_config(settings["model"], settings["dataset"]).to_dict()
    config = ml_collections.ConfigDict(
        {key: tuple(v) if isinstance(v, list) else v for key, v in (defaults | settings).items()}
    )
    for group, name in _REMOVED:
        place = config.get(group, {}) if group else config
        if name in place:
            del place[name]
    config.lock()
    _check_resize(config)
    return config


def differences(saved: Config, wanted: Config) -> list[str]:
    """Returns a line for each setting in which two configs differ."""
    before, after = flat(saved), flat(wanted)
    return [
        f"{key}: {before.get(key)!r} in the run, {after.get(key)!r} asked for"
        for key in sorted(before.keys() | after.keys())
        if before.get(key) != after.get(key)
    ]


def _model_config(model: str, dataset: str) -> Config:
    return _model_module(model).get_config(dataset)


def _model_module(model: str) -> ModuleType:
    return importlib.import_module(f"bone_age_tf.configs.{model}")


def _override(config: Config, key: str, text: str) -> None:
    known = flat(config)
    if key not in known or key in ("model", "dataset"):
        near = difflib.get_close_matches(key, known, n=1, cutoff=0.4)
        hint = f" Did you mean --config.{near[0]}?" if near else ""
        raise ConfigError(f"unknown config key {key!r}.{hint} Known: {', '.join(known)}")
    *folders, leaf = key.split(".")
    place = config
    for folder in folders:
        place = place[folder]
    place[leaf] = _parse(key, text, known[key])


def _parse(key: str, text: str, default: Any) -> Any:
    wanted = type(default)
    if wanted is str:
        return text
    try:
        value = ast.literal_eval(text.capitalize() if text.lower() in ("true", "false") else text)
    except (ValueError, SyntaxError):
        value = text
    if wanted is float and type(value) is int:
        value = float(value)
    if wanted is tuple and type(value) in (list, int, float):
        value = tuple(value) if isinstance(value, list) else (value,)
    if type(value) is not wanted:
        raise ConfigError(
            f"--config.{key}={text}: a value of type {wanted.__name__} is needed, "
            f"such as {default!r}"
        )
    return value


def _check_resize(config: Config) -> None:
    mode = config.get("resize", schema.RESIZE_MODES[0])
    if mode not in schema.RESIZE_MODES:
        raise ConfigError(f"resize is {mode!r}; known: {', '.join(schema.RESIZE_MODES)}")


def _check_stages(config: Config) -> None:
    scales, ends = config.stage_scales, config.stage_ends
    ascending = all(list(shares) == sorted(set(shares)) for shares in (scales, ends))
    positive = all(share > 0 for share in (*scales, *ends))
    whole = not scales or (scales[-1] == 1 and ends[-1:] == (1,))
    if len(scales) != len(ends) or not (ascending and positive and whole):
        raise ConfigError(
            f"stage_scales={scales} and stage_ends={ends}: as many of one as of the other are "
            "needed, ascending from above 0 to 1, such as (0.6, 1) and (0.7, 1)"
        )


def _check_transfer(config: Config) -> None:
    shares = config.unfreeze_shares
    if list(shares) != sorted(set(shares)) or not all(0 <= share < 1 for share in shares):
        raise ConfigError(
            f"unfreeze_shares={shares}: shares of the training are needed, ascending, from 0 to "
            "below 1, such as (0.1, 0.3)"
        )


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return list(value) if isinstance(value, tuple) else value
