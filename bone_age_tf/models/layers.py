"""Shared Keras layers; pure Keras, any backend, convertible to LiteRT's built-in operators."""

from typing import Any

import keras
from keras import ops

from bone_age_tf.tensors import Shape, Tensor, Tensors

_BISECTIONS = 10
"""Number of bisections of the pixel range, which give a quarter of a grey level."""
_BEYOND, _STEEP = 1e6, 1e6
"""Value above all grey levels for pixels that are excluded, and slope of the soft comparison."""


@keras.saving.register_keras_serializable("bone_age_tf")
class PercentileStretch(keras.layers.Layer):
    """Scales each image from its low and high percentiles to 0 and 1, and clips it.

    The percentiles are computed by bisection of the pixel range with comparisons and means, without
    sorting. The layer therefore works for any image size and gives the same result in every
    runtime. Gradients treat the percentiles as constants. A constant image becomes 0.

    Args:
        low: share of pixels that become 0.
        high: share of pixels below 1.
        border: only pixels above this value are used for the percentiles, which black padding and
            collimation would otherwise determine.
        name: name of the layer.
    """

    def __init__(
        self,
        low: float = 0.01,
        high: float = 0.99,
        border: float = 8.0,
        name: str = "percentile_stretch",
        **kwargs: Any,
    ) -> None:
        kwargs.setdefault("dtype", "float32")
        super().__init__(name=name, **kwargs)
        self.low, self.high, self.border = low, high, border

    def call(self, image: Tensor) -> Tensor:
        """Maps [B, H, W, 1], 0 to 255, to [B, H, W, 1] float32, 0 to 1."""
        low, high = self._percentiles(ops.stop_gradient(image))
        return ops.clip((image - low) / ops.maximum(high - low, 1.0), 0.0, 1.0)

    def _percentiles(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Returns both percentiles, each [B, 1, 1, 1]; one search, as each step adds to a graph."""
        shape = ops.shape(image)
        pixels = ops.reshape(image, (-1, 1, shape[1] * shape[2]))
        counted = pixels > self.border
        total = ops.sum(ops.cast(counted, "float32"), axis=2, keepdims=True) + 1e-3
        wanted = total * ops.convert_to_tensor([[[self.low], [self.high]]], "float32")
        pixels = ops.where(counted, pixels, _BEYOND)
        values = ops.full_like(wanted, 128.0)
        step = 64.0
        for _ in range(_BISECTIONS):
            # Arithmetic instead of a comparison, for which LiteRT has no fast kernels.
            below = ops.clip((values - pixels) * _STEEP, 0.0, 1.0)
            too_low = ops.sum(below, axis=2, keepdims=True) < wanted
            values = values + ops.where(too_low, step, -step)
            step /= 2
        return tuple(ops.reshape(values[:, place], (-1, 1, 1, 1)) for place in (0, 1))

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "low": self.low, "high": self.high, "border": self.border}


@keras.saving.register_keras_serializable("bone_age_tf")
class SubsampledConv2D(keras.layers.Conv2D):
    """A strided 1 x 1 convolution, computed as an unstrided convolution of a subsampled map.

    The weights and the results are the same. On processors with AVX-512 and with two or more
    threads, the gradient of the strided form in TensorFlow 2.21 (oneDNN) writes beyond its memory
    (observed: "double free or corruption"; not with `DNNL_MAX_CPU_ISA=AVX2`).
    """

    def convolution_op(self, inputs: Tensors, kernel: int) -> Tensor:
        """Maps [B, H, W, C] to [B, H / strides, W / strides, filters], rounded up."""
        rows, columns = self.strides
        return ops.conv(inputs[:, ::rows, ::columns], kernel, padding=self.padding)


def subsample_before_convolving(model: keras.Model) -> None:
    """Converts every strided 1 x 1 convolution of a model to a `SubsampledConv2D`, in place.

    The layers are converted afterwards because Keras' backbones create them.

    Args:
        model: a functional Keras model, channels last.
    """
    for layer in model.layers:
        if (
            type(layer) is keras.layers.Conv2D
            and layer.kernel_size == (1, 1)
            and max(layer.strides) > 1
            and layer.groups == 1
        ):
            layer.__class__ = SubsampledConv2D


def convolve_strided(model: keras.Model) -> None:
    """Reverts `subsample_before_convolving` in a model that is only used for inference.

    LiteRT has fast kernels for the strided form and none for subsampling.

    Args:
        model: a functional Keras model, changed in place.
    """
    for layer in model.layers:
        if type(layer) is SubsampledConv2D:
            layer.__class__ = keras.layers.Conv2D


@keras.saving.register_keras_serializable("bone_age_tf")
class LocalContrast(keras.layers.Layer):
    """Contrast of each pixel to its neighbourhood, in SDs of the neighbourhood, without black.

    The appearance of bones thereby does not depend on the exposure or on borders. The neighbourhood
    is weighted by a Gaussian, computed as two matrix products, for any image size.

    Args:
        reach: SD of the Gaussian as a fraction of the image's sides.
        floor: minimum SD of the neighbourhood.
        limit: maximum absolute contrast in SDs; larger values are clipped.
    """

    def __init__(
        self, reach: float = 0.07, floor: float = 0.02, limit: float = 3.0, **kwargs: Any
    ) -> None:
        kwargs.setdefault("dtype", "float32")
        super().__init__(**kwargs)
        self.reach, self.floor, self.limit = reach, floor, limit

    def call(self, grey: Tensor) -> Tensor:
        """Maps [B, H, W, 1], 0 (black) to 1, to [B, H, W, 1], -1 to 1; black becomes 0."""
        shape = ops.shape(grey)
        rows, columns = self._weights(shape[1]), self._weights(shape[2])
        flat = ops.reshape(grey, (-1, shape[1], shape[2]))
        counted_pixels = ops.cast(flat > 0.0, "float32")

        def around(x: Tensor) -> Tensor:
            return ops.matmul(ops.matmul(rows, x), columns)

        share = around(counted_pixels) + 1e-6
        mean = around(flat) / share
        variance = around(ops.square(flat)) / share - ops.square(mean)
        deviation = ops.sqrt(ops.maximum(variance, 0.0) + self.floor**2)
        standing_out = ops.clip((flat - mean) / deviation, -self.limit, self.limit) / self.limit
        return ops.reshape(standing_out * counted_pixels, (-1, shape[1], shape[2], 1))

    def _weights(self, count: Tensor) -> Tensor:
        """Returns the symmetric matrix [count, count] of weights between the places of a line."""
        places = ops.arange(count, dtype="float32")
        reach = self.reach * ops.cast(count, "float32")
        return ops.exp(-0.5 * ops.square((places[:, None] - places[None, :]) / reach))

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "reach": self.reach,
            "floor": self.floor,
            "limit": self.limit,
        }


class _Square(keras.layers.Layer):
    """Resamples maps of any size to a square, with a matrix product for rows and for columns.

    Args:
        side: side of the square.
    """

    def __init__(self, side: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.side = side

    def call(self, features: Tensor) -> Tensor:
        """Maps [B, H, W, C] to [B, `side`, `side`, C]."""
        shape = ops.shape(features)
        height, width, channels = shape[1], shape[2], features.shape[-1]
        lines = ops.reshape(features, (-1, height, width * channels))
        rows = ops.matmul(self.weights_of(height), lines)
        columns = ops.reshape(rows, (-1, width, channels))
        square = ops.matmul(self.weights_of(width), columns)
        return ops.reshape(square, (-1, self.side, self.side, channels))

    def weights_of(self, count: Tensor) -> Tensor:
        """Returns the weights [`side`, count] of the places of a line; each row adds up to 1."""
        raise NotImplementedError

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return (input_shape[0], self.side, self.side, input_shape[-1])

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "side": self.side}


@keras.saving.register_keras_serializable("bone_age_tf")
class GridMeans(_Square):
    """Averages a map of any size over a grid of equal cells.

    A place on the edge between two cells counts for both with its share. Keras' adaptive pooling is
    similar, but requires a static size.

    Args:
        side: number of cells along a side.
    """

    def weights_of(self, count: Tensor) -> Tensor:
        size = ops.cast(count, "float32") / self.side
        low = ops.arange(self.side, dtype="float32")[:, None] * size
        places = ops.arange(count, dtype="float32")
        shared = ops.minimum(places + 1.0, low + size) - ops.maximum(places, low)
        return ops.cast(ops.maximum(shared, 0.0) / size, self.compute_dtype)


@keras.saving.register_keras_serializable("bone_age_tf")
class BilinearSquare(_Square):
    """Enlarges a map of any size to a square, bilinear. It is not suitable for shrinking.

    Args:
        side: side of the square.
    """

    def weights_of(self, count: Tensor) -> Tensor:
        size = ops.cast(count, "float32")
        places = (ops.arange(self.side, dtype="float32")[:, None] + 0.5) * size / self.side - 0.5
        distance = ops.abs(ops.clip(places, 0.0, size - 1.0) - ops.arange(count, dtype="float32"))
        return ops.cast(ops.maximum(1.0 - distance, 0.0), self.compute_dtype)


@keras.saving.register_keras_serializable("bone_age_tf")
class ConstantSex(keras.layers.Layer):
    """Outputs the same sex for every image of a batch, for tools that require a single input.

    Args:
        sex: 0 female, 1 male.
    """

    def __init__(self, sex: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.sex = sex

    def call(self, image: Tensor) -> Tensor:
        """Maps [B, H, W, 1] to [B, 1]."""
        return ops.zeros_like(image[:, 0, 0, :]) + float(self.sex)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return (input_shape[0], 1)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "sex": self.sex}
