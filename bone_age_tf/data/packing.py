"""Converts a prepared TFDS folder to a pack. Imports TensorFlow."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds

from bone_age_tf import schema
from bone_age_tf.data import pipeline
from bone_age_tf.data.pack import Example, encode_image, encode_pixels
from bone_age_tf.errors import ConfigError

_REGIONS = "regions"
"""Feature of datasets with boxes of ossification regions, such as hand_phantom."""


def examples(
    builder: tfds.core.DatasetBuilder,
    parts: Mapping[str, pipeline.Part],
    longer_side_px: int = 0,
    quality: int = 0,
    boxes: Mapping[str, np.ndarray] | None = None,
    resize: str = "pad",
) -> Iterator[Example]:
    """Yields the encoded images of all parts; a part that occurs twice is packed once.

    Args:
        builder: TFDS builder of the prepared dataset.
        parts: see `pipeline.choose_parts`.
        longer_side_px: see `pack.encode_image`.
        quality: see `pack.encode_image`.
        boxes: boxes [17, 4] by image id, for a dataset without boxes.
        resize: one of `schema.INPUT_MODES`. `frame` packs each hand in its frame, of the given
            longer side and without boxes; in the other modes images are resized when they are read.

    Raises:
        ConfigError: a frame is without a size.
    """
    framed = resize == schema.FRAME
    encode = _framing(longer_side_px, quality) if framed else None
    names: dict[pipeline.Part, str] = {}
    for name, part in parts.items():
        names.setdefault(part, name)
    own_boxes = _REGIONS in builder.info.features and not framed
    for part, name in names.items():
        rows = pipeline.read_encoded(builder, part, (_REGIONS,) if own_boxes else ())
        for row in rows.as_numpy_iterator():
            image_id = row[schema.IMAGE_ID].decode()
            yield Example(
                image_id,
                name,
                int(row[schema.SEX]),
                float(row[schema.AGE_MONTHS]),
                encode(row[schema.IMAGE])
                if encode is not None
                else encode_image(row[schema.IMAGE], longer_side_px, quality),
                _boxes(row[_REGIONS]) if own_boxes else (boxes or {}).get(image_id),
            )


def _framing(size_px: int, quality: int) -> Callable[[bytes], bytes]:
    """Returns a function that encodes the hand of an encoded radiograph in its frame."""
    if not size_px:
        raise ConfigError("a pack of hands in their frame needs their size, such as --pack_px=320")
    framed_fn = pipeline.traced_decoding(size_px, schema.FRAME)
    return lambda data: encode_pixels(framed_fn(tf.constant(data)).numpy()[..., 0], quality)


def count(builder: tfds.core.DatasetBuilder, parts: Mapping[str, pipeline.Part]) -> int:
    """Returns the number of images that `examples` yields."""
    return sum(len(pipeline.read_table(builder, part)) for part in set(parts.values()))


def _boxes(regions: Mapping[str, Any]) -> np.ndarray:
    """Returns the boxes [17, 4] in the order of `schema.REGIONS`."""
    boxes = np.full((len(schema.REGIONS), 4), np.nan, np.float32)
    boxes[regions["region"]] = regions["bbox"]
    return boxes
