"""Exports the region detector as a LiteRT file; and as a Keras file, for SavedModels."""

import dataclasses
from pathlib import Path

import keras
import numpy as np

from bone_age_tf import schema
from bone_age_tf.export.image_network import publish_image_network
from bone_age_tf.regions.figures import DetectionFigures
from bone_age_tf.regions.network import build_region_detector, build_served_detector


def publish_region_detector(
    network: keras.Model,
    figures: dict[str, DetectionFigures],
    facts: dict,
    images: np.ndarray,
    exports_dir: Path,
) -> Path:
    """Exports the network as the next version of `region_detector`.

    Args:
        network: the trained model, built by `build_region_detector`.
        figures: accuracy by name of the test data.
        facts: metadata entries `data` and `training`.
        images: [N, S, S, 1] float32, 0 to 255, on which the file is compared with the network.
        exports_dir: folder of all exports; the files are written to
            `<exports_dir>/region_detector/<version>/`.

    Raises:
        ParityError: the file's outputs differ from the network's; nothing is published.
    """
    size_px = network.input_shape[1]
    metadata = {
        "resize": "pad",
        "regions": schema.REGIONS,
        "outputs": {
            schema.REGION_BOXES: "[1, 17, 4] ymin, xmin, ymax, xmax, fractions of the image",
            schema.REGION_SCORES: "[1, 17] predicted overlap (IoU) of each box, 0 to 1",
        },
        "figures": {name: dataclasses.asdict(accuracy) for name, accuracy in figures.items()},
        **facts,
    }
    return publish_image_network(
        lambda: build_served_detector(build_region_detector(size_px)),
        network,
        images,
        metadata,
        exports_dir,
        keep_keras=True,
    )
