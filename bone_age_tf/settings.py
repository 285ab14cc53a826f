"""Types of the settings of a model, for mypy and editors.

At run time a config is an `ml_collections.ConfigDict`; `config.base_config` contains the defaults
and the meaning of each setting. Settings of single models are at the end; a new model reads its
settings as `config["name"]`, or declares them here.
"""

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

import ml_collections

if TYPE_CHECKING:

    class _Settings:
        """The methods of `ml_collections.ConfigDict` that are used here."""

        def __getitem__(self, key: str) -> Any: ...
        def __setitem__(self, key: str, value: Any) -> None: ...
        def __delitem__(self, key: str) -> None: ...
        def __contains__(self, key: object) -> bool: ...
        def __iter__(self) -> Iterator[str]: ...
        def get(self, key: str, default: Any = None) -> Any: ...
        def keys(self) -> list[str]: ...
        def to_dict(self) -> dict[str, Any]: ...
        def update(self, *changes: Mapping[str, Any], **values: Any) -> None: ...
        def lock(self) -> "Config": ...
        def unlocked(self) -> AbstractContextManager[None]: ...
        def copy_and_resolve_references(self) -> "Config": ...

    class Augmentation(_Settings):
        """Settings of the augmentation."""

        policy: str
        flip: bool
        rotation_degrees: float
        shift_fraction: float
        zoom_fraction: float
        contrast: float
        brightness: float
        magnitude: float
        aspect_fraction: float
        shear: float
        shrink_fraction: float
        tone: float
        sharpness: float
        crush: float
        grain: float
        levels: int
        marks: float
        cover: float
        grey_match: float
        pairing: float
        pairing_months: float
        mixup: float

    class Config(_Settings):
        """Settings of a model and its training."""

        model: str
        dataset: str
        # Data
        image_size_px: int
        resize: str
        holdout_fraction: float
        use_validation_split: bool
        leave_out: str
        trust: str
        balance: float
        # Network
        pixels: str
        head: str
        bin_months: float
        label_sd_months: float
        age_loss_weight: float
        regression_loss: str
        huber_months: float
        sex_mode: str
        sex_units: int
        dense_units: int
        dropout: float
        # Initial weights
        init: str
        early_rate: float
        unfreeze_shares: tuple[float, ...]
        # Training
        batch_size: int
        epochs: int
        learning_rate: float
        warmup_fraction: float
        weight_decay: float
        clip_norm: float
        ema_share: float
        stage_scales: tuple[float, ...]
        stage_ends: tuple[float, ...]
        augmentation: Augmentation
        # Export
        calibration_images: int
        parity_images: int
        familiarity_images: int
        # Of some models
        base_filters: int
        batch_norm: bool
        compatibility: str
        local_contrast: bool
        network_px: int
        # Of bonewise
        drop_whole: float
        jitter: float
        region_px: int
        train_whole: bool
        whole_share: float
        # Of prsnet
        apart_weight: float
        part_loss_weight: float
        part_size_px: int
        parts: int
        ranking_loss_weight: float
        relation: bool
        second_view_weight: float
        selection: bool
        used_parts: int

else:
    Augmentation = Config = ml_collections.ConfigDict
