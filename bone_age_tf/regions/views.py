"""Views of a radiograph: affine transforms of points, boxes and pixels; NumPy and OpenCV only.

Coordinates are continuous: (0, 0) is the upper left corner of an image, (W, H) the lower right one,
and pixel centres lie half a pixel inside. A view is a transform [2, 3] from pixels (x, y) of the
radiograph to fractions (x, y) of what is seen.
"""

import math

import cv2
import numpy as np


def whole_view(
    height: int, width: int, mirrored: bool = False, mode: str = "stretch", quarters: int = 0
) -> np.ndarray:
    """Returns the transform [2, 3] from pixels (x, y) of a radiograph to fractions of all of it.

    Args:
        height: height of the radiograph in pixels.
        width: width of the radiograph in pixels.
        mirrored: whether the view is mirrored horizontally.
        mode: one of `schema.RESIZE_MODES`: whether the view is stretched to a square, or padded.
        quarters: quarter turns of the view, counter-clockwise.
    """
    sides = np.array([width, height], np.float64)
    shown = sides if mode == "stretch" else np.full(2, sides.max())
    linear = np.diag([-1.0 if mirrored else 1.0, 1.0]) / shown
    for _ in range(quarters):
        linear = np.array([[0.0, 1.0], [-1.0, 0.0]]) @ linear
    return np.concatenate([linear, (0.5 - linear @ sides / 2)[:, None]], axis=1)


def inverse(matrix: np.ndarray) -> np.ndarray:
    """Returns the inverse of an affine transform [2, 3]."""
    linear = np.linalg.inv(matrix[:, :2])
    return np.concatenate([linear, -linear @ matrix[:, 2:]], axis=1)


def moved_points(points: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Returns points [N, 2] (x, y) after an affine transform [2, 3]."""
    return points @ matrix[:, :2].T + matrix[:, 2]


def warp(image: np.ndarray, view: np.ndarray, size_px: int) -> np.ndarray:
    """Returns what a view shows of an image, antialiased where the image is shrunk.

    Args:
        image: [H, W] float32, 0 to 255. Outside of it all is black.
        view: [2, 3] from pixels (x, y) of the image to fractions (x, y) of the view.
        size_px: side of the result in pixels.

    Returns:
        [size_px, size_px] float32, 0 to 255.
    """
    image = np.ascontiguousarray(image, np.float32)
    scale = size_px * math.sqrt(abs(float(np.linalg.det(view[:, :2]))))
    finer = 2 if scale < 1 else 1
    block = min(round(1 / max(finer * scale, 1e-9)), *image.shape)
    if block > 1:
        # Means of whole pixels first, which are fast: linear interpolation reads four pixels only.
        image = block_means(image, block)
        view = view @ np.diag([block, block, 1.0])
    matrix = finer * size_px * view
    matrix[:, 2] += 0.5 * matrix[:, :2].sum(axis=1) - 0.5
    seen = cv2.warpAffine(image, matrix, (finer * size_px,) * 2, flags=cv2.INTER_LINEAR)
    if finer > 1:
        seen = cv2.resize(seen, (size_px, size_px), interpolation=cv2.INTER_AREA)
    return seen


def block_means(image: np.ndarray, block: int) -> np.ndarray:
    """Returns the means of whole blocks of pixels of an image [H, W]; what is left over is cut."""
    height, width = (side // block for side in image.shape)
    whole = image[: height * block, : width * block]
    return cv2.resize(whole, (width, height), interpolation=cv2.INTER_AREA)


def between(view: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Returns the transform [2, 3] from fractions of one view to fractions of another.

    Args:
        view: [2, 3] from pixels of the radiograph to fractions of the first.
        other: [2, 3] from pixels of the radiograph to fractions of the second.
    """
    return other @ np.concatenate([inverse(view), [[0.0, 0.0, 1.0]]])


def moved_boxes(boxes: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Moves upright boxes [R, 4] as the ellipses in them move; in parts of the image or in pixels.

    Args:
        boxes: [R, 4] float.
        matrix: [2, 3] from (x, y) to (x, y), in the units of the boxes.

    Returns:
        [R, 4], unclipped.
    """
    centres = ((boxes[:, :2] + boxes[:, 2:]) / 2)[:, ::-1]
    halves = ((boxes[:, 2:] - boxes[:, :2]) / 2)[:, ::-1]
    centres = centres @ matrix[:, :2].T + matrix[:, 2]
    halves = np.sqrt(np.square(halves) @ np.square(matrix[:, :2]).T)
    return np.concatenate([(centres - halves)[:, ::-1], (centres + halves)[:, ::-1]], axis=1)
