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
class SharesOfRegions(kl.Layer):
    """Computes what share of the fused answer each region has; the whole hand has the rest.

    The whole hand has a fixed share, and more where the detector's scores of the regions are low. A
    learned share would trust whichever network remembers the training images best.

    Args:
        whole_share: share of the whole hand where all regions have a score of 1.
        drop: fraction of training images whose answer comes from the regions alone, so that
            together, too, they learn to read a hand.
        seed: seed of that choice.
    """

    def __init__(self, whole_share: float, drop: float = 0.0, seed: int = 0, **kwargs: Any) -> None:
        kwargs.setdefault("dtype", "float32")
        super().__init__(**kwargs)
        self.whole_share, self.drop, self.seed = whole_share, drop, seed
        self.random = keras.random.SeedGenerator(seed)

    def call(self, inputs: Tensors, training: Any = None) -> Tensor:
        """Maps positive weights [B, R] and scores [B, R], 0 to 1, to shares [B, R]."""
        weights, scores = inputs
        of_regions = (1 - self.whole_share) * weights * scores
        of_whole = self.whole_share * ops.sum(weights, axis=1, keepdims=True)
        if training and self.drop:
            drawn = keras.random.uniform(ops.shape(of_whole), seed=self.random)
            of_whole = ops.where(drawn < self.drop, 0.0, of_whole)
        total = of_whole + ops.sum(of_regions, axis=1, keepdims=True)
        return of_regions / ops.maximum(total, _LEAST)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return input_shape[0]

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "whole_share": self.whole_share,
            "drop": self.drop,
            "seed": self.seed,
        }


@keras.saving.register_keras_serializable("bone_age_tf")
class WeightedMean(kl.Layer):
    """Mean of the ages of the whole and of its parts, weighted by their shares."""

    def __init__(self, **kwargs: Any) -> None:
        kwargs.setdefault("dtype", "float32")
        super().__init__(**kwargs)

    def call(self, inputs: Tensors) -> Tensor:
        """Maps the whole's age [B, 1] and the parts' ages and shares, each [B, R], to [B, 1]."""
        whole, parts, shares = inputs
        return whole + ops.sum(shares * (parts - whole), axis=1, keepdims=True)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return input_shape[0]


@keras.saving.register_keras_serializable("bone_age_tf")
class OpinionPool(kl.Layer):
    """Geometric mean of distributions, weighted by shares (logarithmic opinion pool)."""

    def __init__(self, **kwargs: Any) -> None:
        kwargs.setdefault("dtype", "float32")
        super().__init__(**kwargs)

    def call(self, inputs: Tensors) -> Tensor:
        """Maps the whole's distribution [B, K] and the parts' [B, R, K] and shares [B, R].

        Returns:
            [B, K].
        """
        whole, parts, shares = inputs
        of_whole = 1.0 - ops.sum(shares, axis=1, keepdims=True)
        logits = of_whole * ops.log(ops.maximum(whole, _LEAST))
        of_parts = ops.log(ops.maximum(parts, _LEAST))
        return ops.softmax(logits + ops.sum(shares[..., None] * of_parts, axis=1), axis=-1)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return input_shape[0]
