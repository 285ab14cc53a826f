"""The network that checks films as a LiteRT file with what its users must know."""

import dataclasses
import json
import os
import tempfile
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter

import bone_age_tf
from bone_age_tf import schema
from bone_age_tf.export import lite, parity
from bone_age_tf.export.film_graph import FilmCheck
from bone_age_tf.export.publish import INTENDED_USE, KERAS_FILE, next_version, versions
from bone_age_tf.export.saved_model import BYTES_SIGNATURE
from bone_age_tf.models.film_check import build_film_check
from bone_age_tf.training.film_check import FilmFigures
from bone_age_tf.training.precision import in_float32

_PARITY_LIMIT = 1e-3
"""Of probabilities."""


def publish_film_check(
    network: keras.Model, figures: FilmFigures, facts: dict, images: np.ndarray, exports_dir: Path
) -> Path:
    """Exports the network as the next version of `film_check`.

    Args:
        network: trained, of a static size, in any precision.
        figures: measured on hands that it has not seen.
        facts: what the metadata says of `data` and `training`.
        images: [N, S, S, 1] float32, 0 to 255, on which the file must agree with the network.
        exports_dir: the version goes to `<exports_dir>/film_check/<version>/`.

    Raises:
        parity.ParityError: it does not agree; nothing is published.
    """
    home = exports_dir / schema.FILM_CHECK
    home.mkdir(parents=True, exist_ok=True)
    size_px = network.input_shape[1]
    with in_float32():
        plain = build_film_check(size_px)
        plain.set_weights(network.get_weights())
    with tempfile.TemporaryDirectory(prefix=".writing-", dir=home) as temporary:
        saved, folder = Path(temporary) / "saved_model", Path(temporary) / "version"
        archive = keras.export.ExportArchive()
        archive.add_endpoint(
            BYTES_SIGNATURE,
            lambda image: plain(image, training=False),
            [tf.TensorSpec([1, size_px, size_px, 1], tf.float32, name=schema.IMAGE)],
        )
        archive.write_out(saved, verbose=False)
        data = lite.convert_float32(saved)
        _check_parity(plain, data, images)
        folder.mkdir()
        (folder / "model_float32.tflite").write_bytes(data)
        plain.save(folder / KERAS_FILE)
        version = next_version(home)
        metadata = {
            "name": schema.FILM_CHECK,
            "version": version,
            "intended_use": INTENDED_USE,
            "size_px": size_px,
            "resize": "pad",
            "hand_threshold": figures.hand_threshold,
            "kinds": schema.FILM_KINDS,
            "poses": schema.FILM_POSES,
            "files": {"float32": "model_float32.tflite"},
            "figures": dataclasses.asdict(figures),
            "versions": {"bone_age_tf": bone_age_tf.__version__, "keras": keras.__version__},
            **facts,
        }
        (folder / "metadata.json").write_text(json.dumps(metadata, indent=2) + "\n")
        target = home / str(version)
        os.replace(folder, target)
    return target


def load_film_check(exports_dir: Path) -> FilmCheck | None:
    """Returns the newest exported film check for a SavedModel, None where there is none.

    Raises:
        ValueError: it cannot be used; the message says how to make it again.
    """
    folders = versions(exports_dir / schema.FILM_CHECK)
    if not folders:
        return None
    folder = folders[-1]
    try:
        content = json.loads((folder / "metadata.json").read_text())
        network = build_film_check(content["size_px"])
        trained = keras.saving.load_model(folder / KERAS_FILE, compile=False)
        network.set_weights(trained.get_weights())
        return FilmCheck(network, float(content["hand_threshold"]), int(content["version"]))
    except (KeyError, OSError, TypeError, ValueError) as error:
        raise ValueError(
            f"{folder}: not a usable film check ({type(error).__name__}: {error}); make it again "
            "with: python run.py --mode=train_film_check, or export with --nocheck_films"
        ) from None


def _check_parity(network: keras.Model, data: bytes, images: np.ndarray) -> None:
    interpreter = Interpreter(model_content=data, num_threads=1)
    runner = interpreter.get_signature_runner(BYTES_SIGNATURE)
    expected = network.predict(images, verbose=0)
    for place, image in enumerate(images):
        for name, values in runner(image=image[np.newaxis]).items():
            difference = float(np.abs(values[0] - expected[name][place]).max())
            if not difference < _PARITY_LIMIT:  # NaN fails too
                raise parity.ParityError(f"film_check: {name} is {difference} from the Keras model")
