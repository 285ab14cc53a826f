"""Batch normalization as one operation, for training with TensorFlow.

Keras computes it with a dozen operations, each of which passes over the whole feature map.
TensorFlow has a single operation, with kernels of oneDNN and cuDNN. It makes training faster for
large feature maps, and tracing for many layers (`benchmarks/training_speed.py`).
"""

from typing import Any

import keras

from bone_age_tf.tensors import Tensor, Tensors


def fuse_batch_norms(network: keras.Model) -> None:
    """Changes batch normalizations of [B, H, W, C] to TensorFlow's fused operation in training.

    Results, weights and saved files stay the same. Other backends than TensorFlow are not changed.

    Args:
        network: a model, whose layers are changed in place.
    """
    if keras.backend.backend() != "tensorflow":
        return
    for layer in network.layers:
        if type(layer) is keras.layers.BatchNormalization and _can_be_fused(layer):
            layer.call = _FusedCall(layer)


def _can_be_fused(layer: keras.layers.BatchNormalization) -> bool:
    on_maps = layer.input_spec is not None and layer.input_spec.ndim == 4 and layer.axis in (-1, 3)
    return on_maps and layer.scale and layer.center and not layer.synchronized


class _FusedCall:
    """The `call` of a layer with the fused operation in training steps."""

    def __init__(self, layer: keras.layers.BatchNormalization):
        self.layer, self.call = layer, layer.call

    def __call__(self, inputs: Tensors, training: Any = None, mask: Any = None) -> Tensor:
        layer = self.layer
        if not training or not layer.trainable or mask is not None:
            return self.call(inputs, training=training, mask=mask)
        import tensorflow as tf

        outputs, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
            x=tf.cast(inputs, layer.compute_dtype),
            scale=layer.gamma.value,
            offset=layer.beta.value,
            mean=tf.zeros([0]),
            variance=tf.zeros([0]),
            epsilon=layer.epsilon,
            is_training=True,
        )
        # The operation returns the sample variance, whereas Keras uses the variance of the batch.
        count = tf.cast(tf.reduce_prod(tf.shape(inputs)[:-1]), tf.float32)
        variance *= (count - 1.0) / count
        for average, of_batch in ((layer.moving_mean, mean), (layer.moving_variance, variance)):
            average.assign(average * layer.momentum + of_batch * (1.0 - layer.momentum))
        return outputs
