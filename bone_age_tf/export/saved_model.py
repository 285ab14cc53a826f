"""SavedModel for TF Serving: encoded files or pixels in, months out."""

from pathlib import Path

import keras
import ml_collections
import tensorflow as tf

from bone_age_tf import schema
from bone_age_tf.config import served_resize
from bone_age_tf.data import preprocessing

BYTES_SIGNATURE = "serving_default"
TENSOR_SIGNATURE = "tensors"
IMAGE_BYTES = "image_bytes"


def write_saved_model(model: keras.Model, config: ml_collections.ConfigDict, folder: Path) -> None:
    """Writes a SavedModel with two signatures, both of any batch size.

    `serving_default` takes `image_bytes` [B] string, PNG or JPEG files, and `sex` [B, 1] float32
    (0 female, 1 male), and does all decoding and resizing in the graph. `tensors` takes `image`
    [B, size_px, size_px, 1] float32, 0 to 255, already resized, and `sex`. Both answer with the
    outputs of the model's head.

    Args:
        model: built with a static image size.
        config: `image_size_px`, `resize` and `served_resize` are used.
        folder: must not exist yet.
    """
    size_px, mode = config.image_size_px, served_resize(config)
    sex = tf.TensorSpec([None, 1], tf.float32, name=schema.SEX)

    def from_bytes(image_bytes, sex):
        image = tf.map_fn(
            lambda data: preprocessing.decode_and_resize(data, size_px, mode),
            image_bytes,
            fn_output_signature=tf.TensorSpec([size_px, size_px, 1], tf.float32),
        )
        return from_pixels(image, sex)

    def from_pixels(image, sex):
        # Named outright: Keras may otherwise trace a model in training mode.
        return model({schema.IMAGE: image, schema.SEX: sex}, training=False)

    archive = keras.export.ExportArchive()
    archive.track(model)
    archive.add_endpoint(
        BYTES_SIGNATURE, from_bytes, [tf.TensorSpec([None], tf.string, name=IMAGE_BYTES), sex]
    )
    archive.add_endpoint(TENSOR_SIGNATURE, from_pixels, [_pixels(None, size_px), sex])
    archive.write_out(folder, verbose=False)


def write_single_case_model(model: keras.Model, size_px: int, folder: Path) -> None:
    """Writes the SavedModel that LiteRT files are converted from: pixels in, batch fixed at 1."""
    archive = keras.export.ExportArchive()
    archive.track(model)
    archive.add_endpoint(
        BYTES_SIGNATURE,
        lambda image, sex: model({schema.IMAGE: image, schema.SEX: sex}, training=False),
        [_pixels(1, size_px), tf.TensorSpec([1, 1], tf.float32, name=schema.SEX)],
    )
    archive.write_out(folder, verbose=False)


def _pixels(batch: int | None, size_px: int) -> tf.TensorSpec:
    return tf.TensorSpec([batch, size_px, size_px, 1], tf.float32, name=schema.IMAGE)
