"""Losses of the predictions of parts, and of the order of their scores."""

from collections.abc import Mapping
from typing import Any

import keras
from keras import ops

from bone_age_tf import schema
from bone_age_tf.settings import Config
from bone_age_tf.tensors import Tensor

_OF_PARTS = {
    schema.AGE_MONTHS: (schema.PART_AGES, schema.GLOBAL_AGE),
    schema.DISTRIBUTION: (schema.PART_DISTRIBUTIONS, schema.GLOBAL_DISTRIBUTION),
}
_OF_REGIONS = {
    schema.AGE_MONTHS: (schema.REGION_AGES, schema.GLOBAL_AGE),
    schema.DISTRIBUTION: (schema.REGION_DISTRIBUTIONS, schema.GLOBAL_DISTRIBUTION),
}
"""Outputs of the parts, or regions, and of the whole image that have the same loss as an output of
the head."""


def add_losses(config: Config, losses: dict[str, Any], weights: dict[str, Any]) -> None:
    """Adds the losses of the parts, of the whole image, and of the ranking.

    Args:
        config: the model's config; `selection`, `part_loss_weight`, `ranking_loss_weight`, `head`.
        losses: losses of the head by output name; changed in place.
        weights: weights of the losses; changed in place.
    """
    if not config.selection:
        return
    _repeat(_OF_PARTS, config, losses, weights)
    ranked = schema.AGE_MONTHS if config.head == "regression" else schema.DISTRIBUTION
    losses[schema.PART_RANKING] = RankingLoss(losses[ranked])
    weights[schema.PART_RANKING] = config.ranking_loss_weight


def add_region_losses(config: Config, losses: dict[str, Any], weights: dict[str, Any]) -> None:
    """Adds the losses of the regions and of the whole image; see `add_losses`."""
    _repeat(_OF_REGIONS, config, losses, weights)


def _repeat(
    names: Mapping[str, tuple[str, ...]],
    config: Config,
    losses: dict[str, Any],
    weights: dict[str, Any],
) -> None:
    for name, loss in list(losses.items()):
        for name_of_part in names[name]:
            losses[name_of_part] = loss
            weights[name_of_part] = weights[name] * config.part_loss_weight


def part_weights(config: Config) -> tuple[float, float] | None:
    """Returns the weights of the losses on boxes (second view and distance), or None."""
    return (config.second_view_weight, config.apart_weight) if config.selection else None


class RankingLoss(keras.losses.Loss):
    """Loss of the order of the parts' scores, which should be that of their confidences.

    A part's confidence is the negative of its loss. Each pair in which part j has a larger loss
    than part i costs max(0, 1 - s_i + s_j) (NTS-Net; Yang et al. 2018, arXiv 1809.00287). The
    losses are treated as constants, so that only the scores have a gradient.

    Args:
        of_part: loss of a part's prediction.
    """

    def __init__(self, of_part: keras.losses.Loss, name: str = "ranking_loss") -> None:
        super().__init__(name=name, dtype="float32")
        self.of_part = of_part

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        """Maps ages [B, 1] and `part_ranking` [B, K, 1 + C], scores and predictions, to [B]."""
        scores, predictions = y_pred[..., 0], ops.stop_gradient(y_pred[..., 1:])
        lost = self.of_part.call(beside(y_true, predictions), predictions)
        worse = ops.cast(lost[:, None, :] > lost[:, :, None], "float32")
        hinges = ops.maximum(1.0 - scores[:, :, None] + scores[:, None, :], 0.0)
        pairs = ops.maximum(ops.sum(worse, axis=(1, 2)), 1.0)
        return ops.sum(worse * hinges, axis=(1, 2)) / pairs


def beside(y_true: Tensor, y_pred: Tensor) -> Tensor:
    """Reshapes ages [B, 1] to the number of axes of the probabilities, with length 1."""
    return ops.reshape(ops.cast(y_true, "float32"), (-1, *[1] * (len(y_pred.shape) - 1)))
