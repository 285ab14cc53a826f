"""How far an image's features lie from those of the images that a model has learned from.

What matters is which features answer, not how strongly all of them do: a page of text leaves most
of them silent, and lies near the mean of hands where strength counts. So the features' shares of
their sum are compared, by their square roots (Hellinger 1909). Of the 191 pictures of
`benchmarks/refusal.py` that are no hands, the shipped network refuses 96 % in this way; by
strength, the network of its first run refused 20 %.

Probabilistic principal components (Tipping and Bishop 1999): along the directions in which the
training images differ most a distance counts by their spread there, across them by what is left
over. What is no hand, or no film, lies across. NumPy only.
"""

import dataclasses
from typing import Final

import numpy as np

DIRECTIONS: Final = 32
HELD_OUT_SHARE: Final = 0.995
"""Of held-out images, this share is within the limit."""
ENOUGH_HELD_OUT: Final = 200
"""Fewer do not tell where that share ends; twice the largest of their distances is the limit."""


@dataclasses.dataclass(frozen=True)
class Familiarity:
    """A model's features [C] in the images that it knows.

    Attributes:
        mean: [C], of roots of shares.
        directions: [C, K] of length 1, at right angles.
        spreads: [K] SD along each.
        rest: root mean square of what lies across all of them.
        limit: distance up to which an image is familiar.
    """

    mean: np.ndarray
    directions: np.ndarray
    spreads: np.ndarray
    rest: float
    limit: float

    def unfamiliarity(self, features: np.ndarray) -> np.ndarray:
        """Returns [N] distances as shares of the limit: above 1 an image is unfamiliar.

        Args:
            features: [N, C], 0 or more.
        """
        centred = _roots_of_shares(features) - self.mean
        along = centred @ self.directions
        across = (centred**2).sum(axis=1) - (along**2).sum(axis=1)
        squared = ((along / self.spreads) ** 2).mean(axis=1) + across / self.rest**2
        return np.sqrt(np.maximum(squared, 0.0)) / self.limit


def fit_familiarity(learned: np.ndarray, held_out: np.ndarray) -> Familiarity:
    """Finds the directions in training images and the limit in held-out ones.

    Args:
        learned: [N, C] features of training images, 0 or more.
        held_out: [M, C] features of images that were not trained on.
    """
    learned = _roots_of_shares(learned)
    mean = learned.mean(axis=0)
    _, singular, rows = np.linalg.svd(learned - mean, full_matrices=False)
    count = min(DIRECTIONS, max(1, len(singular) // 2))
    spreads = np.maximum(singular[:count] / np.sqrt(len(learned)), 1e-6)
    rest = max(float(np.sqrt((singular[count:] ** 2).sum() / len(learned))), 1e-6)
    found = Familiarity(mean, rows[:count].T, spreads, rest, 1.0)
    distances = found.unfamiliarity(held_out)
    if len(distances) < ENOUGH_HELD_OUT:
        limit = 2.0 * float(distances.max())
    else:
        limit = float(np.quantile(distances, HELD_OUT_SHARE))
    return dataclasses.replace(found, limit=max(limit, 1e-6))


def _roots_of_shares(features: np.ndarray) -> np.ndarray:
    features = np.maximum(np.asarray(features, np.float64), 0.0)
    return np.sqrt(features / np.maximum(features.sum(axis=1, keepdims=True), 1e-6))
