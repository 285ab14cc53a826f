"""Layers of `bonewise`: crops around ossification regions, and the fusion of their distributions.

Pure Keras, any backend, convertible to LiteRT's built-in operators.
"""

from typing import Any

import keras
from keras import layers as kl
from keras import ops

from bone_age_tf.models.part_layers import CropParts, GroupParts
from bone_age_tf.tensors import Shape, Tensor, Tensors

_LEAST = 1e-8
"""Smallest probability whose logarithm is taken."""


@keras.saving.register_keras_serializable("bone_age_tf")
class SquaresAround(kl.Layer):
    """Computes squares of fixed sides around the centres of boxes.

    In training they are shifted and scaled at random, as the errors of a detector would.

    Args:
        sides: side of each region's square as a fraction of the image.
        jitter: SD of the shift as a fraction of the side, and of the logarithm of the scale.
        seed: seed of the shifts.
    """

    def __init__(self, sides: Any, jitter: float = 0.0, seed: int = 0, **kwargs: Any) -> None:
        kwargs.setdefault("dtype", "float32")
        super().__init__(**kwargs)
        self.sides, self.jitter, self.seed = tuple(sides), jitter, seed
        self.random = keras.random.SeedGenerator(seed)

    def call(self, boxes: Tensor, training: Any = None) -> Tensor:
        """Maps boxes [B, R, 4] to squares [B, R, 4], which may extend beyond the image."""
        centres = (boxes[..., :2] + boxes[..., 2:]) / 2
        half = ops.convert_to_tensor(self.sides, "float32")[None, :, None] / 2
        if training and self.jitter:
            shape = (ops.shape(boxes)[0], len(self.sides))
            shift = keras.random.normal((*shape, 2), seed=self.random)
            scale = keras.random.normal((*shape, 1), seed=self.random)
            centres = centres + self.jitter * shift * 2 * half
            half = half * ops.exp(self.jitter * scale)
        else:
            half = half + ops.zeros_like(centres[..., :1])
        return ops.concatenate([centres - half, centres + half], axis=-1)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "sides": self.sides,
            "jitter": self.jitter,
            "seed": self.seed,
        }


@keras.saving.register_keras_serializable("bone_age_tf")
class CropRegions(CropParts):
    """Crops boxes from images; where a crop is shrunk, no pixel is skipped.

    The interpolation is linear, with a triangle as wide as a pixel of the crop where that is larger
    than one of the image. There is no gradient with respect to the boxes.
    """

    def call(self, inputs: Tensors) -> Tensor:
        """Maps images [B, H, W, 1] and boxes [B, R, 4] to crops [B * R, S, S, 1]."""
        image, boxes = inputs
        return super().call([image, ops.stop_gradient(boxes)])

    def _weights(self, low: Tensor, high: Tensor, pixels: Tensor) -> Tensor:
        """Returns the weights [B, R, S, pixels] of the pixels of a line in each pixel of a crop."""
        size = self.size_px
        steps = (ops.arange(size, dtype="float32") + 0.5) / size
        count = ops.cast(pixels, "float32")
        side = (high - low)[..., None]
        places = (low[..., None] + side * steps) * count - 0.5
        reach = ops.maximum(side * count / size, 1.0)[..., None]
        distance = ops.abs(places[..., None] - ops.arange(pixels, dtype="float32"))
        return ops.maximum(1.0 - distance / reach, 0.0) / reach


@keras.saving.register_keras_serializable("bone_age_tf")
class WiderView(CropRegions):
    """Shows an image with black around it.

    Args:
        size_px: side of the view in pixels.
        beyond: width of the black on each side as a fraction of the image.
    """

    def __init__(self, size_px: Any, beyond: Any, **kwargs: Any) -> None:
        super().__init__(size_px, **kwargs)
        self.beyond = beyond

    def call(self, image: Tensor) -> Tensor:
        """Maps images [B, H, W, 1] to [B, S, S, 1]."""
        low, high = -self.beyond, 1.0 + self.beyond
        box = ops.convert_to_tensor([[[low, low, high, high]]], "float32")
        return super().call([image, ops.tile(box, (ops.shape(image)[0], 1, 1))])

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "beyond": self.beyond}


@keras.saving.register_keras_serializable("bone_age_tf")
class NamedRegions(GroupParts):
    """Groups the vectors of regions by image and adds a learned embedding of each region."""

    def build(self, input_shape: Shape) -> None:
        shape, initial = (self.count, input_shape[-1]), keras.initializers.RandomNormal(stddev=0.1)
        self.names = self.add_weight(shape, initial, name="names")

    def call(self, vectors: Tensor) -> Tensor:
        """Maps [B * R, C] to [B, R, C]."""
        grouped = super().call(vectors)
        return grouped + ops.cast(self.names, grouped.dtype)


@keras.saving.register_keras_serializable("bone_age_tf")
class WeightedMean(kl.Layer):
    """Weighted mean of the ages of the whole and of its parts."""

    def __init__(self, **kwargs: Any) -> None:
        kwargs.setdefault("dtype", "float32")
        super().__init__(**kwargs)

    def call(self, inputs: Tensors) -> Tensor:
        """Maps the whole's age and weight, each [B, 1], and the parts', each [B, R], to [B, 1]."""
        whole, whole_weight, parts, weights = inputs
        total = whole_weight + ops.sum(weights, axis=1, keepdims=True)
        of_parts = ops.sum(weights * parts, axis=1, keepdims=True)
        return (whole_weight * whole + of_parts) / total

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return input_shape[0]


@keras.saving.register_keras_serializable("bone_age_tf")
class OpinionPool(kl.Layer):
    """Weighted geometric mean of distributions (logarithmic opinion pool), normalised."""

    def __init__(self, **kwargs: Any) -> None:
        kwargs.setdefault("dtype", "float32")
        super().__init__(**kwargs)

    def call(self, inputs: Tensors) -> Tensor:
        """Maps the whole's distribution [B, K] and weight [B, 1] and the parts' [B, R, K], [B, R].

        Returns:
            [B, K].
        """
        whole, whole_weight, parts, weights = inputs
        logits = whole_weight * ops.log(ops.maximum(whole, _LEAST))
        of_parts = ops.log(ops.maximum(parts, _LEAST))
        return ops.softmax(logits + ops.sum(weights[..., None] * of_parts, axis=1), axis=-1)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return input_shape[0]
