import io

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from bone_age_tf.evaluation.colours import palette
from bone_age_tf.export.overlay import overlay_png


def pictures(maps, side_px=40):
    image = tf.fill([len(maps), 10, 10, 1], 100.0)
    graph = tf.function(lambda image, maps: overlay_png(image, maps, side_px))
    found = graph(image, tf.constant(maps, tf.float32)).numpy()
    return [np.asarray(Image.open(io.BytesIO(one))) for one in found]


def test_pictures_are_made_in_the_graph():
    maps = np.zeros((2, 4, 4))
    maps[1, 0, 0] = 1.0
    empty, marked = pictures(maps)
    assert empty.shape == (40, 40, 3)
    np.testing.assert_array_equal(empty, 100)  # where nothing matters the film is left alone
    colour = palette(False)[255].astype(float)
    opaque = colour[3] / 255
    np.testing.assert_allclose(marked[0, 0], opaque * colour[:3] + (1 - opaque) * 100, atol=1)
    np.testing.assert_array_equal(marked[39, 39], 100)


@pytest.mark.parametrize("places", [1, 7])
def test_maps_of_any_size_are_enlarged(places):
    (found,) = pictures(np.ones((1, places, places)), 33)
    assert found.shape == (33, 33, 3)
    assert np.ptp(found, axis=(0, 1)).max() == 0
