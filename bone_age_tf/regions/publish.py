"""The network that finds the regions of ossification as a LiteRT file."""

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
        network: made by `build_region_detector` and trained.
        figures: by what they were measured on.
        facts: what the metadata says of `data` and `training`.
        images: [N, S, S, 1] float32, 0 to 255, on which the file must agree with the network.
        exports_dir: the version goes to `<exports_dir>/region_detector/<version>/`.

    Raises:
        ParityError: it does not agree; nothing is published.
    """
    size_px = network.input_shape[1]
    metadata = {
        "resize": "stretch",
        "regions": schema.REGIONS,
        "outputs": {
            schema.REGION_BOXES: "[1, 17, 4] ymin, xmin, ymax, xmax, fractions of the image",
            schema.REGION_SCORES: "[1, 17] how well each box is likely to fit, 0 to 1",
        },
        "figures": {name: dataclasses.asdict(found) for name, found in figures.items()},
        **facts,
    }
    return publish_image_network(
        lambda: build_served_detector(build_region_detector(size_px)),
        network,
        images,
        metadata,
        exports_dir,
    )
