"""Crops margins and resizes, without TensorFlow; the reference implementation of both.

`bone_age_tf.images.graph_reading` implements the same steps as TensorFlow graph operations; tests
compare the two on the same files.
"""

import numpy as np
from PIL import Image

from bone_age_tf import schema

BLACK = 4.0
"""Maximum grey level (0 to 255) of a black pixel."""
PLAIN = 3
"""Maximum difference of a margin pixel from the mean of its row or column, in grey levels."""
PLAIN_PERCENT = 98
"""Minimum percentage of a margin's pixels within that difference; dust and noise exceed it."""
STEP_LINES = 8
STEP_PERCENT = 30
"""Number of lines inside a margin that are searched for a step, and minimum percentage of pixels in
one of them that differ from the margin. The tip of a finger covers less; JPEG blurs the step over a
block of 8 pixels."""
THIN_EDGE = 0.02
"""Maximum width of a margin that is not cropped, as a fraction of the image's side."""
MARGINS = 3
"""Maximum number of nested margins that are cropped."""


def fitted_size(height: int, width: int, size_px: int) -> tuple[int, int]:
    """Returns the height and width of an image whose longer side becomes `size_px`.

    The aspect ratio is kept; each side has at least 1 px.

    Args:
        height: height of the image in pixels.
        width: width of the image in pixels.
        size_px: the longer side of the result in pixels.
    """
    scale = size_px / max(height, width)
    return max(1, int(height * scale + 0.5)), max(1, int(width * scale + 0.5))


def resize(image: np.ndarray, size_px: int, mode: str = "pad") -> np.ndarray:
    """Resizes to a square with an antialiased triangle filter.

    Args:
        image: [H, W] float32.
        size_px: side of the result in pixels.
        mode: one of `schema.RESIZE_MODES`. `pad` keeps the aspect ratio and centres the image on
            black; `stretch` ignores the aspect ratio.

    Returns:
        [size_px, size_px] float32, in the range of the input.
    """
    if mode not in schema.RESIZE_MODES:
        raise ValueError(f"resize mode is {mode!r}; known: {', '.join(schema.RESIZE_MODES)}")
    if mode == "stretch":
        return resize_exactly(image, size_px, size_px)
    height, width = fitted_size(image.shape[0], image.shape[1], size_px)
    square = np.zeros((size_px, size_px), np.float32)
    top, left = (size_px - height) // 2, (size_px - width) // 2
    square[top : top + height, left : left + width] = resize_exactly(image, height, width)
    return square


def trim_margins(image: np.ndarray) -> np.ndarray:
    """Returns a view of an image without its margins; the whole image if all lines are empty.

    Margins are left by scanners, viewers and collimation; they make the hand smaller in the image.
    A row or column belongs to a margin if it is black (`BLACK`) or uniform (`PLAIN`). A margin that
    is not black ends with a step (`STEP_PERCENT`); without a step it is the background of the
    radiograph. Cropping is repeated (`MARGINS`), since a page may surround a frame. Margins thinner
    than `THIN_EDGE` are kept, as most radiographs have them, including the training images.

    Args:
        image: [H, W] float32, 0 to 255.
    """
    for _ in range(MARGINS):
        top, bottom = _inside(image)
        left, right = _inside(image.T)
        if (bottom - top, right - left) == image.shape:
            break
        image = image[top:bottom, left:right]
    return image


def _inside(lines: np.ndarray) -> tuple[int, int]:
    """Returns the first and last line of [N, M] without the margins at both ends."""
    return _margin(lines), len(lines) - _margin(lines[::-1])


def _margin(lines: np.ndarray) -> int:
    """Returns the number of margin lines at the beginning of [N, M]; 0 if all lines are empty."""
    count = next((place for place, line in enumerate(lines) if not _is_empty(line)), 0)
    if count < THIN_EDGE * len(lines):
        return 0
    last, inner = lines[count - 1], lines[count : count + STEP_LINES]
    if last.max() <= BLACK:
        return count
    unlike = (100 * np.count_nonzero(~_near(line, last)) for line in inner)
    return count if max(unlike) >= STEP_PERCENT * len(last) else 0


def _is_empty(line: np.ndarray) -> bool:
    """Returns whether a line [M] is black or uniform."""
    if line.max() <= BLACK:
        return True
    return bool(100 * np.count_nonzero(_near(line, line)) >= PLAIN_PERCENT * len(line))


def _near(line: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Returns which pixels of a line [M] are near the mean of another line."""
    # Integers, so that every runtime computes the same result.
    greys, total = np.rint(line).astype(np.int64), int(np.rint(other).sum())
    return np.abs(greys * len(line) - total) <= PLAIN * len(line)


def shrink(image: np.ndarray, longer_side_px: int) -> np.ndarray:
    """Shrinks an image whose longer side exceeds a limit; a smaller image is unchanged.

    Args:
        image: [H, W] float32.
        longer_side_px: maximum length of the longer side in pixels.

    Returns:
        [h, w] float32, the aspect ratio kept, antialiased.
    """
    if max(image.shape) <= longer_side_px:
        return image
    return resize_exactly(image, *fitted_size(image.shape[0], image.shape[1], longer_side_px))


def to_uint8(image: np.ndarray) -> np.ndarray:
    """Rounds pixels [H, W] from 0 to 255 to uint8."""
    return np.clip(np.rint(image), 0, 255).astype(np.uint8)


def resize_exactly(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resizes an image [H, W] to [height, width] with an antialiased triangle filter."""
    if image.shape == (height, width):
        return np.asarray(image, np.float32)
    picture = Image.fromarray(np.ascontiguousarray(image, np.float32))
    return np.asarray(picture.resize((width, height), Image.Resampling.BILINEAR), np.float32)
