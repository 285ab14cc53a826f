"""Interface between training and its data."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np

from bone_age_tf.settings import Config

TargetsFn = Callable[..., tuple]
"""Maps inputs, ages [B, 1] and, if images have weights, weights [B] to the arguments of `fit`."""


class TrainingData(Protocol):
    """Training images and validation images, by which the checkpoint is chosen."""

    def labels(self) -> tuple[list[str], np.ndarray, np.ndarray]:
        """Returns N ids, sexes [N] and ages in months [N] of all training and validation images."""

    def training_ids(self, config: Config) -> list[str]:
        """Returns the ids of the training images, without those that the config excludes.

        Raises:
            ConfigError: a table that the config names cannot be used.
        """

    def training_batches(
        self,
        config: Config,
        stages: Sequence[tuple[int, int]],
        seed: int,
        start_step: int,
        targets_fn: TargetsFn,
    ) -> Any:
        """Returns infinite shuffled batches, all full, in an order that depends on the seed.

        Args:
            config: image size, resize mode, batch size and weights of the images.
            stages: (first step, side in pixels), ascending; empty for the size of the config.
            seed: seed of the order.
            start_step: number of batches to skip.
            targets_fn: function that is applied to each batch.

        Returns:
            Data for `keras.Model.fit`.
        """

    def validation_batches(self, config: Config, targets_fn: TargetsFn) -> Any:
        """Returns all validation images once, in a fixed order."""
