"""Functions that TensorFlow traces once in a process, however many graphs call them."""

import functools
from collections.abc import Callable
from typing import Any

import tensorflow as tf

_inlined = False


def inline_traced_functions() -> None:
    """Adds the operations of functions to each graph that calls them, from now on.

    In a cluster of workers, TensorFlow 2.21 cannot run some large functions inside tf.data on other
    workers than the first: "Haven't set up remote eager worker in this eager context yet".
    """
    global _inlined
    _inlined = True


def are_functions_inlined() -> bool:
    """Returns whether functions are not traced on their own in this process."""
    return _inlined


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
            return function(*tensors) if _inlined else concrete()(*tensors)

        return call

    return decorate
