"""Losses on ages in months."""

import keras
import ml_collections
from keras import ops

from bone_age_tf import schema
from bone_age_tf.errors import require_known

REGRESSION_LOSSES = ("l1", "l2", "huber")
_SAME_PULL_MONTHS = 12.0
"""Squared errors are scaled so that one of this size pulls as hard as an absolute error does."""


class DistributionLoss(keras.losses.Loss):
    """Kullback-Leibler divergence from a Gaussian around the true age to the predicted one.

    The label distribution of DLDL-v2 (Gao et al. 2018, arXiv 1807.09107): a reading of 120 months
    says that 118 is nearly as right.

    Args:
        bin_months: width of a bin; the first begins at 0 months.
        label_sd_months: standard deviation of the Gaussian.
    """

    def __init__(self, bin_months: float, label_sd_months: float, name="distribution_loss"):
        super().__init__(name=name, dtype="float32")
        self.bin_months = bin_months
        self.label_sd_months = label_sd_months

    def call(self, y_true, y_pred):
        """From ages [B, 1] in months and probabilities [B, ..., K] to [B, ...], in nats."""
        y_true = _beside(y_true, y_pred)
        centres = (ops.arange(y_pred.shape[-1], dtype="float32") + 0.5) * self.bin_months
        soft_logits = -0.5 * ops.square((centres - y_true) / self.label_sd_months)
        target = ops.softmax(soft_logits, axis=-1)
        log_target = ops.log_softmax(soft_logits, axis=-1)
        log_predicted = ops.log(ops.clip(y_pred, 1e-8, 1.0))
        return ops.sum(target * (log_target - log_predicted), axis=-1)


class BinLoss(keras.losses.Loss):
    """Cross-entropy with the one bin that holds the true age.

    Args:
        bin_months: width of a bin; the first begins at 0 months and each holds its upper edge.
    """

    def __init__(self, bin_months: float, name="bin_loss"):
        super().__init__(name=name, dtype="float32")
        self.bin_months = bin_months

    def call(self, y_true, y_pred):
        """From ages [B, 1] in months and probabilities [B, ..., K] to [B, ...], in nats."""
        bins = y_pred.shape[-1]
        ages = _beside(y_true, y_pred)[..., 0]
        place = ops.clip(ops.ceil(ages / self.bin_months) - 1, 0, bins - 1)
        target = ops.one_hot(ops.cast(place, "int32"), bins, dtype="float32")
        return -ops.sum(target * ops.log(ops.clip(y_pred, 1e-8, 1.0)), axis=-1)


def _beside(y_true, y_pred):
    """Returns ages [B, 1] with as many axes as the probabilities, all others of length 1."""
    return ops.reshape(ops.cast(y_true, "float32"), (-1, *[1] * (len(y_pred.shape) - 1)))


class RankingLoss(keras.losses.Loss):
    """Brings the scores of parts into the order of their confidences.

    A part's confidence is the negative of its loss. Each pair in which part j loses more than part
    i costs max(0, 1 - s_i + s_j) (NTS-Net; Yang et al. 2018, arXiv 1809.00287). The losses are
    given, so the gradient reaches the scores alone.

    Args:
        of_part: loss of what a part says.
    """

    def __init__(self, of_part: keras.losses.Loss, name="ranking_loss"):
        super().__init__(name=name, dtype="float32")
        self.of_part = of_part

    def call(self, y_true, y_pred):
        """From ages [B, 1] and `part_ranking` [B, K, 1 + C], scores and what is said, to [B]."""
        scores, said = y_pred[..., 0], ops.stop_gradient(y_pred[..., 1:])
        lost = self.of_part.call(_beside(y_true, said), said)
        worse = ops.cast(lost[:, None, :] > lost[:, :, None], "float32")
        hinges = ops.maximum(1.0 - scores[:, :, None] + scores[:, None, :], 0.0)
        pairs = ops.maximum(ops.sum(worse, axis=(1, 2)), 1.0)
        return ops.sum(worse * hinges, axis=(1, 2)) / pairs


def build_losses(config: ml_collections.ConfigDict) -> tuple[dict, dict]:
    """Returns losses and their weights by output name; None for an output that has a metric only.

    Those of the head that the config names; where the model selects parts, the same for what each
    part and the whole image say by themselves, and the ranking.

    Raises:
        ConfigError: `regression_loss` is unknown.
    """
    losses, weights = _head_losses(config)
    if config.get("selection", False):
        for name, loss in list(losses.items()):
            for other in _OF_PARTS[name]:
                losses[other] = loss
                weights[other] = weights[name] * config.part_loss_weight
        said = schema.AGE_MONTHS if config.head == "regression" else schema.DISTRIBUTION
        losses[schema.PART_RANKING] = RankingLoss(losses[said])
        weights[schema.PART_RANKING] = config.ranking_loss_weight
    return losses, weights


_OF_PARTS = {
    schema.AGE_MONTHS: (schema.PART_AGES, schema.GLOBAL_AGE),
    schema.DISTRIBUTION: (schema.PART_DISTRIBUTIONS, schema.GLOBAL_DISTRIBUTION),
}


def _head_losses(config: ml_collections.ConfigDict) -> tuple[dict, dict]:
    if config.head == "regression":
        require_known("regression_loss", config.regression_loss, REGRESSION_LOSSES)
        loss, weight = {
            "l1": (keras.losses.MeanAbsoluteError(), 1.0),
            "l2": (keras.losses.MeanSquaredError(), 0.5 / _SAME_PULL_MONTHS),
            "huber": (keras.losses.Huber(config.huber_months), 1.0 / config.huber_months),
        }[config.regression_loss]
        return {schema.AGE_MONTHS: loss}, {schema.AGE_MONTHS: weight}
    if config.head == "classification":
        # The age has a metric and no loss of its own.
        losses = {schema.AGE_MONTHS: None, schema.DISTRIBUTION: BinLoss(config.bin_months)}
        return losses, {schema.AGE_MONTHS: 0.0, schema.DISTRIBUTION: 1.0}
    losses = {
        schema.AGE_MONTHS: keras.losses.MeanAbsoluteError(),
        schema.DISTRIBUTION: DistributionLoss(config.bin_months, config.label_sd_months),
    }
    return losses, {schema.AGE_MONTHS: config.age_loss_weight, schema.DISTRIBUTION: 1.0}
