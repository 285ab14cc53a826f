"""Labels for radiographs from a detector that is certain of them."""

import numpy as np
import pytest

from bone_age_tf.data import pipeline
from bone_age_tf.regions import boxes as region_boxes
from bone_age_tf.regions import labelling, proportions, views
from bone_age_tf.regions.detector import Regions
from made_up_hand import made_up_hand


class CertainOfSome:
    """Finds a hand in the middle of each image; of every second image without being certain."""

    size_px, resize_mode = 32, "pad"

    def find(self, image):
        centres = (made_up_hand()[:, ::-1] / 400 + [0.0, 0.1]).astype(np.float32)
        boxes = np.concatenate([centres - 0.02, centres + 0.02], axis=1)
        return Regions(boxes, np.full(17, 0.9 if image.mean() > 50 else 0.1, np.float32))


def test_views_lead_into_each_other():
    view, other = views.whole_view(30, 20), views.whole_view(30, 20, True, "pad", 1)
    points = np.random.default_rng(0).uniform(0, 20, (5, 2))
    first, second = (views.moved_points(points, matrix) for matrix in (view, other))
    step = views.between(view, other)
    np.testing.assert_allclose(views.moved_points(first, step), second, atol=1e-9)


def test_only_certain_hands_teach(phantoms):
    part = pipeline.Part("test")
    found = labelling.label_radiographs(phantoms, part, CertainOfSome(), 48)
    every = region_boxes.read_phantoms(phantoms, "test", 64)
    assert 0 < len(found) < len(every)
    assert found.images.shape[1:] == (48, 48)
    assert found.images.dtype == np.uint8
    assert np.isfinite(found.boxes).all()
    centres = (found.boxes[:, :, :2] + found.boxes[:, :, 2:])[..., ::-1] / 2
    assert not any(
        proportions.impossible_proportions(places) for places in centres.astype(np.float64)
    )
    rest = labelling.label_radiographs(phantoms, part, CertainOfSome(), 48, found.image_id[:1])
    assert rest.image_id == found.image_id[1:]
    assert rest.boxes[0] == pytest.approx(found.boxes[1])
