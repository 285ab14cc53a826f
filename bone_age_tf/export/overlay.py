"""A map over its film as a PNG file, made inside a TensorFlow graph.

For the `explain` signature of a SavedModel: a client that can show a picture needs nothing else.
"""

import numpy as np
import tensorflow as tf

from bone_age_tf.evaluation.colours import palette

PICTURE_PX = 512
"""Shorter than a film, larger than what the network sees."""


def overlay_png(image: tf.Tensor, maps: tf.Tensor, side_px: int = PICTURE_PX) -> tf.Tensor:
    """Lays maps over images and encodes them.

    Args:
        image: [B, S, S, 1] float32, 0 to 255, the square that the network takes.
        maps: [B, h, w] float32, 0 to 1, `schema.MAP`; enlarged bilinear between the centres of
            their places.
        side_px: side of the pictures.

    Returns:
        [B] string, PNG files of three colours; `bone_age_tf.evaluation.colours` says which.
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
