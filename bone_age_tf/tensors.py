"""Names of types for tensors and shapes, for which Keras has no static types."""

from typing import Any, TypeAlias

Tensor: TypeAlias = Any
"""A tensor: symbolic while a model is built, otherwise of the backend; for inputs also an array."""
Tensors: TypeAlias = Any
"""Several tensors: a list, a tuple or a dict of them."""
Shape: TypeAlias = Any
"""The shape of a tensor, or shapes of several; None for an unknown size."""
