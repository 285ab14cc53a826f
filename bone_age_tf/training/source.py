"""What a training asks of its data, whichever files they come from."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np

from bone_age_tf.settings import Config

TargetsFn = Callable[..., tuple]
"""From inputs, ages [B, 1] and, where images differ in weight, weights [B], to what `fit` takes."""


class TrainingData(Protocol):
    """Images that train a network and images that choose its checkpoint."""

    def labels(self) -> tuple[list[str], np.ndarray, np.ndarray]:
        """Returns N ids, sexes [N] and ages in months [N] of all training and validation images."""

    def training_ids(self, config: Config) -> list[str]:
        """Returns the ids of the images that train, without those that the config leaves out.

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
        """Returns shuffled, full batches without end, in an order that the seed decides.

        Args:
            config: image size, resizing, batch size and weights of the images.
            stages: (first step, side in pixels), ascending; empty for the size of the config.
            seed: of the order.
            start_step: batches that are left out at the start.
            targets_fn: applied to each batch.

        Returns:
            What `keras.Model.fit` takes.
        """

    def validation_batches(self, config: Config, targets_fn: TargetsFn) -> Any:
        """Returns each validation image once, in a fixed order."""
