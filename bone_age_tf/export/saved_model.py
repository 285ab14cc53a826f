"""Writes SavedModels for TensorFlow Serving, from encoded files or pixels to ages in months."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from bone_age_tf import schema
from bone_age_tf.export import answers
from bone_age_tf.export.overlay import overlay_png
from bone_age_tf.quality.graph import QualityCheck, check_files
from bone_age_tf.settings import Config
from bone_age_tf.tensors import Tensor


def write_saved_model(
    model: keras.Model,
    config: Config,
    folder: Path,
    quality_check: QualityCheck | None = None,
    detector: keras.Model | None = None,
) -> dict[str, dict]:
    """Writes a SavedModel with its signatures, all for any batch size.

    `serving_default` takes `image_bytes` [B] string, PNG or JPEG files of any sizes, and `sex`
    [B, 1] float32 (0 female, 1 male). Decoding, the quality check and resizing are in the graph. It
    returns the outputs of the model and, for each file, `status`, `reason` and `reason_code`, see
    `answers.with_status`. A file that cannot be read does not affect the others. `explain`, if the
    model has an output `map`, takes the same inputs and also returns the map and `overlay_bytes`
    [B] string, the map over the model's input image as a PNG file, empty without a prediction.
    `tensors` takes `image` [B, size_px, size_px, 1] float32, 0 to 255, corrected and resized, and
    `sex`, and returns all outputs of the model except the map, which takes additional time.

    Args:
        model: the model, built with a static image size.
        config: config, of which `image_size_px` and `resize` are used.
        folder: folder of the SavedModel, which must not exist.
        quality_check: the quality check; None neither rejects nor corrects images.
        detector: the region detector, for a model that reads hands in their frame.

    Returns:
        JSON-ready, by signature: `inputs` and `outputs`, each by name with `shape` (-1 for the
        batch) and `dtype`.
    """
    size_px = config.image_size_px
    sex = tf.TensorSpec([None, 1], tf.float32, name=schema.SEX)

    # Traced here once: the archive would trace each signature twice, which took most of the time of
    # an export.
    quick_fn = _traced_once(_without_map(model), size_px)
    whole_fn = _traced_once(model, size_px)
    look_fn = tf.function(
        lambda image_bytes: check_files(
            image_bytes, size_px, config.resize, quality_check, detector
        ),
        autograph=False,
    ).get_concrete_function(tf.TensorSpec([None], tf.string, name=schema.IMAGE_BYTES))

    def from_bytes(network_fn: Callable[..., Any], image_bytes: Tensor, sex: Tensor) -> Tensor:
        tf.debugging.assert_equal(
            tf.shape(image_bytes)[0],
            tf.shape(sex)[0],
            "image_bytes and sex have different numbers of cases",
        )
        checked = look_fn(image_bytes)
        known_sex = tf.where(answers.is_sex(sex), sex, 0.0)
        outputs = dict(network_fn(checked[schema.IMAGE], known_sex))
        if schema.MAP in outputs:
            outputs[schema.OVERLAY] = overlay_png(checked[schema.IMAGE], outputs[schema.MAP])
        return answers.with_status(checked, sex, outputs)

    # It tracks what the endpoints use; `track` would store every variable a second time.
    archive = keras.export.ExportArchive()
    files = [tf.TensorSpec([None], tf.string, name=schema.IMAGE_BYTES), sex]
    archive.add_endpoint(
        schema.SERVING_SIGNATURE,
        lambda image_bytes, sex: from_bytes(quick_fn, image_bytes, sex),
        files,
    )
    archive.add_endpoint(
        schema.TENSORS_SIGNATURE,
        lambda image, sex: dict(quick_fn(image, sex)),
        [_pixels(size_px), sex],
    )
    if schema.MAP in model.output:
        archive.add_endpoint(
            schema.EXPLAIN_SIGNATURE,
            lambda image_bytes, sex: from_bytes(whole_fn, image_bytes, sex),
            files,
        )
    archive.write_out(folder, verbose=False)
    return _describe(folder)


def _traced_once(model: keras.Model, size_px: int) -> Callable:
    """Returns a model as a TensorFlow function of `image` and `sex`, of any batch size."""
    return tf.function(
        # `training` is explicit, since Keras may otherwise trace a model in training mode.
        lambda image, sex: model({schema.IMAGE: image, schema.SEX: sex}, training=False),
        autograph=False,
    ).get_concrete_function(_pixels(size_px), tf.TensorSpec([None, 1], tf.float32, name=schema.SEX))


def _without_map(model: keras.Model) -> keras.Model:
    outputs = {name: value for name, value in model.output.items() if name != schema.MAP}
    return keras.Model(model.input, outputs, name=model.name)


def _describe(folder: Path) -> dict[str, dict]:
    """Reads the signatures of a SavedModel, as a server does."""
    proto = saved_model_pb2.SavedModel.FromString((folder / "saved_model.pb").read_bytes())
    signatures = proto.meta_graphs[0].signature_def

    def tensors(described: Any) -> Tensor:
        return {
            name: {
                "shape": [dim.size for dim in info.tensor_shape.dim],
                "dtype": tf.dtypes.as_dtype(info.dtype).name,
            }
            for name, info in sorted(described.items())
        }

    return {
        name: {"inputs": tensors(one.inputs), "outputs": tensors(one.outputs)}
        for name, one in sorted(signatures.items())
        if not name.startswith("__")  # TensorFlow's own
    }


def _pixels(size_px: int) -> tf.TensorSpec:
    return tf.TensorSpec([None, size_px, size_px, 1], tf.float32, name=schema.IMAGE)
