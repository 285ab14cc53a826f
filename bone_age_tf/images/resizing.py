"""Cutting margins off and resizing, without TensorFlow: the one definition of both.

`bone_age_tf.images.graph_reading` writes the same steps as TensorFlow graph operations; tests hold
the two to the same files.
"""

import numpy as np
from PIL import Image

from bone_age_tf import schema

BLACK = 4.0
"""An edge whose pixels are all this dark or darker, of 255, shows nothing."""
PLAIN = 3
"""Most that a pixel of a margin may differ from the mean of its row or column, of 255."""
PLAIN_PERCENT = 98
"""Percentage of a margin's pixels that must not differ more: dust and noise do."""
STEP_LINES = 8
STEP_PERCENT = 30
"""Percentage of a line's pixels, in one of the first so many lines inside a margin, that must be
unlike it. A finger's tip takes less; JPEG blurs the step over a block of 8 pixels."""
THIN_EDGE = 0.02
"""In parts of the image's side."""
MARGINS = 3
"""Most margins around each other that are cut off."""


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
        size_px: side of the result.
        mode: one of `schema.RESIZE_MODES`. `pad` keeps the aspect ratio and centres the image on
            black; `stretch` ignores the aspect ratio.

    Returns:
        [size_px, size_px] float32, in the range of the input.
    """
    if mode not in schema.RESIZE_MODES:
        raise ValueError(f"resize mode is {mode!r}; known: {', '.join(schema.RESIZE_MODES)}")
    if mode == "stretch":
        return _triangle_resize(image, size_px, size_px)
    height, width = fitted_size(image.shape[0], image.shape[1], size_px)
    square = np.zeros((size_px, size_px), np.float32)
    top, left = (size_px - height) // 2, (size_px - width) // 2
    square[top : top + height, left : left + width] = _triangle_resize(image, height, width)
    return square


def trim_margins(image: np.ndarray) -> np.ndarray:
    """Returns a view of an image without its margins, all of it where nothing else is in it.

    Frames that scanners, viewers and collimation leave make the hand small and say nothing. A row
    or column belongs to a margin where it is black (`BLACK`) or of one grey (`PLAIN`). A margin
    that is not black ends with a step (`STEP_PERCENT`); without one it is the film's background.
    Sides are cut again until none has a margin (`MARGINS`), since a page may lie around a frame.
    Margins thinner than `THIN_EDGE` stay: most films have them, those of the training data too.

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
    """Returns where the lines of [N, M] begin and end without the margins at either end."""
    return _margin(lines), len(lines) - _margin(lines[::-1])


def _margin(lines: np.ndarray) -> int:
    """Returns how many lines of [N, M] from the first on are a margin; 0 where all are empty."""
    count = next((place for place, line in enumerate(lines) if not _is_empty(line)), 0)
    if count < THIN_EDGE * len(lines):
        return 0
    last, inner = lines[count - 1], lines[count : count + STEP_LINES]
    if last.max() <= BLACK:
        return count
    unlike = (100 * np.count_nonzero(~_near(line, last)) for line in inner)
    return count if max(unlike) >= STEP_PERCENT * len(last) else 0


def _is_empty(line: np.ndarray) -> bool:
    """Says whether a line [M] is black or of one grey."""
    if line.max() <= BLACK:
        return True
    return bool(100 * np.count_nonzero(_near(line, line)) >= PLAIN_PERCENT * len(line))


def _near(line: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Says which pixels of a line [M] are near the mean of another."""
    # Whole numbers, so that every runtime finds the same.
    greys, total = np.rint(line).astype(np.int64), int(np.rint(other).sum())
    return np.abs(greys * len(line) - total) <= PLAIN * len(line)


def shrink(image: np.ndarray, longer_side_px: int) -> np.ndarray:
    """Shrinks so that the longer side is at most `longer_side_px`; a smaller image is unchanged.

    Args:
        image: [H, W] float32.
        longer_side_px: the most that the longer side may have.

    Returns:
        [h, w] float32, the aspect ratio kept, antialiased.
    """
    if max(image.shape) <= longer_side_px:
        return image
    return _triangle_resize(image, *fitted_size(image.shape[0], image.shape[1], longer_side_px))


def to_uint8(image: np.ndarray) -> np.ndarray:
    """Rounds [H, W] float pixels of 0 to 255 to uint8."""
    return np.clip(np.rint(image), 0, 255).astype(np.uint8)


def _triangle_resize(image: np.ndarray, height: int, width: int) -> np.ndarray:
    if image.shape == (height, width):
        return np.asarray(image, np.float32)
    picture = Image.fromarray(np.ascontiguousarray(image, np.float32))
    return np.asarray(picture.resize((width, height), Image.Resampling.BILINEAR), np.float32)
