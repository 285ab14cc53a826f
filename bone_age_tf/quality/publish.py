"""Exports the network of the quality check, and loads it for a SavedModel."""

import dataclasses
import json
from pathlib import Path

import keras
import numpy as np

from bone_age_tf import catalog, schema
from bone_age_tf.errors import ModelError
from bone_age_tf.export.image_network import publish_image_network
from bone_age_tf.program import program
from bone_age_tf.quality.fit import QualityFigures
from bone_age_tf.quality.graph import QualityCheck
from bone_age_tf.quality.network import build_quality_network


def publish_quality_check(
    network: keras.Model,
    figures: QualityFigures,
    facts: dict,
    images: np.ndarray,
    exports_dir: Path,
) -> Path:
    """Exports the network of the quality check as the next version of `film_check`.

    Args:
        network: the trained network, with a static image size, in any precision.
        figures: its accuracy on held-out hands.
        facts: metadata entries `data` and `training`.
        images: [N, S, S, 1] float32, 0 to 255, on which the file is compared with the network.
        exports_dir: folder of all exports; the files are written to
            `<exports_dir>/film_check/<version>/`.

    Raises:
        ParityError: the file's outputs differ from the network's; nothing is published.
    """
    metadata = {
        "resize": "pad",
        "hand_threshold": figures.hand_threshold,
        "kinds": schema.IMAGE_KINDS,
        "poses": schema.POSES,
        "figures": dataclasses.asdict(figures),
        **facts,
    }
    size_px = network.input_shape[1]
    return publish_image_network(
        lambda: build_quality_network(size_px),
        network,
        images,
        metadata,
        exports_dir,
        keep_keras=True,
    )


def load_quality_check(exports_dir: Path) -> QualityCheck | None:
    """Returns the newest exported quality check for a SavedModel, or None if there is none.

    Raises:
        ModelError: the export cannot be used; the message names the command that makes a new one.
    """
    folder = catalog.find_network(schema.QUALITY_CHECK, exports_dir)
    if folder is None:
        return None
    try:
        content = json.loads((folder / schema.METADATA_FILE).read_text())
        network = build_quality_network(content["size_px"])
        trained = keras.saving.load_model(folder / schema.KERAS_FILE, compile=False)
        network.set_weights(trained.get_weights())
        return QualityCheck(network, float(content["hand_threshold"]), int(content["version"]))
    except (KeyError, OSError, TypeError, ValueError) as error:
        raise ModelError(
            f"{folder}: not a usable quality check ({type(error).__name__}: {error}); make it "
            f"again with: {program()} --mode=train_quality_check, or export with --noquality_check"
        ) from None
