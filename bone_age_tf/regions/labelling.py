"""Boxes for radiographs that nobody has annotated, from a detector that is certain of them.

The exported detector finds upright hands well once it may look twice. What it finds there teaches
the next one to find hands in any position (self-training; Xie et al. 2020, arXiv 1911.04252).
"""

from collections.abc import Collection
from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds

from bone_age_tf import schema
from bone_age_tf.data import pipeline
from bone_age_tf.images import reading, resizing
from bone_age_tf.regions import frame, views
from bone_age_tf.regions.boxes import RegionImages
from bone_age_tf.regions.detector import RegionDetector

MOST_DOUBT = 0.4
"""Doubt above which a hand teaches nothing."""


def label_radiographs(
    builder: tfds.core.DatasetBuilder,
    part: pipeline.Part,
    detector: RegionDetector,
    size_px: int,
    left_out: Collection[str] = (),
) -> RegionImages:
    """Returns the radiographs of a part in which the detector is certain of the hand.

    Args:
        builder: the prepared dataset.
        part: of the dataset.
        detector: finds the hands.
        size_px: side of the square images in pixels, padded; right hands are mirrored to left ones.
        left_out: ids of images that are not read.
    """
    ids, images, boxes = [], [], []
    for row in pipeline.read_encoded(builder, part).as_numpy_iterator():
        name = Path(row[schema.IMAGE_ID].decode()).stem
        if name in left_out:
            continue
        image = reading.read_radiograph(row[schema.IMAGE], name)
        hand = frame.find_hand(image, detector)
        if hand.doubt > MOST_DOUBT:
            continue
        height, width = image.shape
        square = views.whole_view(height, width, hand.mirrored, "pad")
        ids.append(name)
        images.append(resizing.to_uint8(views.warp(image, square, size_px)))
        boxes.append(hand.boxes_in(square))
    return RegionImages(ids, np.stack(images), np.stack(boxes))
