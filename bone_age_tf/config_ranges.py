"""Ranges of the numeric settings, which are validated when a value is set."""

from collections.abc import Callable, Mapping
from typing import Any, Final

Range = tuple[str, Callable[[float], bool]]
"""Description of a range, and a function that returns whether a value is in it."""

_POSITIVE: Final[Range] = ("above 0", lambda value: value > 0)
_ONE_OR_MORE: Final[Range] = ("1 or more", lambda value: value >= 1)
_ZERO_OR_MORE: Final[Range] = ("0 or more", lambda value: value >= 0)
_SHARE: Final[Range] = ("from 0 to 1", lambda value: 0 <= value <= 1)
_BELOW_ONE: Final[Range] = ("from 0 to below 1", lambda value: 0 <= value < 1)

LEAST_SIDE_PX: Final = 16
"""Minimum image side in pixels, below which a backbone cannot halve the image often enough."""

RANGES: Final[Mapping[str, Range]] = {
    "age_loss_weight": _ZERO_OR_MORE,
    "apart_weight": _ZERO_OR_MORE,
    "augmentation.aspect_fraction": _ZERO_OR_MORE,
    "augmentation.brightness": _SHARE,
    "augmentation.contrast": _SHARE,
    "augmentation.cover": _SHARE,
    "augmentation.crush": ("from 0 to 0.5", lambda value: 0 <= value <= 0.5),
    "augmentation.grain": _SHARE,
    "augmentation.levels": ("0, or from 2 to 256", lambda value: value == 0 or 2 <= value <= 256),
    "augmentation.grey_match": _SHARE,
    "augmentation.magnitude": _SHARE,
    "augmentation.marks": _SHARE,
    "augmentation.mixup": _ZERO_OR_MORE,
    "augmentation.pairing": _SHARE,
    "augmentation.pairing_months": _ZERO_OR_MORE,
    "augmentation.rotation_degrees": ("from 0 to 180", lambda value: 0 <= value <= 180),
    "augmentation.sharpness": _ZERO_OR_MORE,
    "augmentation.shear": _ZERO_OR_MORE,
    "augmentation.shift_fraction": _BELOW_ONE,
    "augmentation.shrink_fraction": _ZERO_OR_MORE,
    "augmentation.tone": _ZERO_OR_MORE,
    "augmentation.zoom_fraction": _BELOW_ONE,
    "balance": _SHARE,
    "base_filters": _ONE_OR_MORE,
    "batch_size": _ONE_OR_MORE,
    "bin_months": ("above 0 and at most 24", lambda value: 0 < value <= 24),
    "calibration_images": _ZERO_OR_MORE,
    "clip_norm": _POSITIVE,
    "dense_units": _ONE_OR_MORE,
    "drop_whole": _BELOW_ONE,
    "dropout": _BELOW_ONE,
    "early_rate": ("above 0 and at most 1", lambda value: 0 < value <= 1),
    "ema_share": _SHARE,
    "epochs": _ZERO_OR_MORE,
    "familiarity_images": _ONE_OR_MORE,
    "holdout_fraction": _BELOW_ONE,
    "huber_months": _POSITIVE,
    "image_size_px": (f"{LEAST_SIDE_PX} or more", lambda value: value >= LEAST_SIDE_PX),
    "jitter": _BELOW_ONE,
    "label_sd_months": _POSITIVE,
    "learning_rate": _POSITIVE,
    "network_px": (
        f"0 for the image's own side, or {LEAST_SIDE_PX} or more",
        lambda value: value == 0 or value >= LEAST_SIDE_PX,
    ),
    "parity_images": _ONE_OR_MORE,
    "part_loss_weight": _ZERO_OR_MORE,
    "part_size_px": (f"{LEAST_SIDE_PX} or more", lambda value: value >= LEAST_SIDE_PX),
    "parts": _ONE_OR_MORE,
    "ranking_loss_weight": _ZERO_OR_MORE,
    "region_px": (f"{LEAST_SIDE_PX} or more", lambda value: value >= LEAST_SIDE_PX),
    "second_view_weight": _ZERO_OR_MORE,
    "sex_units": _ONE_OR_MORE,
    "used_parts": _ONE_OR_MORE,
    "warmup_fraction": _SHARE,
    "weight_decay": _ZERO_OR_MORE,
    "whole_share": _SHARE,
}
"""Ranges by dotted key; a test checks that every numeric setting has one."""


def find_impossible_value(settings: Mapping[str, Any]) -> str | None:
    """Returns a message about the first setting that is out of its range, or None.

    Infinities and NaN are out of every range.

    Args:
        settings: settings by dotted key; settings without a range are ignored.
    """
    for key, value in settings.items():
        if key not in RANGES:
            continue
        words, contains = RANGES[key]
        if not (contains(value) and value < float("inf")):
            return f"{key}={value}: a number {words} is needed"
    return None
