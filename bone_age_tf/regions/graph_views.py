"""Views of a radiograph as TensorFlow graph operations, as `regions.views` computes them."""

import tensorflow as tf


def warp(image: tf.Tensor, view: tf.Tensor, size_px: int) -> tf.Tensor:
    """Returns `views.warp` [size_px, size_px] of an image [H, W] float32."""
    scale = size_px * tf.sqrt(tf.abs(tf.linalg.det(view[:, :2])))
    finer = tf.where(scale < 1.0, 2, 1)
    block = tf.round(1.0 / tf.maximum(tf.cast(finer, tf.float32) * scale, 1e-9))
    most = tf.reduce_min(tf.shape(image))
    block = tf.cast(tf.minimum(block, tf.cast(most, tf.float32)), tf.int32)
    image, view = tf.cond(
        block > 1,
        lambda: (
            block_means(image, block),
            view * tf.cast(tf.stack([block, block, 1]), tf.float32),
        ),
        lambda: (image, view),
    )
    side = finer * size_px
    linear = tf.cast(side, tf.float32) * view[:, :2]
    offset = tf.cast(side, tf.float32) * view[:, 2] + 0.5 * tf.reduce_sum(linear, axis=1) - 0.5
    back = tf.linalg.inv(linear)
    matrix = tf.concat([back, -tf.linalg.matvec(back, offset)[:, tf.newaxis]], axis=1)
    seen = tf.raw_ops.ImageProjectiveTransformV3(
        images=image[tf.newaxis, ..., tf.newaxis],
        transforms=tf.concat([tf.reshape(matrix, [1, 6]), tf.zeros([1, 2])], axis=1),
        output_shape=tf.stack([side, side]),
        fill_value=0.0,
        interpolation="BILINEAR",
        fill_mode="CONSTANT",
    )
    seen = tf.cond(finer > 1, lambda: tf.nn.avg_pool2d(seen, 2, 2, "VALID"), lambda: seen)
    return tf.ensure_shape(seen[0, ..., 0], [size_px, size_px])


def block_means(image: tf.Tensor, block: tf.Tensor) -> tf.Tensor:
    """Returns `views.block_means` of an image [H, W]."""
    height, width = (tf.shape(image)[axis] // block for axis in (0, 1))
    whole = image[: height * block, : width * block]
    blocks = tf.reshape(whole, tf.stack([height, block, width, block]))
    return tf.reduce_mean(blocks, axis=[1, 3])
