"""Layers of the part relation and selection network: relations, anchors, boxes, crops."""

from typing import Any

import keras
from keras import layers as kl
from keras import ops

from bone_age_tf.tensors import Shape, Tensor, Tensors

_UNSELECTABLE = -1e9


@keras.saving.register_keras_serializable("bone_age_tf")
class PartRelation(kl.Layer):
    """Attention of each place of a feature map to all other places, at several scales.

    Queries are computed from places; keys and values from places and from means over windows of
    places. The mean attention to each place at the finest scale is the relation map.

    Args:
        units: length of queries and keys.
        scales: sides of the windows in places; the first is 1.
    """

    def __init__(self, units: Any, scales: Any = (1, 2, 4), **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.units, self.scales = units, tuple(scales)

    def build(self, input_shape: Shape) -> None:
        channels = input_shape[-1]
        glorot = keras.initializers.GlorotUniform
        self.queries = self.add_weight((channels, self.units), glorot(), name="queries")
        self.keys = self.add_weight((channels, self.units), glorot(), name="keys")
        self.values = self.add_weight((channels, channels), glorot(), name="values")
        # A tenth, so that the relation is a small correction at first and still has a gradient.
        tenth = keras.initializers.Constant(0.1)
        self.strength = self.add_weight((channels,), tenth, name="strength")

    def call(self, features: Tensor) -> Tensors:
        """Maps [B, H, W, C] to features [B, H, W, C] in context and to relations [B, H, W]."""
        shape = ops.shape(features)
        places = self._flat(features)
        pooled = [
            self._flat(ops.average_pool(features, scale, scale, padding="same"))
            for scale in self.scales[1:]
        ]
        answers = ops.concatenate([places, *pooled], axis=1)
        queries, keys = ops.matmul(places, self.queries), ops.matmul(answers, self.keys)
        scores = ops.matmul(queries, ops.transpose(keys, (0, 2, 1))) * self.units**-0.5
        attention = ops.softmax(ops.cast(scores, "float32"), axis=-1)
        context = ops.matmul(ops.cast(attention, self.compute_dtype), answers)
        context = ops.matmul(context, self.values) * self.strength
        in_context = ops.reshape(places + context, shape)
        received = ops.mean(attention, axis=1)[:, : shape[1] * shape[2]]
        received = received / ops.sum(received, axis=1, keepdims=True)
        return in_context, ops.reshape(received, (-1, shape[1], shape[2]))

    def _flat(self, x: Tensor) -> Tensor:
        shape = ops.shape(x)
        return ops.reshape(x, (-1, shape[1] * shape[2], x.shape[-1]))

    def compute_output_spec(self, features: Tensor) -> Any:
        return (
            keras.KerasTensor(features.shape, self.compute_dtype),
            keras.KerasTensor(features.shape[:3], "float32"),
        )

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "units": self.units, "scales": self.scales}


@keras.saving.register_keras_serializable("bone_age_tf")
class JoinMaps(kl.Layer):
    """Concatenates the channels of a fine map and of a coarse map, whose places are repeated.

    Unlike upsampling it supports odd sizes: places beyond the fine map are cropped.
    """

    def call(self, inputs: Tensors) -> Tensor:
        """Maps [B, H, W, C] and [B, (H + 1) // 2, (W + 1) // 2, D] to [B, H, W, C + D]."""
        fine, coarse = inputs
        shape = ops.shape(fine)
        raised = ops.repeat(ops.repeat(coarse, 2, axis=1), 2, axis=2)
        return ops.concatenate([fine, raised[:, : shape[1], : shape[2]]], axis=-1)

    def compute_output_spec(self, inputs: Tensors) -> Any:
        fine, coarse = inputs
        shape = (*fine.shape[:3], fine.shape[3] + coarse.shape[3])
        return keras.KerasTensor(shape, self.compute_dtype)


@keras.saving.register_keras_serializable("bone_age_tf")
class Anchors(kl.Layer):
    """Anchor boxes around every place of a map, as fractions of the image's sides.

    Args:
        sides: sides of square anchors as fractions of the image.
        ratios: ratios of height to width, at a constant area.
    """

    def __init__(self, sides: Any, ratios: Any = (2 / 3, 1.0, 1.5), **kwargs: Any) -> None:
        kwargs.setdefault("dtype", "float32")
        super().__init__(**kwargs)
        self.sides, self.ratios = tuple(sides), tuple(ratios)
        self.count = len(self.sides) * len(self.ratios)

    def call(self, scores: Tensor) -> Tensor:
        """Maps scores [B, H, W, `count`] to boxes [1, H * W * `count`, 4].

        A box is ymin, xmin, ymax, xmax; it may extend beyond the image. The order is that of the
        flattened scores.
        """
        shape = ops.shape(scores)
        height, width = shape[1], shape[2]
        y = (ops.arange(height, dtype="float32") + 0.5) / ops.cast(height, "float32")
        x = (ops.arange(width, dtype="float32") + 0.5) / ops.cast(width, "float32")
        forms = [(s * r**0.5, s * r**-0.5) for s in self.sides for r in self.ratios]
        half = ops.convert_to_tensor([[h / 2, w / 2] for h, w in forms], "float32")
        zeros = ops.zeros((height, width), "float32")
        centres = ops.stack([zeros + y[:, None], zeros + x[None, :]], axis=-1)[:, :, None, :]
        boxes = ops.concatenate([centres - half, centres + half], axis=-1)
        return ops.reshape(boxes, (1, height * width * self.count, 4))

    def compute_output_spec(self, scores: Tensor) -> Any:
        _, height, width, _ = scores.shape
        places = None if height is None or width is None else height * width * self.count
        return keras.KerasTensor((1, places, 4), "float32")

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "sides": self.sides, "ratios": self.ratios}


@keras.saving.register_keras_serializable("bone_age_tf")
class PartBoxes(kl.Layer):
    """Computes the box of each part type as the weighted mean of all anchors.

    Each part type has a score for every anchor, and a softmax over the anchors gives the weights.
    The box can therefore be between anchors, and the gradient from the contents of the box reaches
    the scores. A part type is the same part of every hand, since it has its own scores.

    Each part type has a learned location, initially in the middle of the image in rows of two. With
    equal initial locations all part types would learn the same part.

    Args:
        reach: SD of a Gaussian around the location of a part type, as a fraction of the image's
            side, by which the weights are multiplied.
    """

    def __init__(self, reach: float = 0.2, **kwargs: Any) -> None:
        kwargs.setdefault("dtype", "float32")
        super().__init__(**kwargs)
        self.reach = reach

    def build(self, input_shape: Shape) -> None:
        kinds = input_shape[0][-1]
        rows = (kinds + 1) // 2
        places = [
            (0.3 + 0.5 * (kind // 2 + 0.5) / rows, 0.42 + 0.16 * (kind % 2))
            for kind in range(kinds)
        ]

        def begin(shape: Shape, dtype: Any = None) -> Tensor:
            return ops.convert_to_tensor(places, dtype)

        self.places = self.add_weight((kinds, 2), begin, name="places")

    def call(self, inputs: Tensors) -> Tensors:
        """Maps scores [B, N, K] and anchors [1, N, 4] to scores [B, K] and boxes [B, K, 4].

        The score of a part type is the weighted mean of the scores of its anchors, with constant
        weights in the gradient. Boxes may extend beyond the image.
        """
        scores, anchors = inputs
        centres = (anchors[0, :, :2] + anchors[0, :, 2:]) / 2
        sides = ops.log(anchors[0, :, 2:] - anchors[0, :, :2])
        away = ops.sum(ops.square(centres[:, None] - self.places[None]), axis=-1)
        # Weighted by the area, since there are many more small anchors than large ones
        known = ops.sum(sides, axis=1)[:, None] - away / (2 * self.reach**2)
        weights = ops.softmax(scores + known, axis=1)
        means = ops.matmul(
            ops.transpose(weights, (0, 2, 1)), ops.concatenate([centres, sides], axis=-1)
        )
        middle, half = means[..., :2], ops.exp(means[..., 2:]) / 2
        boxes = ops.concatenate([middle - half, middle + half], axis=-1)
        return ops.sum(ops.stop_gradient(weights) * scores, axis=1), boxes

    def compute_output_spec(self, inputs: Tensors) -> Any:
        batch, _, kinds = inputs[0].shape
        return (
            keras.KerasTensor((batch, kinds), "float32"),
            keras.KerasTensor((batch, kinds, 4), "float32"),
        )

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "reach": self.reach}


@keras.saving.register_keras_serializable("bone_age_tf")
class KeepParts(kl.Layer):
    """Selects the parts with the highest scores that overlap little (non-maximum suppression).

    It has a fixed number of steps of comparisons and sums, so that it converts to built-in
    operators and gives the same result in every runtime. It has no gradient. Fewer parts are
    selected if all others are suppressed.

    Args:
        count: maximum number of selected parts.
        max_overlap: overlap with a selected part above which a part is suppressed, as a share of
            the smaller box. With a share of the union, a piece of a selected part could be
            selected.
    """

    def __init__(self, count: Any, max_overlap: float = 0.25, **kwargs: Any) -> None:
        kwargs.setdefault("dtype", "float32")
        super().__init__(**kwargs)
        self.count, self.max_overlap = count, max_overlap

    def call(self, inputs: Tensors) -> Tensor:
        """Maps scores [B, K] and boxes [B, K, 4] to [B, K], 1 for selected parts, else 0."""
        scores, boxes = (ops.stop_gradient(tensor) for tensor in inputs)
        fallen = kept = ops.zeros_like(scores)
        for _ in range(self.count):
            left = scores + fallen * _UNSELECTABLE
            # The first of the highest scores; Keras' argmax does not convert to LiteRT.
            highest = ops.cast(left >= ops.max(left, axis=1, keepdims=True), "float32")
            best = highest * ops.cast(ops.cumsum(highest, axis=1) < 1.5, "float32")
            kept = ops.maximum(kept, best * (1.0 - fallen))
            box = ops.sum(best[:, :, None] * boxes, axis=1)
            overlap = ops.cast(_overlaps(box[:, None, :], boxes) > self.max_overlap, "float32")
            fallen = ops.maximum(fallen, ops.maximum(best, overlap))
        return kept

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return input_shape[0]

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "count": self.count, "max_overlap": self.max_overlap}


def _overlaps(first: Any, second: Tensor) -> Tensor:
    """Returns the overlap [B, K] of boxes [B, 1, 4] and [B, K, 4] as a share of the smaller box."""
    low = ops.maximum(first[..., :2], second[..., :2])
    high = ops.minimum(first[..., 2:], second[..., 2:])
    sides = ops.maximum(high - low, 0.0)
    shared = sides[..., 0] * sides[..., 1]

    def area(box: Tensor) -> Tensor:
        return (box[..., 2] - box[..., 0]) * (box[..., 3] - box[..., 1])

    return shared / ops.maximum(ops.minimum(area(first), area(second)), 1e-9)


@keras.saving.register_keras_serializable("bone_age_tf")
class CropParts(kl.Layer):
    """Crops boxes from images and resizes the crops, bilinear, with two matrix products.

    Pixels beyond the image are black. The boxes have a gradient, through which training moves them
    to informative places.

    Args:
        size_px: side of each crop in pixels.
    """

    def __init__(self, size_px: Any, **kwargs: Any) -> None:
        kwargs.setdefault("dtype", "float32")
        super().__init__(**kwargs)
        self.size_px = size_px

    def call(self, inputs: Tensors) -> Tensor:
        """Maps images [B, H, W, 1] and boxes [B, K, 4] to crops [B * K, S, S, 1]."""
        image, boxes = inputs
        (_, height, width, _), count = ops.shape(image), boxes.shape[1]
        rows = self._weights(boxes[..., 0], boxes[..., 2], height)
        columns = self._weights(boxes[..., 1], boxes[..., 3], width)
        # A product that repeats one operand crashes in oneDNN 3 on processors with AVX-512.
        rows = ops.reshape(rows, (-1, count * self.size_px, height))
        lines = ops.matmul(rows, ops.reshape(image, (-1, height, width)))
        lines = ops.reshape(lines, (-1, count, self.size_px, width))
        crops = ops.matmul(lines, ops.transpose(columns, (0, 1, 3, 2)))
        return ops.reshape(crops, (-1, self.size_px, self.size_px, 1))

    def _weights(self, low: Tensor, high: Tensor, pixels: Tensor) -> Tensor:
        """Returns the weights [B, K, S, pixels] of the pixels of a line in each pixel of a crop."""
        size = self.size_px
        steps = (ops.arange(size, dtype="float32") + 0.5) / size
        count = ops.cast(pixels, "float32")
        places = (low[..., None] + (high - low)[..., None] * steps) * count - 0.5
        distance = ops.abs(places[..., None] - ops.arange(pixels, dtype="float32"))
        return ops.maximum(1.0 - distance, 0.0)

    def compute_output_spec(self, inputs: Tensors) -> Any:
        return keras.KerasTensor((None, self.size_px, self.size_px, 1), "float32")

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "size_px": self.size_px}


@keras.saving.register_keras_serializable("bone_age_tf")
class GroupParts(kl.Layer):
    """Groups the vectors of parts by image.

    Args:
        count: number of parts in an image.
    """

    def __init__(self, count: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.count = count

    def call(self, vectors: Tensor) -> Tensor:
        """Maps [B * K, C] to [B, K, C]."""
        return ops.reshape(vectors, (-1, self.count, vectors.shape[-1]))

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return (None, self.count, input_shape[-1])

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "count": self.count}
