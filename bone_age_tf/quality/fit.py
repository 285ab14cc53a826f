"""Trains and measures the network of the quality check."""

import dataclasses
import math
import sys
from typing import Any

import keras
import numpy as np

from bone_age_tf import schema
from bone_age_tf.quality.network import SIZE_PX, build_quality_network
from bone_age_tf.quality.samples import QualitySamples, make_quality_samples
from bone_age_tf.tensors import Tensor
from bone_age_tf.training.fused_norm import fuse_batch_norms

BATCH = 64
"""Number of samples in a training batch."""
REFUSED_SHARE = 0.0025
"""Share of held-out whole hands that the threshold rejects."""
_TEST_BATCH = 500
"""Number of samples in a batch of the measurement."""


class QualityBatches(keras.utils.PyDataset):
    """Batches for `fit`; the seed and the batch index determine a batch.

    Args:
        hands: [N, S, S] uint8, upright left hands.
        batches: number of batches in an epoch.
        seed: seed of every random choice.
    """

    def __init__(self, hands: np.ndarray, batches: int, seed: int):
        super().__init__()
        self.hands, self.batches, self.seed = hands, batches, seed

    def __len__(self) -> int:
        return self.batches

    def __getitem__(self, place: Tensor) -> tuple[Any, ...]:
        random = np.random.default_rng([self.seed, place])
        samples = make_quality_samples(self.hands, BATCH, SIZE_PX, random)
        targets = {
            schema.IMAGE_KIND: samples.kind,
            schema.POSE: np.maximum(samples.pose, 0),
            schema.INVERTED: np.maximum(samples.inverted, 0)[:, None],
        }
        # An undefined label has the weight 0.
        weights = {
            schema.IMAGE_KIND: np.ones(BATCH, np.float32),
            schema.POSE: (samples.pose >= 0).astype(np.float32),
            schema.INVERTED: (samples.inverted >= 0).astype(np.float32),
        }
        return samples.images, targets, weights


@dataclasses.dataclass(frozen=True)
class QualityFigures:
    """Accuracy of the quality check on samples of held-out hands.

    Attributes:
        samples: number of samples.
        hand_threshold: probability of a whole hand below which an image is rejected.
        hands_refused: share of the whole hands that are rejected.
        refused: share of each other kind that is rejected, by name of the kind.
        poses_right: share of the whole hands whose pose is predicted correctly.
        inversions_right: share of the whole hands whose inversion is predicted correctly.
    """

    samples: int
    hand_threshold: float
    hands_refused: float
    refused: dict[str, float]
    poses_right: float
    inversions_right: float


def train_quality_check(hands: np.ndarray, steps: int, seed: int) -> keras.Model:
    """Trains the network of the quality check.

    Args:
        hands: [N, S, S] uint8, upright left hands, each stretched to a square.
        steps: number of training steps with batches of `BATCH`.
        seed: seed of the initial weights and of the samples.
    """
    keras.utils.set_random_seed(seed)
    network = build_quality_network()
    fuse_batch_norms(network)
    warmup = max(1, steps // 20)
    rate = keras.optimizers.schedules.CosineDecay(
        0.0, max(1, steps - warmup), alpha=0.01, warmup_target=2e-3, warmup_steps=warmup
    )
    optimizer = keras.optimizers.AdamW(rate, weight_decay=1e-3, global_clipnorm=1.0)
    optimizer.build(network.trainable_variables)
    losses = {
        schema.IMAGE_KIND: "sparse_categorical_crossentropy",
        schema.POSE: "sparse_categorical_crossentropy",
        schema.INVERTED: "binary_crossentropy",
    }
    network.compile(optimizer, losses, weighted_metrics={name: ["accuracy"] for name in losses})
    network.fit(
        QualityBatches(hands, steps, seed), shuffle=False, verbose=1 if sys.stdout.isatty() else 2
    )
    return network


def measure_quality_check(
    network: keras.Model, hands: np.ndarray, count: int, seed: int
) -> QualityFigures:
    """Measures the network on samples of held-out hands and determines its threshold.

    Args:
        network: the trained network.
        hands: [N, S, S] uint8, hands that are not in the training data.
        count: number of samples.
        seed: seed of the samples.
    """
    random = np.random.default_rng([seed, 10**9])
    batches: list[tuple[QualitySamples, dict]] = []
    for _ in range(math.ceil(count / _TEST_BATCH)):
        samples = make_quality_samples(hands, _TEST_BATCH, SIZE_PX, random)
        batches.append((samples, network.predict(samples.images, verbose=0)))
    kind = np.concatenate([samples.kind for samples, _ in batches])
    pose = np.concatenate([samples.pose for samples, _ in batches])
    dark = np.concatenate([samples.inverted for samples, _ in batches])
    outputs_by_name = {
        name: np.concatenate([outputs[name] for _, outputs in batches]) for name in batches[0][1]
    }
    whole = outputs_by_name[schema.IMAGE_KIND][:, 0]
    threshold = float(np.quantile(whole[kind == 0], REFUSED_SHARE))
    refused = whole < threshold
    predicted_dark = outputs_by_name[schema.INVERTED][:, 0] > 0.5
    return QualityFigures(
        len(kind),
        threshold,
        float(refused[kind == 0].mean()),
        {
            name: float(refused[kind == place].mean())
            for place, name in enumerate(schema.IMAGE_KINDS)
            if place
        },
        float((outputs_by_name[schema.POSE].argmax(axis=1) == pose)[kind == 0].mean()),
        float((predicted_dark == (dark > 0.5))[kind == 0].mean()),
    )
