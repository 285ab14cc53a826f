"""`bone_age_tf.images.reading` as TensorFlow graph operations.

They are used in tf.data pipelines and in the SavedModel that takes encoded files.
`decode_radiograph` does not apply the EXIF orientation; `encoded_header.turn_upright` does.
"""

from typing import Any

import tensorflow as tf

from bone_age_tf import schema
from bone_age_tf.images import encoded_header
from bone_age_tf.images.decoding import FAR, LUMA
from bone_age_tf.images.resizing import (
    BLACK,
    MARGINS,
    PLAIN,
    PLAIN_PERCENT,
    STEP_LINES,
    STEP_PERCENT,
    THIN_EDGE,
)
from bone_age_tf.images.traced import traced_once
from bone_age_tf.tensors import Tensor

_ADOBE_INKS = b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00\x00"
"""Adobe's marker of a CMYK JPEG file (Adobe Technical Note 5116)."""


@traced_once(tf.TensorSpec([], tf.string))
def decode_radiograph(data: tf.Tensor) -> tf.Tensor:
    """Decodes a PNG or JPEG of 8 or 16 bits to grey values.

    Args:
        data: [] string, the file's bytes.

    Returns:
        [H, W, 1] float32, 0 to 255.

    Raises:
        tf.errors.InvalidArgumentError: raised at run time if the bytes are no complete PNG or JPEG.
    """
    header = encoded_header.read_header(data)
    pixels = decode_pixels(data, header["kind"])
    return to_grey(pixels, header["kind"], header["white"])


def decode_pixels(data: tf.Tensor, kind: tf.Tensor) -> tf.Tensor:
    """Decodes a file to samples, which `to_grey` converts to grey values.

    Args:
        data: [] string, the file's bytes.
        kind: type of the file from `encoded_header.read_header`.

    Returns:
        [H, W, C] uint16: one channel for a grey PNG, four with transparency, otherwise three.

    Raises:
        tf.errors.InvalidArgumentError: raised at run time if the bytes are no complete PNG or JPEG.
    """

    def png() -> Tensor:
        return tf.io.decode_png(data, channels=3, dtype=tf.uint16)

    def clear_png() -> Tensor:
        return tf.io.decode_png(data, channels=4, dtype=tf.uint16)

    def grey_png() -> Tensor:
        return tf.cast(tf.io.decode_png(data, channels=1), tf.uint16)

    def jpeg(encoded: Any = data) -> Tensor:
        rgb = tf.io.decode_jpeg(encoded, channels=3, dct_method="INTEGER_ACCURATE")
        return tf.cast(rgb, tf.uint16)

    def ink_jpeg() -> Tensor:
        # Pillow and browsers treat such CMYK values as inverted, like Adobe's; TensorFlow does not.
        rest = tf.strings.substr(data, 2, tf.strings.length(data))
        return jpeg(tf.strings.join([b"\xff\xd8", _ADOBE_INKS, rest]))

    # Bytes of another type raise an error in the PNG decoder.
    return tf.switch_case(kind, [png, grey_png, png, clear_png, jpeg, ink_jpeg])


def to_grey(pixels: tf.Tensor, kind: tf.Tensor, white: tf.Tensor) -> tf.Tensor:
    """Converts decoded samples to grey values.

    Args:
        pixels: samples from `decode_pixels`.
        kind: type of the file from `encoded_header.read_header`.
        white: value of white from `encoded_header.read_header`.

    Returns:
        [H, W, 1] float32, 0 to 255.
    """
    values = tf.cast(pixels, tf.float32)

    def png(alpha: float = 1.0) -> Tensor:
        grey = _grey(values[..., :3]) * alpha
        return tf.cond(white > 0, lambda: grey * (255 / white), lambda: _scale_by_range(grey))

    def clear_png() -> Tensor:
        return png(values[..., 3:] / 65535)

    def grey_png() -> Tensor:
        return values[..., :1]

    def jpeg() -> Tensor:
        return _grey(values[..., :3])

    return tf.switch_case(kind, [grey_png, grey_png, png, clear_png, jpeg, jpeg])


def _grey(rgb: tf.Tensor) -> tf.Tensor:
    return tf.reduce_sum(rgb * tf.constant(LUMA), axis=-1, keepdims=True)


def _scale_by_range(grey: tf.Tensor) -> tf.Tensor:
    """Implements `bone_age_tf.images.decoding.scale_sixteen_bit` as graph operations."""
    levels = tf.cast(tf.round(grey), tf.int32)
    counts = tf.math.bincount(tf.reshape(levels, [-1]), minlength=65536, dtype=tf.int64)
    used = tf.where(counts > 0)[:, 0]
    lowest, highest = tf.reduce_min(used), tf.reduce_max(used)
    level = tf.range(tf.size(counts, tf.int64))
    sums = tf.cumsum(tf.where((level > lowest) & (level < highest), counts, 0))
    first = tf.argmax(100 * sums > sums[-1])
    last = tf.argmax(100 * sums >= 99 * sums[-1])
    reach = FAR * (last - first)
    near = (first == last) | (used >= first - reach) & (used <= last + reach)
    low = tf.cast(tf.reduce_min(tf.where(near, used, highest)), tf.float32)
    high = tf.cast(tf.reduce_max(tf.where(near, used, lowest)), tf.float32)
    return (tf.clip_by_value(grey, low, high) - low) * (255 / tf.maximum(high - low, 1.0))


def resize(image: tf.Tensor, size_px: int, mode: str = "pad") -> tf.Tensor:
    """Resizes to a square with an antialiased triangle filter.

    Args:
        image: [H, W, 1], any numeric type.
        size_px: side of the result in pixels.
        mode: see `bone_age_tf.images.resizing.resize`.

    Returns:
        [size_px, size_px, 1] float32.
    """
    if mode not in schema.RESIZE_MODES:
        raise ValueError(f"resize mode is {mode!r}; known: {', '.join(schema.RESIZE_MODES)}")
    if mode == "stretch":
        square = tf.image.resize(image, [size_px, size_px], antialias=True)
    else:
        shape = tf.cast(tf.shape(image)[:2], tf.float64)
        scale = tf.cast(size_px, tf.float64) / tf.reduce_max(shape)
        fitted = tf.maximum(1, tf.cast(shape * scale + 0.5, tf.int32))
        square = tf.image.resize(image, fitted, antialias=True)
        top_left = (size_px - fitted) // 2
        square = tf.image.pad_to_bounding_box(square, top_left[0], top_left[1], size_px, size_px)
    return tf.ensure_shape(tf.cast(square, tf.float32), [size_px, size_px, 1])


@traced_once(tf.TensorSpec([None, None, 1], tf.float32))
def trim_margins(image: tf.Tensor) -> tf.Tensor:
    """Crops the margins of [H, W, 1]; see `bone_age_tf.images.resizing.trim_margins`."""
    greys = tf.cast(tf.round(tf.cast(image[..., 0], tf.float32)), tf.int32)
    black = image[..., 0] <= tf.cast(BLACK, image.dtype)
    top, bottom, left, right = tf.unstack(inner_box(greys, black))
    return image[top:bottom, left:right]


def inner_box(greys: tf.Tensor, black: tf.Tensor) -> tf.Tensor:
    """Returns the box without margins: top, bottom, left and right, [4] int32.

    Args:
        greys: [H, W] int32, 0 to 255.
        black: [H, W] bool, whether each pixel is black.
    """
    shape = tf.shape(greys)

    def more(_: Any, is_cut: Tensor) -> Tensor:
        return is_cut

    def cut(box: Tensor, _: Any) -> tuple[Any, ...]:
        top, bottom, left, right = tf.unstack(box)
        inside = greys[top:bottom, left:right], black[top:bottom, left:right]
        rows, columns = (_inside(*inside, axis) for axis in (0, 1))
        origin = tf.stack([top, top, left, left])
        inner = origin + tf.stack([*rows, *columns])
        return inner, tf.reduce_any(inner != box)

    whole = tf.stack([0, shape[0], 0, shape[1]])
    return tf.while_loop(more, cut, (whole, tf.constant(True)), maximum_iterations=MARGINS)[0]


def _inside(greys: tf.Tensor, black: tf.Tensor, axis: int) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the first and last line of [H, W] without the margins at both ends.

    The array is not transposed, since oneDNN logs an error when integers are transposed on
    processors without AVX-512.

    Args:
        greys: [H, W] int32.
        black: [H, W] bool.
        axis: 0 for rows, 1 for columns.
    """
    along = 1 - axis
    near = _near(greys, tf.reduce_sum(greys, axis=along, keepdims=True), along)
    width = tf.shape(greys)[along]
    plain = 100 * tf.math.count_nonzero(near, axis=along, dtype=tf.int32) >= PLAIN_PERCENT * width
    dark = tf.reduce_all(black, axis=along)
    empty = plain | dark
    begin = _margin(greys, empty, dark, axis)
    last_first = tf.reverse(greys, [axis]), tf.reverse(empty, [0]), tf.reverse(dark, [0])
    end = _margin(*last_first, axis)
    return begin, tf.shape(greys)[axis] - end


def _margin(greys: tf.Tensor, empty: tf.Tensor, dark: tf.Tensor, axis: int) -> tf.Tensor:
    """Returns the number of margin lines at the beginning of [H, W]; 0 if all lines are empty."""
    along = 1 - axis
    count = tf.argmax(tf.logical_not(empty), output_type=tf.int32)
    last = tf.maximum(count - 1, 0)
    following, outermost = slice(count, count + STEP_LINES), slice(last, last + 1)
    beyond = greys[:, following] if axis else greys[following]
    before = greys[:, outermost] if axis else greys[outermost]
    near = _near(beyond, tf.reduce_sum(before), along)
    unlike = tf.math.count_nonzero(tf.logical_not(near), axis=along, dtype=tf.int32)
    step = tf.reduce_any(100 * unlike >= STEP_PERCENT * tf.shape(greys)[along])
    thin = THIN_EDGE * tf.cast(tf.shape(greys)[axis], tf.float64)
    is_margin = (tf.cast(count, tf.float64) >= thin) & (dark[last] | step)
    return tf.where(is_margin, count, 0)


def _near(greys: tf.Tensor, total: tf.Tensor, along: int) -> tf.Tensor:
    """Returns which pixels of lines along an axis are near the mean of a line with this total."""
    width = tf.shape(greys)[along]
    return tf.abs(greys * width - total) <= PLAIN * width
