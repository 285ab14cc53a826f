"""Films that converters spoiled are read as the sound one is, or refused for what is wrong."""

import io

import numpy as np
import pytest
from PIL import Image

from bone_age_tf.catalog import SHIPPED_MODEL
from bone_age_tf.images.resizing import to_uint8
from bone_age_tf.prepare import draw_radiographs
from bone_age_tf.reader import load
from bone_age_tf.reasons import MARGINS_CROPPED, TEXTS, Reason
from image_files import faulty_films

COARSE_MONTHS = 8.0
"""Sixteen levels show a drawn hand less well."""
MONTHS = 3.0
"""A marker hides a part of the film, and the shipped network reads drawn hands less steadily."""


@pytest.fixture(scope="module")
def read(root):
    reader = load(SHIPPED_MODEL, exports_dir=root / "exports")

    def read_file(data):
        result = reader.read(data, "female")
        return result.note, result.age_months

    return read_file


@pytest.fixture(scope="module")
def files():
    (drawn,) = draw_radiographs((100.0,), 320, seed=3)
    hand = np.asarray(Image.open(io.BytesIO(drawn)), np.float32)
    hand += np.random.default_rng(0).normal(0, 6, hand.shape)  # what is around it is not plain
    low, high = np.percentile(hand, [0.5, 99.5])
    return faulty_films(to_uint8((hand - low) * 255 / (high - low)))


def test_every_fault_is_seen_through_or_refused(read, files):
    reason, sound = read(files["sound"])
    assert reason == "" and 60 < sound < 130
    for name, data in files.items():
        reason, months = read(data)
        if name.startswith("few"):
            assert (name, reason) == (name, TEXTS[Reason.FEW_LEVELS])
            continue
        wide = name.startswith(("surround", "white page", "16 bits, offset"))
        expected = f"{TEXTS[Reason.CORRECTED]} {MARGINS_CROPPED}" if wide else ""
        assert (name, reason) == (name, expected)
        tolerance = COARSE_MONTHS if "4 bits" in name else MONTHS
        assert abs(months - sound) < tolerance, (name, months, sound)
