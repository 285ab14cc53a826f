"""Consistency of part boxes between each training image and a transformed copy.

Boxes that move with the hand represent parts of the hand, unlike boxes that encode the age. The
constraint is that of unsupervised landmarks (Thewlis et al. 2017, arXiv 1705.02193). Pure Keras.
"""

import math
from typing import Any

import keras
from keras import ops

from bone_age_tf.tensors import Tensor, Tensors

_CENTRE, _SIZE = 10.0, 1.0
"""Weights of the distance of centres (as a fraction of the side) and of the log ratio of sizes."""


class SecondView(keras.layers.Layer):
    """Rotates, zooms and shifts each image, and returns the transformation.

    Args:
        degrees: maximum rotation in degrees; uniform in both directions.
        zoom: the logarithm of the zoom is uniform, from 1 / (1 + `zoom`) to 1 + `zoom`.
        shift: maximum shift along each axis as a fraction of the side; uniform in both directions.
        seed: seed of every random choice.
    """

    def __init__(
        self,
        degrees: float = 20.0,
        zoom: float = 0.2,
        shift: float = 0.08,
        seed: int = 0,
        **kwargs: Any,
    ) -> None:
        kwargs.setdefault("dtype", "float32")
        super().__init__(**kwargs)
        self.degrees, self.zoom, self.shift = degrees, zoom, shift
        self._random = keras.random.SeedGenerator(seed)

    def call(self, image: Tensor) -> Tensors:
        """Maps images [B, H, W, 1] to transformed images and affine maps [B, 2, 3].

        The affine maps are from (y, x, 1) in the image to (y, x) in the copy, in fractions of the
        sides.
        """
        shape = ops.shape(image)
        count, height, width = (
            shape[0],
            ops.cast(shape[1], "float32"),
            ops.cast(shape[2], "float32"),
        )

        def uniform(limit: Tensor) -> Tensor:
            return keras.random.uniform((count,), -limit, limit, seed=self._random)

        angle, zoom = uniform(math.radians(self.degrees)), ops.exp(uniform(math.log1p(self.zoom)))
        cos, sin = zoom * ops.cos(angle), zoom * ops.sin(angle)
        down, right = uniform(self.shift), uniform(self.shift)
        moves = ops.stack(
            [
                ops.stack([cos, -sin, 0.5 + down - 0.5 * cos + 0.5 * sin], axis=1),
                ops.stack([sin, cos, 0.5 + right - 0.5 * sin - 0.5 * cos], axis=1),
            ],
            axis=1,
        )
        # Inverse map in pixels (x, y), whose centres are half a pixel from their corners
        back_cos, back_sin = cos / zoom**2, sin / zoom**2
        y0 = 0.5 - back_cos * (0.5 + down) - back_sin * (0.5 + right)
        x0 = 0.5 + back_sin * (0.5 + down) - back_cos * (0.5 + right)
        x_of_y, y_of_x = -back_sin * width / height, back_sin * height / width
        x_start = x0 * width - 0.5 + 0.5 * (back_cos + x_of_y)
        y_start = y0 * height - 0.5 + 0.5 * (back_cos + y_of_x)
        none = ops.zeros_like(cos)
        transforms = [back_cos, x_of_y, x_start, y_of_x, back_cos, y_start, none, none]
        moved = ops.image.affine_transform(
            image,
            ops.stack(transforms, axis=1),
            interpolation="bilinear",
            fill_mode="constant",
            fill_value=0.0,
            data_format="channels_last",
        )
        return moved, moves


def view_loss(boxes: Tensor, boxes_in_copy: Tensor, moves: Tensor) -> Tensor:
    """Returns the mean distance between boxes in the image and in the copy.

    Args:
        boxes: [B, K, 4], ymin, xmin, ymax, xmax as fractions.
        boxes_in_copy: [B, K, 4], boxes of the transformed copy.
        moves: [B, 2, 3], affine maps of `SecondView`.
    """
    (centre, side), (other_centre, other_side) = _place(boxes), _place(boxes_in_copy)
    expected = ops.matmul(centre, ops.transpose(moves[..., :2], (0, 2, 1))) + moves[:, None, :, 2]
    zoom = ops.sqrt(ops.square(moves[:, 0, 0]) + ops.square(moves[:, 1, 0]))
    far = ops.mean(ops.sum(ops.abs(expected - other_centre), axis=-1))
    larger = ops.mean(ops.abs(side + ops.log(zoom)[:, None] - other_side))
    return _CENTRE * far + _SIZE * larger


def apart_loss(boxes: Tensor) -> Tensor:
    """Returns the loss of boxes [B, K, 4] that are close to each other.

    Two boxes cost 1 if their centres coincide, and 0 from a distance of half of both sides.
    """
    centre, side = _place(boxes)
    reach = ops.exp(side) / 2
    distance = ops.sqrt(ops.sum(ops.square(centre[:, :, None] - centre[:, None]), axis=-1) + 1e-6)
    near = ops.relu(1.0 - distance / (reach[:, :, None] + reach[:, None]))
    others = 1.0 - ops.eye(boxes.shape[1])
    return ops.mean(ops.sum(near * others, axis=(1, 2))) / boxes.shape[1]


def _place(boxes: Tensor) -> tuple[Any, ...]:
    """Returns the centres [B, K, 2] and the mean logarithm of the two sides [B, K]."""
    sides = ops.maximum(boxes[..., 2:] - boxes[..., :2], 1e-6)
    return (boxes[..., :2] + boxes[..., 2:]) / 2, ops.mean(ops.log(sides), axis=-1)
