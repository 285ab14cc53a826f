"""Functions that TensorFlow traces once in a process, however many graphs call them."""

import functools
from collections.abc import Callable
from typing import Any

import tensorflow as tf


def traced_once(*signature: tf.TensorSpec) -> Callable[[Callable], Callable]:
    """Returns a decorator that traces a function of tensors when it is first called.

    To decode a file takes a thousand operations, which it takes most of a second to add to a graph;
    datasets of several sizes and the signatures of a SavedModel share them.

    Args:
        *signature: shape and type of each argument.
    """

    def decorate(function: Callable) -> Callable:
        @functools.cache
        def concrete() -> Any:
            with tf.init_scope():  # else it would belong to the graph that calls it first
                return tf.function(function, autograph=False).get_concrete_function(*signature)

        @functools.wraps(function)
        def call(*tensors: tf.Tensor) -> Any:
            return concrete()(*tensors)

        return call

    return decorate
