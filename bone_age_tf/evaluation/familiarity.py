"""Distance of an image's features from those of the training images.

The pattern of the features is compared, not their strength: a page of text activates few features,
and is close to the mean of hands when strength is compared. Each feature is therefore divided by
the sum of all features, and the square roots of these shares are compared (Hellinger 1909). Of the
191 pictures without a hand in `benchmarks/refusal.py`, the shipped network rejects 98 % by this
distance; by strength, the network of its first run rejected 20 %.

The distance is that of probabilistic principal components (Tipping and Bishop 1999): along the
main directions of the training images, deviations are divided by the SD in that direction, and
perpendicular to them by the residual SD. Images that are not radiographs of a hand deviate in
perpendicular directions. NumPy only.
"""

import dataclasses
from typing import Final

import numpy as np

DIRECTIONS: Final = 32
HELD_OUT_SHARE: Final = 0.995
SLACK: Final = 1.5
"""The limit is this multiple of the distance within which that share of the held-out images lies.

Noise, strong compression and poor exposures of hands that are read well lie between one and 1.5
times that distance (`benchmarks/stress.py`); pictures without a hand mostly lie farther away, and
the quality check rejects them before."""
ENOUGH_HELD_OUT: Final = 200
"""Minimum number of held-out images for that quantile; with fewer, the limit is twice the largest
of their distances."""


@dataclasses.dataclass(frozen=True)
class Familiarity:
    """Distribution of a model's features [C] over the training images.

    Attributes:
        mean: [C] mean of the square roots of the features' shares.
        directions: [C, K] orthonormal main directions.
        spreads: [K] SD along each direction.
        rest: root mean square of the deviations perpendicular to all directions.
        limit: distance up to which an image is familiar.
    """

    mean: np.ndarray
    directions: np.ndarray
    spreads: np.ndarray
    rest: float
    limit: float

    def unfamiliarity(self, features: np.ndarray) -> np.ndarray:
        """Returns [N] distances as fractions of the limit; an image above 1 is unfamiliar.

        Args:
            features: [N, C], not negative.
        """
        centred = _roots_of_shares(features) - self.mean
        along = centred @ self.directions
        across = (centred**2).sum(axis=1) - (along**2).sum(axis=1)
        squared = ((along / self.spreads) ** 2).mean(axis=1) + across / self.rest**2
        return np.sqrt(np.maximum(squared, 0.0)) / self.limit


def fit_familiarity(learned: np.ndarray, held_out: np.ndarray) -> Familiarity:
    """Fits the directions to training images and the limit to held-out images.

    Args:
        learned: [N, C] features of training images, not negative.
        held_out: [M, C] features of held-out images.
    """
    learned = _roots_of_shares(learned)
    mean = learned.mean(axis=0)
    _, singular, rows = np.linalg.svd(learned - mean, full_matrices=False)
    count = min(DIRECTIONS, max(1, len(singular) // 2))
    spreads = np.maximum(singular[:count] / np.sqrt(len(learned)), 1e-6)
    rest = max(float(np.sqrt((singular[count:] ** 2).sum() / len(learned))), 1e-6)
    familiarity = Familiarity(mean, rows[:count].T, spreads, rest, 1.0)
    distances = familiarity.unfamiliarity(held_out)
    if len(distances) < ENOUGH_HELD_OUT:
        limit = 2.0 * float(distances.max())
    else:
        limit = SLACK * float(np.quantile(distances, HELD_OUT_SHARE))
    return dataclasses.replace(familiarity, limit=max(limit, 1e-6))


def _roots_of_shares(features: np.ndarray) -> np.ndarray:
    features = np.maximum(np.asarray(features, np.float64), 0.0)
    return np.sqrt(features / np.maximum(features.sum(axis=1, keepdims=True), 1e-6))
