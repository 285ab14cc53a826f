"""Requests that TensorFlow Serving replays before a new version is served.

Without them the first request waits for TensorFlow's initialisation. The images are drawn, since
the files of a model must not contain patient data.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf

from bone_age_tf import schema
from bone_age_tf.serving.messages import predict_request, prediction_log

FILE = "assets.extra/tf_serving_warmup_requests"
"""Path of the requests in a version's folder, as TensorFlow Serving expects it."""
BATCHES = (1, 4)


def write_warm_up(
    folder: Path, model: str, signatures: Sequence[str], size_px: int, radiographs: Sequence[bytes]
) -> Path:
    """Writes requests to each signature, in batches of `BATCHES`, as a TFRecord of PredictionLog.

    Args:
        folder: folder of the version.
        model: name of the model.
        signatures: signatures of the SavedModel.
        size_px: side of the images for `tensors` in pixels.
        radiographs: PNG or JPEG files of drawn hands.
    """
    path = folder / FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    with tf.io.TFRecordWriter(str(path)) as writer:
        for signature in signatures:
            for batch in BATCHES:
                inputs = _inputs(signature, batch, size_px, radiographs)
                log = prediction_log(predict_request(model, inputs, signature))
                writer.write(log.SerializeToString())
    return path


def _inputs(
    signature: str, batch: int, size_px: int, radiographs: Sequence[bytes]
) -> Mapping[str, np.ndarray]:
    sex = np.array([[place % 2] for place in range(batch)], np.float32)
    if signature == schema.TENSORS_SIGNATURE:
        grey = np.linspace(0, 255, size_px, dtype=np.float32)
        image = np.broadcast_to(grey[:, None, None], (batch, size_px, size_px, 1))
        return {schema.IMAGE: image, schema.SEX: sex}
    files = np.array([radiographs[place % len(radiographs)] for place in range(batch)], object)
    return {schema.IMAGE_BYTES: files, schema.SEX: sex}
