"""Training of the network that checks films before they are read."""

import dataclasses
import math
import sys
from typing import Any

import keras
import numpy as np

from bone_age_tf import schema
from bone_age_tf.quality.network import SIZE_PX, build_film_check
from bone_age_tf.quality.samples import FilmSamples, make_film_samples
from bone_age_tf.tensors import Tensor
from bone_age_tf.training.fused_norm import fuse_batch_norms

BATCH = 64
REFUSED_SHARE = 0.0025
"""Of whole hands that the training has not seen, this share is to be refused."""
_SAMPLES_A_BATCH_OF_TESTS = 500


class FilmBatches(keras.utils.PyDataset):
    """Batches for `fit`; the same seed, epoch length and place give the same batch.

    Args:
        hands: [N, S, S] uint8, upright left hands.
        batches: an epoch.
        seed: of every choice.
    """

    def __init__(self, hands: np.ndarray, batches: int, seed: int):
        super().__init__()
        self.hands, self.batches, self.seed = hands, batches, seed

    def __len__(self) -> int:
        return self.batches

    def __getitem__(self, place: Tensor) -> tuple[Any, ...]:
        random = np.random.default_rng([self.seed, place])
        samples = make_film_samples(self.hands, BATCH, SIZE_PX, random)
        targets = {
            schema.FILM_KIND: samples.kind,
            schema.FILM_POSE: np.maximum(samples.pose, 0),
            schema.FILM_INVERTED: np.maximum(samples.inverted, 0)[:, None],
        }
        # What cannot be told weighs nothing.
        weights = {
            schema.FILM_KIND: np.ones(BATCH, np.float32),
            schema.FILM_POSE: (samples.pose >= 0).astype(np.float32),
            schema.FILM_INVERTED: (samples.inverted >= 0).astype(np.float32),
        }
        return samples.images, targets, weights


@dataclasses.dataclass(frozen=True)
class FilmFigures:
    """How well films are checked, on hands that the training has not seen.

    Attributes:
        samples: films drawn.
        hand_threshold: a film with a lower probability of a whole hand is refused.
        hands_refused: share of whole hands.
        refused: share of each other kind, by its name.
        poses_right: share of whole hands whose pose is told rightly.
        inversions_right: the same for dark bones.
    """

    samples: int
    hand_threshold: float
    hands_refused: float
    refused: dict[str, float]
    poses_right: float
    inversions_right: float


def train_film_check(hands: np.ndarray, steps: int, seed: int) -> keras.Model:
    """Trains the network.

    Args:
        hands: [N, S, S] uint8, upright left hands, each stretched to a square.
        steps: batches of `BATCH`.
        seed: of the weights and of every sample.
    """
    keras.utils.set_random_seed(seed)
    network = build_film_check()
    fuse_batch_norms(network)
    warmup = max(1, steps // 20)
    rate = keras.optimizers.schedules.CosineDecay(
        0.0, max(1, steps - warmup), alpha=0.01, warmup_target=2e-3, warmup_steps=warmup
    )
    optimizer = keras.optimizers.AdamW(rate, weight_decay=1e-3, global_clipnorm=1.0)
    optimizer.build(network.trainable_variables)
    losses = {
        schema.FILM_KIND: "sparse_categorical_crossentropy",
        schema.FILM_POSE: "sparse_categorical_crossentropy",
        schema.FILM_INVERTED: "binary_crossentropy",
    }
    network.compile(optimizer, losses, weighted_metrics={name: ["accuracy"] for name in losses})
    network.fit(
        FilmBatches(hands, steps, seed), shuffle=False, verbose=1 if sys.stdout.isatty() else 2
    )
    return network


def measure_film_check(
    network: keras.Model, hands: np.ndarray, count: int, seed: int
) -> FilmFigures:
    """Measures the network on films drawn from other hands, and sets its threshold.

    Args:
        network: trained.
        hands: [N, S, S] uint8, none of which it was trained on.
        count: films to draw.
        seed: of the films.
    """
    random = np.random.default_rng([seed, 10**9])
    batches: list[tuple[FilmSamples, dict]] = []
    for _ in range(math.ceil(count / _SAMPLES_A_BATCH_OF_TESTS)):
        samples = make_film_samples(hands, _SAMPLES_A_BATCH_OF_TESTS, SIZE_PX, random)
        batches.append((samples, network.predict(samples.images, verbose=0)))
    kind = np.concatenate([samples.kind for samples, _ in batches])
    pose = np.concatenate([samples.pose for samples, _ in batches])
    dark = np.concatenate([samples.inverted for samples, _ in batches])
    said = {
        name: np.concatenate([outputs[name] for _, outputs in batches]) for name in batches[0][1]
    }
    whole = said[schema.FILM_KIND][:, 0]
    threshold = float(np.quantile(whole[kind == 0], REFUSED_SHARE))
    refused = whole < threshold
    told_dark = said[schema.FILM_INVERTED][:, 0] > 0.5
    return FilmFigures(
        len(kind),
        threshold,
        float(refused[kind == 0].mean()),
        {
            name: float(refused[kind == place].mean())
            for place, name in enumerate(schema.FILM_KINDS)
            if place
        },
        float((said[schema.FILM_POSE].argmax(axis=1) == pose)[kind == 0].mean()),
        float((told_dark == (dark > 0.5))[kind == 0].mean()),
    )
