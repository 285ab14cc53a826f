"""Training on several devices and workers with TensorFlow; imports it in function calls.

Keras' `fit` cannot be used with `MultiWorkerMirroredStrategy` (keras #20585). Here each worker has
one ordinary copy of the variables, created outside the strategy's scope. In a step, each replica
computes outputs, gradients and new states from the values of the variables, without assigning any
(`keras.StatelessScope`); the strategy sums the gradients over all replicas; and each worker applies
the optimiser once. Checkpoints, callbacks and the optimiser are therefore the same as on one
device, and there is one step for devices of one machine and for several machines.
"""

import contextlib
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras

from bone_age_tf.tensors import Tensor
from bone_age_tf.training.augmented import AugmentedModel
from bone_age_tf.training.checkpoints import is_random_state
from bone_age_tf.training.distribution import Distribution, lost_workers_reported

_SEED_DISTANCE = 0x9E3779B9
"""Difference of the seeds of two replicas; the golden ratio in 32 bits, so that seeds differ in
many bits."""


def train_replicas(
    model: AugmentedModel,
    batches: Any,
    validation: Any,
    epochs: int,
    steps_per_epoch: int,
    first_step: int,
    callbacks: Sequence[keras.callbacks.Callback],
    distribution: Distribution,
) -> None:
    """Trains a model as `fit` does, with the replicas of a distribution.

    At the start of an epoch, all workers take over the variables of the chief, which may have read
    them from a resume point. The chief alone validates, while the others wait.

    Args:
        model: a compiled model with a built optimiser, without fused batch normalization.
        batches: infinite batches of all replicas, the same on every worker, from `first_step` on.
        validation: the validation data of the chief.
        epochs: number of epochs of the run.
        steps_per_epoch: number of batches in an epoch.
        first_step: number of steps that are done.
        callbacks: callbacks of the chief; none on other workers.
        distribution: the replicas.

    Raises:
        EngineError: another worker has ended.
    """
    handlers = keras.callbacks.CallbackList(
        list(callbacks), model=model, epochs=epochs, steps=steps_per_epoch, verbose=0
    )
    step_fn, iterator = make_step(model, distribution), iter(batches)
    done, skipped = divmod(first_step, max(1, steps_per_epoch))
    model.stop_training = False
    logs: dict[str, Any] = {}
    handlers.on_train_begin()
    for epoch in range(done, epochs):
        model.reset_metrics()
        handlers.on_epoch_begin(epoch)
        distribution.copy_from_chief([*model.variables, *model.optimizer.variables])
        for step in range(skipped, steps_per_epoch):
            handlers.on_train_batch_begin(step)
            with lost_workers_reported():
                step_fn(next(iterator))
            logs = _results(model) if distribution.is_chief else {}
            handlers.on_train_batch_end(step, logs)
        skipped = 0
        if distribution.is_chief:
            measured = model.evaluate(validation, callbacks=handlers, return_dict=True, verbose=0)
            logs |= {f"val_{name}": value for name, value in measured.items()}
        handlers.on_epoch_end(epoch, logs)
    if done < epochs:
        model.optimizer.finalize_variable_values(model.trainable_variables)
    handlers.on_train_end(logs)


def make_step(model: AugmentedModel, distribution: Distribution) -> Callable[[Any], None]:
    """Returns a function that trains the model on a batch of all replicas.

    The loss is the mean over the batch, batch normalization uses the moments of the batch, and
    gradients are clipped after they have been summed. Each replica has random numbers of its own.
    """
    import tensorflow as tf

    _build_metrics(model)
    strategy, replica_fn = distribution.strategy, _replica_fn(model, distribution)
    states = _states(model)

    def train(batch: Any) -> None:
        weights = [tf.convert_to_tensor(v.value) for v in model.trainable_variables]
        values = [tf.convert_to_tensor(v.value) for v in states]
        with _synchronized(model):
            results = strategy.run(replica_fn, args=(batch, weights, values))
        # After the sums all replicas have the same results.
        gradients, values, sums = (
            [None if v is None else strategy.experimental_local_results(v)[0] for v in result]
            for result in results
        )
        model.optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))
        for variable, value in zip(states, values, strict=True):
            variable.assign(value)
        for variable, value in zip(model.metrics_variables, sums, strict=True):
            variable.assign(variable + value)

    traced = tf.function(train, autograph=False, reduce_retracing=True)

    def step(batch: Any) -> None:
        # Sliced before the copy to the device
        size = len(keras.tree.flatten(batch)[0])
        rows = distribution.rows_here(size)
        traced(keras.tree.map_structure(lambda t: tf.convert_to_tensor(t[rows]), batch))

    return step


def _replica_fn(model: AugmentedModel, distribution: Distribution) -> Callable[..., Any]:
    """Returns the step of a replica: from a worker's batch, weights and states to new values."""
    import tensorflow as tf

    states, metrics = _states(model), model.metrics_variables
    tracker = model.metrics[0]

    def replica(batch: Any, weights: list[Tensor], values: list[Tensor]) -> tuple[list, list, list]:
        context = tf.distribute.get_replica_context()
        number = context.replica_id_in_sync_group
        batch, rows = _rows(batch, number % distribution.replicas_here, distribution.replicas_here)
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(batch)
        start = [
            *zip(model.trainable_variables, weights, strict=True),
            *zip(states, _own_seeds(states, values, number, distribution.replicas), strict=True),
            *((v, tf.zeros(v.shape, v.dtype)) for v in metrics),
        ]
        with tf.GradientTape() as tape:
            tape.watch(weights)
            with keras.StatelessScope(start, collect_losses=True) as scope:
                y_pred = model(x, training=True)
                # Keras divides the loss by the number of replicas.
                loss = model.compute_loss(x, y, y_pred, sample_weight, training=True)
                tracker.update_state(loss * distribution.replicas, sample_weight=rows)
                model.compute_metrics(x, y, y_pred, sample_weight=sample_weight)
            loss = model.optimizer.scale_loss(loss)
        gradients = tape.gradient(loss, weights)
        sums = [scope.get_current_value(v) for v in metrics]
        gradients, sums = _summed(context, gradients, sums)
        ends = [scope.get_current_value(v) for v in states]
        ends = [
            tf.stack([value[0], end[1]]) if is_random_state(variable) else end
            for variable, value, end in zip(states, values, ends, strict=True)
        ]
        return gradients, ends, sums

    return replica


def _summed(
    context: Any, gradients: list[Tensor | None], sums: list[Tensor]
) -> tuple[list[Tensor | None], list[Tensor]]:
    """Sums gradients and metrics over all replicas; weights without a gradient keep None."""
    import tensorflow as tf

    dense = [tf.convert_to_tensor(gradient) for gradient in gradients if gradient is not None]
    reduced = context.all_reduce(tf.distribute.ReduceOp.SUM, [*dense, *sums])
    total = iter(reduced)
    return [None if gradient is None else next(total) for gradient in gradients], list(total)


def _rows(batch: Any, place: Tensor, places: int) -> tuple[Any, int]:
    """Returns the rows of a replica, and their number."""
    import tensorflow as tf

    rows = keras.tree.flatten(batch)[0].shape[0] // places

    def part(tensor: Tensor) -> Tensor:
        begin = place * rows
        return tf.ensure_shape(tensor[begin : begin + rows], [rows, *tensor.shape[1:]])

    return keras.tree.map_structure(part, batch), rows


def _own_seeds(
    states: list[keras.Variable], values: list[Tensor], number: Tensor, replicas: int
) -> list[Tensor]:
    """Returns the states with seeds for a replica; those of replica 0 are unchanged."""
    import tensorflow as tf

    offsets = [[n * _SEED_DISTANCE % 2**32, 0] for n in range(replicas)]
    own = tf.constant(offsets, tf.uint32)[number]
    return [
        value + tf.cast(own, value.dtype) if is_random_state(variable) else value
        for variable, value in zip(states, values, strict=True)
    ]


def _states(model: AugmentedModel) -> list[keras.Variable]:
    """Returns variables that a step changes beside weights: moving averages and random states."""
    metrics = {id(variable) for variable in model.metrics_variables}
    return [v for v in model.non_trainable_variables if id(v) not in metrics]


@contextlib.contextmanager
def _synchronized(model: AugmentedModel) -> Iterator[None]:
    """Computes batch normalization over all replicas while a step is traced.

    A layer's own option, `synchronized`, would be saved with the network, and communicates three
    times where once is enough.
    """
    norms = [
        layer
        for layer in model._flatten_layers()
        if isinstance(layer, keras.layers.BatchNormalization)
    ]
    for layer in norms:
        layer._moments = functools.partial(_moments_of_all, layer._reduction_axes)
    try:
        yield
    finally:
        for layer in norms:
            del layer._moments


def _moments_of_all(axes: Sequence[int], inputs: Tensor, mask: Any) -> tuple[Tensor, Tensor]:
    """Returns the mean and the variance over the images of all replicas.

    Args:
        axes: axes over which they are computed.
        inputs: features of this replica's images, float32; all replicas have as many.
        mask: None; the models of this package have no masks.
    """
    import tensorflow as tf

    assert mask is None
    local = tf.stack([tf.reduce_mean(inputs, axes), tf.reduce_mean(tf.square(inputs), axes)])
    context = tf.distribute.get_replica_context()
    mean, square = tf.unstack(context.all_reduce(tf.distribute.ReduceOp.MEAN, local))
    return mean, tf.maximum(square - tf.square(mean), 0.0)


def _build_metrics(model: AugmentedModel) -> None:
    """Makes Keras create the variables of the metrics, which cannot be created while tracing."""
    names = model.trained_outputs
    ages = {name: keras.ops.ones((1, 1)) for name in names}
    answers = {name: keras.ops.ones((1, *model.network.output[name].shape[1:])) for name in names}
    model.compute_metrics(None, ages, answers)
    model.reset_metrics()


def _results(model: AugmentedModel) -> dict[str, float]:
    """Returns the running metrics of the epoch."""
    return {name: float(value) for name, value in model.get_metrics_result().items()}
