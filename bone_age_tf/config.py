"""Configs: settings of each model, validated overrides, and the saved config of each run."""

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
"""Settings of earlier versions by group; they are ignored in saved configs."""


def base_config() -> Config:
    """Returns the default settings, which the file of a model changes as needed."""
    config = ml_collections.ConfigDict()
    # Data
    config.image_size_px = 128
    # How radiographs become squares: pad, stretch for images that are already stretched, or frame
    # for the hand that the region detector finds, upright, cropped and left-handed
    config.resize = "pad"
    config.holdout_fraction = 0.1
    config.use_validation_split = True
    # Tables that --mode=audit writes: images to exclude from training, and trust in labels
    config.leave_out = ""
    config.trust = ""
    # Weight of rare ages of a sex: 0 as frequent as they are, 1 as if all were equally frequent
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
    # Sex encoding: concat, modulate or off
    config.sex_mode = "concat"
    config.sex_units = 32
    config.dense_units = 256
    config.dropout = 0.2
    # Initial weights: random, imagenet, the folder of a run, or a .keras file; several, separated
    # by commas, are averaged
    config.init = "random"
    # Factor of the learning rate of the first layer; it rises to 1 at the end of the backbone
    config.early_rate = 1.0
    # Shares of the training after which groups of the backbone are trained, the last group first
    config.unfreeze_shares = ()
    # Training
    config.batch_size = 32
    config.epochs = 20  # 0: no training, the initial weights are kept
    config.learning_rate = 1e-3
    config.warmup_fraction = 0.1
    config.weight_decay = 1e-4
    config.clip_norm = 1.0
    # Saved weights are averaged over this share of all steps. Batch-norm statistics follow the
    # newest weights, so that a longer average over changing weights does not match them.
    config.ema_share = 0.02
    # Side of the training images as a share of image_size_px, and the share of training up to
    # which it is used. Empty: image_size_px throughout.
    config.stage_scales = ()
    config.stage_ends = ()
    config.augmentation = _augmentation()
    # Export
    config.calibration_images = 200
    config.parity_images = 200
    # Number of training images to which the distance of unfamiliar images is fitted for exports
    config.familiarity_images = 4000
    return config


def _augmentation() -> Augmentation:
    """Returns the settings of the augmentation."""
    config = ml_collections.ConfigDict()
    config.policy = "standard"
    config.flip = True
    config.rotation_degrees = 15.0
    config.shift_fraction = 0.06
    config.zoom_fraction = 0.12
    config.contrast = 0.3
    config.brightness = 0.15
    config.magnitude = 0.3
    # Only for the policy "films"
    config.aspect_fraction = 0.15
    config.shear = 0.1
    config.shrink_fraction = 0.0  # as zoom_fraction, for smaller hands; 0: as zoom_fraction
    config.tone = 1.0
    config.sharpness = 0.7
    config.crush = 0.0  # maximum share of greys clipped to black; half of it to white
    config.grain = 0.0  # maximum SD of the noise as a fraction of the range of greys
    config.levels = 0  # fewest grey levels of an image; their number is log-uniform up to 256
    config.marks = 0.0  # share of images with added marks
    config.cover = 0.3
    # For every policy except "none": share of images whose histogram is matched to another image
    config.grey_match = 0.0
    # For every policy: share of images that are averaged with an image of the same sex and nearly
    # the same age, or alpha of MixUp, which also mixes ages
    config.pairing = 0.0
    config.pairing_months = 6.0
    config.mixup = 0.0
    return config


def minutes_on_two_cores(config: Config, dataset: str) -> None:
    """Sets a training of minutes (phantoms) or an hour (RSNA) on two CPU cores.

    Training begins with small images, which are cheap. A network that was trained at one size
    performs badly at another, so the full size follows while the learning rate is still high enough
    to adapt.
    """
    if dataset == "hand_phantom":
        config.image_size_px = 64
        config.batch_size = 16
        config.epochs = 5
        config.stage_scales = (0.625, 1.0)
        config.stage_ends = (0.7, 1.0)
    elif dataset == "rsna_bone_age":
        config.image_size_px = 100
        # The published validation labels are single readings and noisier than the test labels.
        # They are used neither for training nor for the choice of the checkpoint.
        config.use_validation_split = False
        config.epochs = 6
        config.stage_scales = (0.64, 1.0)
        config.stage_ends = (0.55, 1.0)
        config.warmup_fraction = 0.05
    else:
        return
    # Both datasets show upright left hands.
    config.augmentation.flip = False
    config.augmentation.rotation_degrees = 10.0


def load_config(model: str, dataset: str, overrides: Sequence[tuple[str, str]] = ()) -> Config:
    """Resolves the config of a model for a dataset.

    Args:
        model: a key of `MODELS`.
        dataset: one of `DATASETS`; a model may have different settings for it.
        overrides: pairs of key and text, as in `--config.augmentation.policy=strong`.

    Raises:
        ConfigError: a name or key is unknown, or a value has another type.
    """
    require_known("model", model, MODELS)
    require_known("dataset", dataset, schema.DATASETS)
    config = _model_config(model, dataset)
    config.model = model
    config.dataset = dataset
    config.lock()
    for key, text in overrides:
        _override(config, key, text)
    if config.init == "imagenet":  # as the ImageNet weights were trained
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
    """Returns a copy without transfer: random initial weights and one learning rate."""
    changed = config.copy_and_resolve_references()
    changed.update(init="random", early_rate=1.0, unfreeze_shares=())
    return changed.lock()


def flat(config: Config, prefix: str = "") -> dict[str, Any]:
    """Returns all settings by their dotted keys."""
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
    """Reads a file that `save_config` wrote.

    Settings that are newer than the file have their defaults.

    Raises:
        ConfigError: the file is missing, not a config, or has a resize mode that this version does
            not support; the message names the file.
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
    """Converts flat settings, such as those in an export's metadata, to a config.

    Settings that are newer than the metadata have their defaults.

    Raises:
        ConfigError: the model is unknown, or the resize mode is not supported by this version.
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
    """Returns saved settings with defaults for newer settings and without removed settings."""
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
    mode = config.get("resize", schema.INPUT_MODES[0])
    if mode not in schema.INPUT_MODES:
        raise ConfigError(f"resize is {mode!r}; known: {', '.join(schema.INPUT_MODES)}")


def _check_stages(config: Config) -> None:
    scales, ends = config.stage_scales, config.stage_ends
    ascending = all(list(shares) == sorted(set(shares)) for shares in (scales, ends))
    positive = all(share > 0 for share in (*scales, *ends))
    whole = not scales or (scales[-1] == 1 and ends[-1:] == (1,))
    if len(scales) != len(ends) or not (ascending and positive and whole):
        raise ConfigError(
            f"stage_scales={scales} and stage_ends={ends}: both need the same number of "
            "ascending values, above 0 and up to 1, such as (0.6, 1) and (0.7, 1)"
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
