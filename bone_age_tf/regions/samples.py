"""Hands in many postures and films with the boxes of their regions, for the region detector.

NumPy and OpenCV only; every choice comes from the generator that is given.
"""

from typing import Any

import numpy as np

from bone_age_tf import schema
from bone_age_tf.images import resizing
from bone_age_tf.quality.samples import exposed
from bone_age_tf.regions.boxes import RegionImages, moved, moved_boxes

DEGREES, ZOOM, ASPECT, SHEAR, SHIFT = 20.0, (0.7, 1.2), 0.25, 0.1, 0.07
_SMALL_SHARE, _SMALL_ZOOM = 0.1, (0.45, 0.7)
"""A small hand on a large film."""
_KEPT_AREA = 0.5
"""A region with less of its area on the image counts as not seen."""


def make_region_samples(
    hands: RegionImages, places: np.ndarray, random: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Draws a sample of each chosen image.

    Args:
        hands: upright left hands.
        places: [B] which of them.
        random: of every choice.

    Returns:
        Images [B, S, S, 1] float32, 0 to 255, and boxes [B, 17, 4] float32, fractions within the
        image, NaN where a region is not on it.
    """
    images, boxes = [], []
    size_px = hands.images.shape[1]
    for place in places:
        matrix = _pose(random, schema.RADIOGRAPH_ASPECT)
        image = hands.images[place].astype(np.float32)
        edge = float(np.median(image[[0, -1]])) if random.random() < 0.5 else 0.0
        in_pixels = matrix.copy()
        # Pixel centres lie at whole numbers there, and half a pixel in from the edge here.
        in_pixels[:, 2] = size_px * matrix[:, 2] + 0.5 * matrix[:, :2].sum(axis=1) - 0.5
        film = exposed(moved(image, in_pixels, edge), random)
        if random.random() < 0.25:
            film = 255.0 * np.power(film / 255.0, np.exp(random.uniform(-0.6, 0.6)))
        images.append(film)
        boxes.append(on_film(moved_boxes(hands.boxes[place], matrix)))
    return np.stack(images)[..., None].astype(np.float32), np.stack(boxes).astype(np.float32)


def on_film(boxes: np.ndarray) -> np.ndarray:
    """Cuts boxes [R, 4] off at the image's edges; NaN where too little is left."""
    cut = np.clip(boxes, 0.0, 1.0)

    def area(some: Any) -> Any:
        return np.prod(some[:, 2:] - some[:, :2], axis=1)

    with np.errstate(invalid="ignore"):
        seen = area(cut) >= _KEPT_AREA * area(boxes)
    return np.where(seen[:, None], cut, np.nan)


def _pose(random: np.random.Generator, aspect: float) -> np.ndarray:
    """Returns [2, 3] from fractions (x, y) of an image to those of the sample.

    The image is a square; a hand turns as on a film of the given width over height.
    """
    angle = np.radians(random.normal(0, DEGREES / 2))
    low, high = _SMALL_ZOOM if random.random() < _SMALL_SHARE else ZOOM
    zoom = np.exp(random.uniform(np.log(low), np.log(high)))
    narrow = np.exp(random.uniform(-1, 1) * np.log1p(ASPECT) / 2)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    turn[0] += random.uniform(-SHEAR, SHEAR) * turn[1]
    to_film = np.diag([aspect, 1.0])
    linear = zoom * np.diag([narrow, 1 / narrow]) @ np.linalg.inv(to_film) @ turn @ to_film
    centre = np.full(2, 0.5)
    shift = centre - linear @ centre + random.uniform(-SHIFT, SHIFT, 2)
    return np.concatenate([linear, shift[:, None]], axis=1)


def as_inputs(images: np.ndarray) -> np.ndarray:
    """Returns [N, S, S] uint8 as the detector takes it, [N, S, S, 1] float32."""
    return images[..., None].astype(np.float32)


def fitted(image: np.ndarray, size_px: int) -> np.ndarray:
    """Returns [S, S] float32 as [size_px, size_px]."""
    return resizing.resize(np.asarray(image, np.float32), size_px, "stretch")
