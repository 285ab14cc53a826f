"""Draws a map over its radiograph as a PNG file, inside a TensorFlow graph.

The `explain` signature of a SavedModel returns it, so that a client only needs to show a picture.
"""

import numpy as np
import tensorflow as tf

from bone_age_tf.evaluation.colours import palette

PICTURE_PX = 512
"""Side of the pictures in pixels, between those of the network's input and of a radiograph."""


def overlay_png(image: tf.Tensor, maps: tf.Tensor, side_px: int = PICTURE_PX) -> tf.Tensor:
    """Draws maps over images and encodes them.

    Args:
        image: [B, S, S, 1] float32, 0 to 255, the network's input.
        maps: [B, h, w] float32, 0 to 1, `schema.MAP`; enlarged bilinear between the centres of
            their places.
        side_px: side of the pictures in pixels.

    Returns:
        [B] string, RGB PNG files; see `bone_age_tf.evaluation.colours` for the colours.
    """
    size = [side_px, side_px]
    grey = tf.clip_by_value(tf.image.resize(image, size), 0.0, 255.0)
    places = tf.image.resize(maps[..., None], size)[..., 0]
    levels = tf.cast(tf.round(255.0 * tf.clip_by_value(places, 0.0, 1.0)), tf.int32)
    colours = tf.gather(tf.constant(palette(signed=False).astype(np.float32)), levels)
    opaque = colours[..., 3:] / 255.0
    mixed = opaque * colours[..., :3] + (1.0 - opaque) * grey
    pixels = tf.cast(tf.round(mixed), tf.uint8)
    return tf.map_fn(tf.io.encode_png, pixels, fn_output_signature=tf.string)
