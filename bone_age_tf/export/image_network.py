"""Exports networks with one image as the input as LiteRT files, compared with Keras."""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter

import bone_age_tf
from bone_age_tf import schema
from bone_age_tf.bundle import INTENDED_USE
from bone_age_tf.errors import ParityError
from bone_age_tf.export import lite
from bone_age_tf.export.keras_file import rounded, write_keras_file
from bone_age_tf.export.publish import next_version
from bone_age_tf.files import only_one_process, write_json
from bone_age_tf.training.precision import in_float32

FILE = "model_float16.tflite"
PARITY_LIMIT = 1e-3
"""Maximum difference of probabilities, and of positions as fractions of the image."""


def publish_image_network(
    build: Callable[[], keras.Model],
    trained: keras.Model,
    images: np.ndarray,
    metadata: dict,
    exports_dir: Path,
    keep_keras: bool = False,
) -> Path:
    """Exports a network with 16-bit weights as the next version under its name.

    Args:
        build: builds the exported network in float32, with the weights of `trained`.
        trained: the trained network, in any precision.
        images: [N, S, S, 1] float32, 0 to 255, on which the file is compared with the network.
        metadata: metadata in addition to name, version and files.
        exports_dir: folder of all exports; the files are written to
            `<exports_dir>/<name>/<version>/`.
        keep_keras: whether the Keras model is saved, too, as a part of SavedModels.

    Raises:
        ParityError: the file's outputs differ from the network's; nothing is published.
    """
    with in_float32():
        plain = build()
        plain.set_weights([rounded(values) for values in trained.get_weights()])
    home = exports_dir / plain.name
    home.mkdir(parents=True, exist_ok=True)
    size_px = plain.input_shape[1]
    with (
        only_one_process(home, f"exporting {plain.name}"),
        tempfile.TemporaryDirectory(prefix=".writing-", dir=home) as temporary,
    ):
        folder = Path(temporary) / "version"
        data = lite.convert_float32(
            lambda image: dict(plain(image, training=False)),
            tf.TensorSpec([1, size_px, size_px, 1], tf.float32, name=schema.IMAGE),
        )
        folder.mkdir()
        data = lite.convert_float16(data)
        _check_parity(plain, data, images)
        (folder / FILE).write_bytes(data)
        if keep_keras:
            write_keras_file(plain, folder / schema.KERAS_FILE)
        version = next_version(home)
        content = {
            "name": plain.name,
            "version": version,
            "intended_use": INTENDED_USE,
            "size_px": size_px,
            "files": {"float16": FILE},
            **metadata,
            "versions": {"bone_age_tf": bone_age_tf.__version__, "keras": keras.__version__},
        }
        write_json(folder / schema.METADATA_FILE, content)
        target = home / str(version)
        os.replace(folder, target)
    return target


def _check_parity(network: keras.Model, data: bytes, images: np.ndarray) -> None:
    interpreter = Interpreter(model_content=data, num_threads=1)
    runner = interpreter.get_signature_runner(schema.SERVING_SIGNATURE)
    expected = network.predict(images, verbose=0)
    for place, image in enumerate(images):
        for name, values in runner(image=image[np.newaxis]).items():
            difference = float(np.abs(values[0] - expected[name][place]).max())
            if not difference < PARITY_LIMIT:  # NaN fails too
                raise ParityError(f"{network.name}: {name} is {difference} from the Keras model")
