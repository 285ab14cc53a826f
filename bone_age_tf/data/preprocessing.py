"""The steps of `bone_age_tf.data.radiograph` as TensorFlow graph operations.

For tf.data pipelines and for the SavedModel that takes encoded files. EXIF orientation is the one
difference: a graph does not read it, so send upright images to the SavedModel.
"""

import tensorflow as tf

from bone_age_tf import schema
from bone_age_tf.data.radiograph import BLACK, LUMA, THIN_EDGE


def decode_radiograph(data: tf.Tensor) -> tf.Tensor:
    """Decodes one PNG or JPEG of 8 or 16 bits to grey.

    Args:
        data: [] string, the file's bytes.

    Returns:
        [H, W, 1] float32, 0 to 255.

    Raises:
        tf.errors.InvalidArgumentError: when run on bytes that are no whole PNG or JPEG.
    """
    return tf.cond(tf.io.is_jpeg(data), lambda: _decode_jpeg(data), lambda: _decode_png(data))


def _decode_jpeg(data: tf.Tensor) -> tf.Tensor:
    rgb = tf.io.decode_jpeg(data, channels=3, dct_method="INTEGER_ACCURATE")
    return _grey(tf.cast(rgb, tf.float32))


def _decode_png(data: tf.Tensor) -> tf.Tensor:
    # Read as 16 bits, an 8-bit value v becomes 257 v, so that division gives it back exactly.
    rgba = tf.cast(tf.io.decode_png(data, channels=4, dtype=tf.uint16), tf.float32)
    grey = _grey(rgba[..., :3]) * (rgba[..., 3:] / 65535)
    depth, colour_type = _png_header(data)
    # Grey of 1, 2 or 4 bits arrives unscaled: white as 1, 3 or 15.
    shallow = tf.logical_and(tf.equal(colour_type, 0), depth < 8)
    white = tf.where(shallow, tf.cast(2**depth - 1, tf.float32), 255.0)
    return tf.cond(
        tf.equal(depth, 16), lambda: _scale_by_range(grey), lambda: grey / 257 * (255 / white)
    )


def _png_header(data: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns bits a channel and colour type (0 grey) from the start of a PNG file."""
    start = tf.strings.substr(data, 0, 26)
    header = tf.cast(tf.io.decode_raw(start, tf.uint8, fixed_length=26), tf.int32)
    return header[24], header[25]


def _grey(rgb: tf.Tensor) -> tf.Tensor:
    return tf.reduce_sum(rgb * tf.constant(LUMA), axis=-1, keepdims=True)


def _scale_by_range(grey: tf.Tensor) -> tf.Tensor:
    low, high = tf.reduce_min(grey), tf.reduce_max(grey)
    return (grey - low) * (255 / tf.maximum(high - low, 1.0))


def resize(image: tf.Tensor, size_px: int, mode: str = "pad") -> tf.Tensor:
    """Resizes to a square with an antialiased triangle filter.

    Args:
        image: [H, W, 1], any numeric type.
        size_px: side of the result.
        mode: see `bone_age_tf.data.radiograph.resize`.

    Returns:
        [size_px, size_px, 1] float32.
    """
    if mode not in schema.RESIZE_MODES:
        raise ValueError(f"resize mode is {mode!r}; known: {', '.join(schema.RESIZE_MODES)}")
    if mode == "stretch":
        square = tf.image.resize(image, [size_px, size_px], antialias=True)
    else:
        if mode == "portrait":
            image = trim_black(image)
        aspect = schema.RESIZE_ASPECTS[mode]
        shape = tf.cast(tf.shape(image)[:2], tf.float64) / tf.constant([1, aspect], tf.float64)
        scale = tf.cast(size_px, tf.float64) / tf.reduce_max(shape)
        fitted = tf.maximum(1, tf.cast(shape * scale + 0.5, tf.int32))
        square = tf.image.resize(image, fitted, antialias=True)
        top_left = (size_px - fitted) // 2
        square = tf.image.pad_to_bounding_box(square, top_left[0], top_left[1], size_px, size_px)
    return tf.ensure_shape(tf.cast(square, tf.float32), [size_px, size_px, 1])


def trim_black(image: tf.Tensor) -> tf.Tensor:
    """Cuts black edges off [H, W, 1]; see `bone_age_tf.data.radiograph.trim_black`."""
    lit = image[..., 0] > tf.cast(BLACK, image.dtype)
    top, bottom = _lit_piece(tf.reduce_any(lit, axis=1))
    left, right = _lit_piece(tf.reduce_any(lit, axis=0))
    return image[top:bottom, left:right]


def _lit_piece(lit: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns where a line [N] begins and ends without its dark ends."""
    size = tf.size(lit)
    thin = THIN_EDGE * tf.cast(size, tf.float64)
    places = tf.cast(tf.where(tf.logical_or(lit, tf.logical_not(tf.reduce_any(lit)))), tf.int32)
    first, end = tf.reduce_min(places), tf.reduce_max(places) + 1
    return (
        tf.where(tf.cast(first, tf.float64) >= thin, first, 0),
        tf.where(tf.cast(size - end, tf.float64) >= thin, end, size),
    )


def decode_and_resize(data: tf.Tensor, size_px: int, mode: str = "pad") -> tf.Tensor:
    """From the bytes of one file ([] string) to [size_px, size_px, 1] float32, 0 to 255."""
    return resize(decode_radiograph(data), size_px, mode)
