"""Losses on ages in months."""

import keras
import ml_collections
from keras import ops

from bone_age_tf import schema


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
        """From ages [B, 1] in months and probabilities [B, K] to [B], in nats."""
        centres = (ops.arange(y_pred.shape[-1], dtype="float32") + 0.5) * self.bin_months
        soft_logits = -0.5 * ops.square((centres - y_true) / self.label_sd_months)
        target = ops.softmax(soft_logits, axis=-1)
        log_target = ops.log_softmax(soft_logits, axis=-1)
        log_predicted = ops.log(ops.clip(y_pred, 1e-8, 1.0))
        return ops.sum(target * (log_target - log_predicted), axis=-1)


def build_losses(config: ml_collections.ConfigDict) -> tuple[dict, dict]:
    """Returns losses and their weights by output name, for the head that the config names."""
    age_loss = keras.losses.MeanAbsoluteError()
    if config.head == "regression":
        return {schema.AGE_MONTHS: age_loss}, {schema.AGE_MONTHS: 1.0}
    losses = {
        schema.AGE_MONTHS: age_loss,
        schema.DISTRIBUTION: DistributionLoss(config.bin_months, config.label_sd_months),
    }
    return losses, {schema.AGE_MONTHS: config.age_loss_weight, schema.DISTRIBUTION: 1.0}
