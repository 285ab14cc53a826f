"""AdamW with learning rates and start steps by depth, for transfer learning."""

from typing import Any

import keras
from keras import ops

from bone_age_tf.settings import Config
from bone_age_tf.tensors import Tensor

FEATURES_LAYER = "image_features"
"""Name of the last layer of every backbone; the head follows."""


class StagedAdamW(keras.optimizers.AdamW):
    """AdamW (Loshchilov & Hutter 2019) with a factor and a first step for each weight.

    A weight is not changed before its first step. A single `fit` is sufficient, without compiling
    again.

    Args:
        stages: factor of the learning rate and first step by path of a weight; the default is 1
            and 0.
        **kwargs: see `keras.optimizers.AdamW`.
    """

    def __init__(self, stages: dict[str, tuple[float, int]], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.stages = stages
        self._by_index: list[tuple[float, int]] = []

    def build(self, variables: Any) -> None:
        """Looks up the settings of each weight, since the step receives weights without paths."""
        self._by_index = [self.stages.get(variable.path, (1.0, 0)) for variable in variables]
        super().build(variables)

    def _backend_update_step(
        self, grads: Any, trainable_variables: Any, learning_rate: Any
    ) -> None:
        """Updates all weights; common terms are computed once."""
        step = ops.cast(self.iterations + 1, "float32")
        self._beta_powers = ops.power(self.beta_1, step), ops.power(self.beta_2, step)
        super()._backend_update_step(grads, trainable_variables, learning_rate)

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """Updates a weight with its learning rate.

        With TensorFlow on a single device, TensorFlow's Adam operation is used. It has the same
        arithmetic as Keras, but needs one pass over the memory of a weight and one node in the
        graph instead of twelve. Otherwise Keras' implementation is used.
        """
        rate = ops.cast(learning_rate, "float32") * self._factor(variable)
        if not self._takes_tensorflows_adam(gradient, variable):
            super().update_step(gradient, variable, rate)
            return
        import tensorflow as tf

        index = self._get_variable_index(variable)
        beta_1_power, beta_2_power = self._beta_powers
        tf.raw_ops.ResourceApplyAdam(
            var=variable.handle,
            m=self._momentums[index].value.handle,
            v=self._velocities[index].value.handle,
            beta1_power=beta_1_power,
            beta2_power=beta_2_power,
            lr=rate,
            beta1=self.beta_1,
            beta2=self.beta_2,
            epsilon=self.epsilon,
            grad=tf.cast(gradient, tf.float32),
        )

    def _takes_tensorflows_adam(self, gradient: Any, variable: Any) -> bool:
        if keras.backend.backend() != "tensorflow":
            return False
        import tensorflow as tf

        several = self._distribution_strategy.num_replicas_in_sync > 1
        sparse = isinstance(gradient, tf.IndexedSlices)
        return not several and not sparse and variable.dtype == tf.float32

    def _factor(self, variable: Any) -> Tensor:
        factor, first_step = self._by_index[self._get_variable_index(variable)]
        if not first_step:
            return factor
        return factor * ops.cast(self.iterations >= first_step, "float32")

    def _apply_weight_decay(self, variables: Any) -> None:
        learning_rate = ops.cast(self.learning_rate, "float32")
        for variable in variables:
            if self._use_weight_decay(variable):
                rate = learning_rate * self._factor(variable)
                variable.assign(variable * (1.0 - self.weight_decay * rate))

    def _update_model_variables_moving_average(self, trainable_variables: Any) -> None:
        """Updates Keras' averages with fewer operations: at step 0 the average is the weight."""
        share = ops.where(ops.equal(self.iterations, 0), 1.0, 1.0 - self.ema_momentum)
        averages = self._model_variables_moving_average
        for variable, average in zip(trainable_variables, averages, strict=True):
            average.assign_add((variable - average) * share)


def backbone_layers(network: keras.Model) -> list[str]:
    """Returns the names of the layers with weights before the head, in order."""
    names = [layer.name for layer in network.layers]
    before = network.layers[: names.index(FEATURES_LAYER)]
    return [layer.name for layer in before if layer.weights]


def plan_stages(network: keras.Model, config: Config, steps: int) -> dict[str, tuple[float, int]]:
    """Returns the factor and the first step of each weight of the backbone.

    Args:
        network: a model that `build_model` built.
        config: `early_rate`, the factor of the first layer; factors increase exponentially to 1 at
            the last layer. `unfreeze_shares`, ascending shares of the training: the backbone is
            divided into as many groups of layers; the last group begins at the first share, the
            group before it at the second. If empty, all groups begin at once.
        steps: number of steps of the training.
    """
    names = backbone_layers(network)
    stages = {}
    for place, name in enumerate(names):
        height = place / max(1, len(names) - 1)  # 0 first layer, 1 last
        share = 0.0
        if config.unfreeze_shares:
            groups = len(config.unfreeze_shares)
            share = config.unfreeze_shares[groups - 1 - min(groups - 1, int(height * groups))]
        for weight in network.get_layer(name).trainable_weights:
            stages[weight.path] = (config.early_rate ** (1 - height), round(share * steps))
    return stages
