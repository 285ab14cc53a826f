"""Names for what Keras passes around, which has no type of its own in Python's sense."""

from typing import Any, TypeAlias

Tensor: TypeAlias = Any
"""A tensor: symbolic while a model is built, else the backend's; or, for inputs, an array."""
Tensors: TypeAlias = Any
"""Several tensors: a list, a tuple or a dict of them."""
Shape: TypeAlias = Any
"""A shape of a tensor, or shapes of several; None for a size that is not known."""
