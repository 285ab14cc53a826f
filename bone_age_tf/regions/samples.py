"""Training samples of the region detector: hands in random poses and exposures with their boxes.

NumPy and OpenCV only; every random choice comes from the given generator.
"""

from typing import Any

import numpy as np

from bone_age_tf import schema
from bone_age_tf.images import resizing
from bone_age_tf.quality.samples import exposed
from bone_age_tf.regions.boxes import RegionImages, moved, moved_boxes

DEGREES, ZOOM, ASPECT, SHEAR, SHIFT = 20.0, (0.7, 1.2), 0.25, 0.1, 0.07
"""Two SDs of the rotation in degrees, range of the zoom, range of the aspect ratio (as 1 + ASPECT),
and maximum shear and shift as fractions of the side; chosen for this project."""
_SMALL_SHARE, _SMALL_ZOOM = 0.1, (0.45, 0.7)
"""Share of samples with a small hand on a large image, and range of its zoom."""
_KEPT_AREA = 0.5
"""Minimum share of a region's area on the image; a region with less counts as absent."""


def make_region_samples(
    hands: RegionImages, places: np.ndarray, random: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Draws one sample from each chosen image.

    Args:
        hands: upright left hands with their boxes.
        places: [B] indices of the chosen images.
        random: source of every random choice.

    Returns:
        Images [B, S, S, 1] float32, 0 to 255, and boxes [B, 17, 4] float32, fractions of the
        image, NaN for a region that is not on the image.
    """
    images, boxes = [], []
    size_px = hands.images.shape[1]
    for place in places:
        matrix = _pose(random, schema.RADIOGRAPH_ASPECT)
        image = hands.images[place].astype(np.float32)
        edge = float(np.median(image[[0, -1]])) if random.random() < 0.5 else 0.0
        in_pixels = matrix.copy()
        # OpenCV puts pixel centres at whole numbers; the boxes put them at half a pixel.
        in_pixels[:, 2] = size_px * matrix[:, 2] + 0.5 * matrix[:, :2].sum(axis=1) - 0.5
        sample = exposed(moved(image, in_pixels, edge), random)
        if random.random() < 0.25:
            sample = 255.0 * np.power(sample / 255.0, np.exp(random.uniform(-0.6, 0.6)))
        images.append(sample)
        boxes.append(clipped_boxes(moved_boxes(hands.boxes[place], matrix)))
    return np.stack(images)[..., None].astype(np.float32), np.stack(boxes).astype(np.float32)


def clipped_boxes(boxes: np.ndarray) -> np.ndarray:
    """Clips boxes [R, 4] to the image; NaN where less than `_KEPT_AREA` of the area is left."""
    cut = np.clip(boxes, 0.0, 1.0)

    def area(rectangles: Any) -> Any:
        return np.prod(rectangles[:, 2:] - rectangles[:, :2], axis=1)

    with np.errstate(invalid="ignore"):
        is_visible = area(cut) >= _KEPT_AREA * area(boxes)
    return np.where(is_visible[:, None], cut, np.nan)


def _pose(random: np.random.Generator, aspect: float) -> np.ndarray:
    """Returns a random affine map [2, 3] from fractions (x, y) of an image to those of the sample.

    The image is a square of a stretched hand; the rotation is that of a radiograph with the given
    width over height.
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
    """Converts images [N, S, S] uint8 to the detector's input, [N, S, S, 1] float32."""
    return images[..., None].astype(np.float32)


def fitted(image: np.ndarray, size_px: int) -> np.ndarray:
    """Resizes a square image [S, S] to [size_px, size_px] float32."""
    return resizing.resize(np.asarray(image, np.float32), size_px, "stretch")
