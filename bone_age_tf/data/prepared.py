"""Training data from a prepared TFDS folder, through tf.data."""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds

from bone_age_tf.data import label_trust, pipeline
from bone_age_tf.settings import Config


@dataclasses.dataclass(frozen=True)
class PreparedData:
    """The training and validation parts of a prepared dataset; see `training.source`.

    Attributes:
        builder: TFDS builder of the prepared dataset.
        parts: see `pipeline.choose_parts`.
    """

    builder: tfds.core.DatasetBuilder
    parts: dict[str, pipeline.Part]

    def labels(self) -> tuple[list[str], np.ndarray, np.ndarray]:
        """Returns ids, sexes and ages of the training and the validation images."""
        tables = [
            pipeline.read_table(self.builder, self.parts[name]) for name in ("train", "validation")
        ]
        return (
            [image_id for table in tables for image_id in table.image_id],
            np.concatenate([table.sex for table in tables]),
            np.concatenate([table.age_months for table in tables]),
        )

    def training_ids(self, config: Config) -> list[str]:
        """Returns the ids of the training images."""
        ids, weights = self._weights(config)
        return [image_id for image_id in ids if weights.get(image_id, 1.0) > 0]

    def training_batches(
        self,
        config: Config,
        stages: Sequence[tuple[int, int]],
        seed: int,
        start_step: int,
        targets_fn: Callable[..., tuple],
    ) -> tf.data.Dataset:
        """Returns infinite shuffled batches, see `pipeline.make_training_dataset`."""
        ids, weights = self._weights(config)
        batches = pipeline.make_training_dataset(
            self.builder,
            self.parts["train"],
            config.image_size_px,
            config.resize,
            config.batch_size,
            seed,
            sum(weights.get(image_id, 1.0) > 0 for image_id in ids),
            start_step=start_step,
            stages=stages,
            trust=weights,
        )
        return batches.map(targets_fn)

    def validation_batches(
        self, config: Config, targets_fn: Callable[..., tuple]
    ) -> tf.data.Dataset:
        """Returns all validation images once, see `pipeline.make_evaluation_dataset`."""
        part = self.parts["validation"]
        batches = pipeline.make_evaluation_dataset(
            self.builder,
            part,
            config.image_size_px,
            config.resize,
            config.batch_size,
            len(pipeline.read_table(self.builder, part)),
        )
        return batches.map(targets_fn)

    def _weights(self, config: Config) -> tuple[list[str], dict[str, float]]:
        table = pipeline.read_table(self.builder, self.parts["train"])
        weights = label_trust.image_weights(config, table.image_id, table.sex, table.age_months)
        return table.image_id, weights
