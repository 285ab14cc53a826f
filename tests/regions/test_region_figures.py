import numpy as np
import pytest

from bone_age_tf import schema
from bone_age_tf.regions.figures import average_precision, measure_detection, overlaps

BOX = np.array([0.2, 0.2, 0.4, 0.4])


def moved(by):
    return BOX + by


def test_overlaps_are_intersections_over_unions():
    found = overlaps(np.stack([BOX, moved(0.1), np.full(4, np.nan)]), BOX[None])
    np.testing.assert_allclose(found[:, 0], [1, 0.01 / 0.07, 0], atol=1e-9)


def test_precision_counts_what_comes_before_each_hit():
    """Hits at ranks 1 and 3 of two true boxes: 1/2 x 1 + 1/2 x 2/3."""
    boxes = [np.stack([BOX, moved(0.5), moved(0.3)])]
    truths = [np.stack([BOX, moved(0.3)])]
    scores = [np.array([0.9, 0.8, 0.7])]
    assert average_precision(boxes, scores, truths) == pytest.approx(0.5 + 0.5 * 2 / 3)
    assert average_precision(boxes, [np.array([0.9, 0.1, 0.7])], truths) == pytest.approx(1)


def test_a_true_box_is_found_once():
    boxes, scores = [np.stack([BOX, BOX])], [np.array([0.9, 0.8])]
    assert average_precision(boxes, scores, [BOX[None]]) == pytest.approx(1)
    assert average_precision(boxes, scores, [np.stack([BOX, moved(0.5)])]) == pytest.approx(0.5)
    assert np.isnan(average_precision(boxes, scores, [np.full((1, 4), np.nan)]))


def test_figures_by_group_and_region():
    places = np.linspace(0, 0.5, 17)
    truths = np.tile(np.stack([moved(at) for at in places])[None], (2, 1, 1))
    boxes, scores = truths.copy(), np.full((2, 17), 0.5)
    ulna = schema.REGIONS.index("ulna")
    boxes[:, ulna] += [0.03, 0.04, 0.03, 0.04]
    truths[1, schema.REGIONS.index("wrist")] = np.nan
    scores[1, schema.REGIONS.index("wrist")] = 0.1
    found = measure_detection(boxes, scores, truths)
    assert found.images == 2
    assert found.by_region["DIP3"] == pytest.approx(1)
    assert found.by_group["wrist"] == pytest.approx(1)  # the false one has the lower score
    assert found.centre_error_by_group["ulna"] == pytest.approx(0.05)
    assert found.centre_error == pytest.approx(0.05 * 2 / 33)
    boxes[:, ulna] += 0.2
    assert measure_detection(boxes, scores, truths).by_region["ulna"] == 0
