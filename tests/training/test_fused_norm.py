"""Batch normalization by one operation against Keras' own."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from bone_age_tf.training.fused_norm import fuse_batch_norms


def build(dtype="float32"):
    inputs = keras.Input((None, None, 3))
    x = keras.layers.BatchNormalization(momentum=0.8, epsilon=1e-3, dtype=dtype)(inputs)
    outputs = keras.layers.GlobalAveragePooling2D(dtype="float32")(keras.ops.square(x))
    model = keras.Model(inputs, outputs)
    rng = np.random.default_rng(0)
    model.set_weights([rng.uniform(0.5, 2, weight.shape) for weight in model.get_weights()])
    return model


def trained_step(model, images):
    """What a step answers, its gradients and the weights after it."""
    with tf.GradientTape() as tape:
        images = tf.constant(images)
        tape.watch(images)
        answer = model(images, training=True)
        loss = tf.reduce_sum(answer[:, 0] * answer[:, 1])
    gradients = tape.gradient(loss, [images, *model.trainable_variables])
    return [np.array(value, float) for value in (answer, *gradients, *model.get_weights())]


@pytest.mark.parametrize("shape", [(4, 9, 7, 3), (2, 1, 1, 3)])
def test_a_step_is_that_of_keras(shape):
    images = np.random.default_rng(1).normal(30, 20, shape).astype(np.float32)
    plain, fused = build(), build()
    fuse_batch_norms(fused)
    for ours, theirs in zip(trained_step(fused, images), trained_step(plain, images), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=2e-4, atol=2e-4)
    answers = [np.array(model(images, training=False)) for model in (fused, plain)]
    np.testing.assert_allclose(*answers, rtol=2e-4)


def test_it_trains_in_half_precision_and_is_saved_as_keras_own(tmp_path):
    images = np.random.default_rng(1).normal(0, 1, (4, 8, 8, 3)).astype(np.float32)
    model, plain = build("mixed_bfloat16"), build()
    fuse_batch_norms(model)
    for ours, theirs in zip(trained_step(model, images), trained_step(plain, images), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0.05, atol=0.05)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    assert type(again.layers[1]) is keras.layers.BatchNormalization
    assert "call" not in vars(again.layers[1])


def test_a_layer_that_stands_still_keeps_its_averages():
    images = np.random.default_rng(1).normal(0, 1, (4, 8, 8, 3)).astype(np.float32)
    model = build()
    fuse_batch_norms(model)
    model.layers[1].trainable = False
    before = model.get_weights()
    model(images, training=True)
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
