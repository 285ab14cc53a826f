"""The hand and its frame in the graph of a SavedModel are those of the local reader."""

import cv2
import numpy as np
import pytest
import tensorflow as tf
from bone_age_datasets.hand_phantom.examples import make_example
from bone_age_datasets.hand_phantom.population import PhantomSettings

from bone_age_tf import schema
from bone_age_tf.bundle import load_region_detector
from bone_age_tf.regions import frame, graph, graph_views, proportions, views
from bone_age_tf.regions.network import load_detector_network


@pytest.fixture(scope="module")
def detector(root):
    return load_region_detector(root / "exports")


@pytest.fixture(scope="module")
def network(root):
    return load_detector_network(root / "exports")


def turned(image, degrees, mirrored, scale, height=420, width=360):
    """A hand anywhere on a larger radiograph."""
    image = image[:, ::-1] if mirrored else image
    centre = (image.shape[1] / 2, image.shape[0] / 2)
    matrix = cv2.getRotationMatrix2D(centre, degrees, scale)
    matrix[:, 2] += (width / 2 - centre[0] + 11, height / 2 - centre[1] - 17)
    return cv2.warpAffine(np.ascontiguousarray(image), matrix, (width, height))


@pytest.fixture(scope="module")
def hands():
    """Drawn hands in several positions, and what is no hand."""
    settings = PhantomSettings(image_size_px=256)
    drawn = [
        np.asarray(make_example(settings, "test", place)[0], np.float32)[..., 0]
        for place in (0, 1, 2, 3, 18)
    ]
    noise = np.random.default_rng(0).uniform(0, 255, (300, 200)).astype(np.float32)
    noise = cv2.GaussianBlur(noise, (0, 0), 2)  # which views interpolate alike
    return {
        "as it is": drawn[0],
        "large": cv2.resize(drawn[1], (900, 1100)),
        "mirrored": turned(drawn[1], 8, True, 1.2),
        "upside down": turned(drawn[2], 171, False, 1.0),
        "lying, mirrored": turned(drawn[3], -80, True, 0.8),
        "small": turned(drawn[0], 35, False, 0.5),
        "faint": 190 + turned(drawn[4], 0, False, 0.9) / 8,
        "half": drawn[2][:120],
        "noise": noise,
    }


def in_graph(function, signature=None):
    return tf.function(function, signature, autograph=False)


def test_the_hand_is_found_where_the_reader_finds_it(hands, detector, network):
    any_size = [tf.TensorSpec([None, None, 1], tf.float32)]
    find = in_graph(lambda image: graph.find_hand(image, network), any_size)
    certain = 0
    for name, image in hands.items():
        expected = frame.find_hand(image, detector)
        found = find(tf.constant(image[..., np.newaxis]))
        assert float(found["doubt"]) == pytest.approx(expected.doubt, abs=0.02), name
        if not expected.is_certain:
            continue
        certain += 1
        assert bool(found["mirrored"]) == expected.mirrored, name
        assert bool(found["cut"]) == expected.is_cut, name
        assert bool(found["lacks_digit"]) == expected.lacks_digit, name
        off = np.abs(found["places"] - expected.places).max()
        assert off < 0.01 * proportions.palm_length(expected.places), name
        seen = graph.framed(tf.constant(image[..., np.newaxis]), found, 96)
        assert np.abs(seen[..., 0] - frame.framed(image, expected, 96)).mean() < 1.5, name
    assert certain >= 5


@pytest.mark.parametrize("place", [0, 1, 3])
def test_a_faint_hand_on_a_bright_ground_is_found_like_a_clear_one(place, detector):
    drawn = make_example(PhantomSettings(image_size_px=256), "test", place)[0]
    clear = turned(np.asarray(drawn, np.float32)[..., 0], 0, False, 0.9)
    faint, expected = (frame.find_hand(one, detector) for one in (190 + clear / 16, clear))
    assert faint.is_certain
    off = np.abs(faint.places - expected.places).max()
    assert off < 0.03 * proportions.palm_length(expected.places)


@pytest.mark.parametrize("scale", [0.3, 0.6, 0.9, 1.7])
def test_views_are_warped_alike(scale):
    random = np.random.default_rng(1)
    image = cv2.GaussianBlur(random.uniform(0, 255, (240, 200)).astype(np.float32), (0, 0), 2)
    size_px = 48
    for degrees in (0, 33, -100):
        matrix = cv2.getRotationMatrix2D((100, 120), degrees, scale)
        view = np.add(matrix, [[0, 0, -76], [0, 0, -96]]) / size_px
        found = graph_views.warp(tf.constant(image), tf.constant(view, tf.float32), size_px)
        expected = views.warp(image, view, size_px)
        assert np.abs(found - expected).max() < 4
        assert np.abs(found - expected).mean() < 0.5


def test_proportions_that_no_hand_has_are_counted_alike(hands, detector):
    random = np.random.default_rng(2)
    places = frame.find_hand(hands["as it is"], detector).places
    flags = in_graph(graph.find_impossible)
    counts = set()
    for number in range(60):
        moved = places + random.normal(0, number / 3, places.shape)
        mirrored = bool(number % 2)
        expected = len(proportions.impossible_proportions(moved, mirrored))
        found = flags(tf.constant(moved, tf.float32), tf.constant(mirrored))
        assert int(np.sum(found)) == expected
        counts.add(expected)
    assert len(counts) > 6
    same = np.zeros_like(places)
    assert int(np.sum(flags(tf.constant(same, tf.float32), tf.constant(False)))) == 1


def test_doubts_are_measured_alike(hands, detector):
    random = np.random.default_rng(3)
    places = frame.find_hand(hands["as it is"], detector).places
    measure, lacking = in_graph(graph.measure_doubt), []
    for number in range(60):
        moved = places + random.normal(0, number / 20, places.shape)
        scores = random.uniform(0.7, 1.0, 17).astype(np.float32)
        scores[list(proportions.DIGIT_JOINTS[number % 5])[1:]] = random.uniform(0, 0.5)
        doubt, lacks = measure(tf.constant(moved, tf.float32), scores, tf.constant(False))
        assert float(doubt) == pytest.approx(frame.measure_doubt(moved, scores), abs=1e-5)
        assert bool(lacks) == frame.lacks_digit(moved, scores)
        lacking.append(bool(lacks))
    assert 10 < sum(lacking) < 50


def test_a_wrist_beyond_the_edge_is_noticed_alike(hands, detector):
    hand = frame.find_hand(hands["as it is"], detector)
    beyond = in_graph(graph.lies_beyond)
    outcomes = []
    low, high = hand.places.min(axis=0), hand.places.max(axis=0)
    for width, height in ((high[0] + 9, y) for y in range(round(low[1]), round(high[1]) + 40, 7)):
        expected = frame.lies_beyond(hand.places, hand.mirrored, width, height)
        places, size = tf.constant(hand.places, tf.float32), tf.constant([width, height])
        assert (
            bool(beyond(places, tf.constant(hand.mirrored), tf.cast(size, tf.float32))) == expected
        )
        outcomes.append(expected)
    assert outcomes[0]
    assert not outcomes[-1]
    assert frame.lies_beyond(hand.places, hand.mirrored, high[0] - 1, 1000)


def test_joints_in_one_place_still_have_a_view():
    """A detector that finds all joints in one place must not stop a batch."""
    same = np.full((17, 2), 5.0)
    expected = frame.frame_view(same)
    assert np.isfinite(views.inverse(expected)).all()
    found = graph.frame_view(tf.constant(same, tf.float32), tf.constant(False), schema.FRAME_MARGIN)
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    seen = graph_views.warp(tf.ones([30, 20]), found, 16)
    assert np.isfinite(seen).all()


def test_the_frame_is_the_same(hands, detector):
    hand = frame.find_hand(hands["small"], detector)
    for mirrored in (False, True):
        found = graph.frame_view(
            tf.constant(hand.places, tf.float32), tf.constant(mirrored), schema.FRAME_MARGIN
        )
        np.testing.assert_allclose(found, frame.frame_view(hand.places, mirrored), atol=1e-4)


def test_the_network_of_the_graph_is_that_of_the_reader(hands, detector, network):
    image = views.warp(hands["as it is"], views.whole_view(256, 256), detector.size_px)
    found = network(image[np.newaxis, ..., np.newaxis], training=False)
    expected = detector.find(image)
    np.testing.assert_allclose(found[schema.REGION_BOXES][0], expected.boxes, atol=2e-3)
    np.testing.assert_allclose(found[schema.REGION_SCORES][0], expected.scores, atol=5e-3)
