"""AdamW whose rate differs by depth and starts late for early layers: for transfer learning."""

from typing import Any

import keras
from keras import ops

from bone_age_tf.settings import Config
from bone_age_tf.tensors import Tensor

FEATURES_LAYER = "image_features"
"""Ends the backbone of every model; what comes after it is the head."""


class StagedAdamW(keras.optimizers.AdamW):
    """AdamW (Loshchilov & Hutter 2019) with a factor and a first step for each weight.

    Before its first step a weight stands still. One `fit` does it all: nothing is compiled anew.

    Args:
        stages: by path of a weight, the factor of its learning rate and its first step; a weight
            that is not named has 1 and 0.
        **kwargs: as for `keras.optimizers.AdamW`.
    """

    def __init__(self, stages: dict[str, tuple[float, int]], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.stages = stages
        self._by_index: list[tuple[float, int]] = []

    def build(self, variables: Any) -> None:
        """Looks each weight up once; the step itself sees weights without their paths."""
        self._by_index = [self.stages.get(variable.path, (1.0, 0)) for variable in variables]
        super().build(variables)

    def _backend_update_step(
        self, grads: Any, trainable_variables: Any, learning_rate: Any
    ) -> None:
        """Updates all weights; what they share is computed once, not once a weight."""
        step = ops.cast(self.iterations + 1, "float32")
        self._beta_powers = ops.power(self.beta_1, step), ops.power(self.beta_2, step)
        super()._backend_update_step(grads, trainable_variables, learning_rate)

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """Updates one weight at its own rate.

        With TensorFlow on a single device its own operation for Adam does it: the same arithmetic
        as Keras', but one pass over the memory of a weight, and one node in the graph, in place of
        twelve. Otherwise Keras' own code does it.
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
        """As Keras' own, with fewer operations: at step 0 the average is the weight itself."""
        share = ops.where(ops.equal(self.iterations, 0), 1.0, 1.0 - self.ema_momentum)
        averages = self._model_variables_moving_average
        for variable, average in zip(trainable_variables, averages, strict=True):
            average.assign_add((variable - average) * share)


def backbone_layers(network: keras.Model) -> list[str]:
    """Returns the names of the layers with weights before the head, first to last."""
    names = [layer.name for layer in network.layers]
    before = network.layers[: names.index(FEATURES_LAYER)]
    return [layer.name for layer in before if layer.weights]


def plan_stages(network: keras.Model, config: Config, steps: int) -> dict[str, tuple[float, int]]:
    """Returns the factor and the first step of each weight of the backbone.

    Args:
        network: made by `build_model`.
        config: `early_rate`, the factor of the first layer, from which factors rise evenly in
            their logarithm to 1 at the last; `unfreeze_shares`, shares of the training, ascending:
            the backbone is cut into as many groups of layers, the last of which begins at the
            first share, the one before it at the second. Empty: all begin at once.
        steps: of the whole training.
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
