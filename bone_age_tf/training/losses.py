"""Losses on ages in months."""

import keras
from keras import ops

from bone_age_tf import schema
from bone_age_tf.errors import require_known
from bone_age_tf.models.build import model_traits
from bone_age_tf.models.part_losses import beside
from bone_age_tf.settings import Config
from bone_age_tf.tensors import Tensor

REGRESSION_LOSSES = ("l1", "l2", "huber")
_SAME_PULL_MONTHS = 12.0
"""Error in months at which the scaled squared error has the same gradient as the absolute error."""


class DistributionLoss(keras.losses.Loss):
    """Kullback-Leibler divergence of the predicted distribution from a Gaussian at the true age.

    This is the label distribution of DLDL-v2 (Gao et al. 2018, arXiv 1807.09107): for a label of
    120 months, 118 months are nearly as likely.

    Args:
        bin_months: width of a bin; the first begins at 0 months.
        label_sd_months: standard deviation of the Gaussian.
    """

    def __init__(
        self, bin_months: float, label_sd_months: float, name: str = "distribution_loss"
    ) -> None:
        super().__init__(name=name, dtype="float32")
        self.bin_months = bin_months
        self.label_sd_months = label_sd_months

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        """Maps ages [B, 1] in months and probabilities [B, ..., K] to [B, ...], in nats."""
        y_true = beside(y_true, y_pred)
        centres = (ops.arange(y_pred.shape[-1], dtype="float32") + 0.5) * self.bin_months
        soft_logits = -0.5 * ops.square((centres - y_true) / self.label_sd_months)
        target = ops.softmax(soft_logits, axis=-1)
        log_target = ops.log_softmax(soft_logits, axis=-1)
        log_predicted = ops.log(ops.clip(y_pred, 1e-8, 1.0))
        return ops.sum(target * (log_target - log_predicted), axis=-1)


class BinLoss(keras.losses.Loss):
    """Cross-entropy with the bin that contains the true age.

    Args:
        bin_months: width of a bin in months; the first begins at 0 months, and each includes its
            upper edge.
    """

    def __init__(self, bin_months: float, name: str = "bin_loss") -> None:
        super().__init__(name=name, dtype="float32")
        self.bin_months = bin_months

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        """Maps ages [B, 1] in months and probabilities [B, ..., K] to [B, ...], in nats."""
        bins = y_pred.shape[-1]
        ages = beside(y_true, y_pred)[..., 0]
        place = ops.clip(ops.ceil(ages / self.bin_months) - 1, 0, bins - 1)
        target = ops.one_hot(ops.cast(place, "int32"), bins, dtype="float32")
        return -ops.sum(target * ops.log(ops.clip(y_pred, 1e-8, 1.0)), axis=-1)


def build_losses(config: Config) -> tuple[dict, dict]:
    """Returns losses and their weights by output name; None for an output that has a metric only.

    They are the losses of the head in the config, and those that the model's file adds.

    Raises:
        ConfigError: `regression_loss` is unknown.
    """
    losses, weights = _head_losses(config)
    add_losses = model_traits(config.get("model", "")).add_losses
    if add_losses is not None:
        add_losses(config, losses, weights)
    return losses, weights


def _head_losses(config: Config) -> tuple[dict, dict]:
    if config.head == "regression":
        require_known("regression_loss", config.regression_loss, REGRESSION_LOSSES)
        loss, weight = {
            "l1": (keras.losses.MeanAbsoluteError(), 1.0),
            "l2": (keras.losses.MeanSquaredError(), 0.5 / _SAME_PULL_MONTHS),
            "huber": (keras.losses.Huber(config.huber_months), 1.0 / config.huber_months),
        }[config.regression_loss]
        return {schema.AGE_MONTHS: loss}, {schema.AGE_MONTHS: weight}
    if config.head == "classification":
        # The age has a metric but no loss.
        losses = {schema.AGE_MONTHS: None, schema.DISTRIBUTION: BinLoss(config.bin_months)}
        return losses, {schema.AGE_MONTHS: 0.0, schema.DISTRIBUTION: 1.0}
    losses = {
        schema.AGE_MONTHS: keras.losses.MeanAbsoluteError(),
        schema.DISTRIBUTION: DistributionLoss(config.bin_months, config.label_sd_months),
    }
    return losses, {schema.AGE_MONTHS: config.age_loss_weight, schema.DISTRIBUTION: 1.0}
