import numpy as np
import pytest

from bone_age_tf.images import resizing
from bone_age_tf.images.resizing import resize, shrink, trim_margins


@pytest.mark.parametrize(
    ("height", "width", "size_px", "expected"),
    [
        (100, 50, 10, (10, 5)),
        (50, 100, 10, (5, 10)),
        (3, 3, 8, (8, 8)),
        (1000, 1, 10, (10, 1)),  # at least one pixel
        (4, 3, 10, (10, 8)),  # 7.5 is rounded up
        (1514, 2044, 128, (95, 128)),  # 94.81
    ],
)
def test_fitted_size(height, width, size_px, expected):
    assert resizing.fitted_size(height, width, size_px) == expected


def test_pad_centres_on_black():
    wide = resize(np.full((4, 8), 100, np.float32), 8)
    np.testing.assert_allclose(wide[2:6], 100, atol=1e-4)
    assert wide.shape == (8, 8)
    assert wide[:2].max() == wide[6:].max() == 0
    tall = resize(np.full((9, 4), 100, np.float32), 9)  # 5 columns over: 2 left, 3 right
    np.testing.assert_array_equal(tall.max(axis=0), [0, 0, 100, 100, 100, 100, 0, 0, 0])


def test_black_edges_are_cut_off():
    hand = textured(120, 90)
    framed = np.pad(hand, [(30, 5), (0, 61)], constant_values=3)
    np.testing.assert_array_equal(trim_margins(framed), hand)


def textured(height, width):
    """Greys of 20 to 200 without a row or column of one grey."""
    return np.random.default_rng(0).uniform(20, 200, (height, width)).astype(np.float32)


@pytest.mark.parametrize("grey", [0, 4, 5, 60, 128, 255])
def test_margins_of_any_grey_are_cut_off(grey):
    hand = textured(90, 70)
    np.testing.assert_array_equal(trim_margins(np.pad(hand, 30, constant_values=grey)), hand)
    noisy = np.pad(hand, 30, constant_values=grey)
    noisy[:30] += np.random.default_rng(1).uniform(-1.4, 1.4, (30, 130))
    noisy[3, 5] = abs(grey - 100)  # dust
    np.testing.assert_array_equal(trim_margins(noisy), hand)


def test_margins_around_margins_are_cut_off():
    hand = textured(90, 70)
    framed = np.pad(np.pad(hand, 20), 15, constant_values=255)
    np.testing.assert_array_equal(trim_margins(framed), hand)
    np.testing.assert_array_equal(trim_margins(np.pad(framed, 9, constant_values=90)), hand)


def test_a_margin_that_gets_brighter_line_by_line_is_cut_off():
    hand = textured(90, 70)
    above = np.repeat(np.linspace(0, 255, 40, dtype=np.float32)[:, None], 70, axis=1)
    np.testing.assert_array_equal(trim_margins(np.vstack([above, hand])), hand)


def test_a_plain_background_is_no_margin():
    rows, columns = np.mgrid[:120, :100]
    is_hand = 3 * abs(columns - 50) < rows - 30
    film = np.where(is_hand, textured(120, 100), np.float32(30))
    np.testing.assert_array_equal(trim_margins(film), film)
    np.testing.assert_array_equal(trim_margins(np.pad(film, 40, constant_values=90)), film)


@pytest.mark.parametrize(("edge", "left"), [(1, 101), (2, 102), (3, 100)])
def test_a_thin_black_edge_stays(edge, left):
    framed = np.pad(textured(100, 80), [(edge, 0), (0, 0)])
    assert trim_margins(framed).shape == (left, 80)


def test_only_edges_are_cut_and_a_black_film_stays():
    film = textured(20, 30)
    film[8:12, 10:20] = 0
    np.testing.assert_array_equal(trim_margins(film), film)
    black = np.full((20, 30), 3, np.float32)
    np.testing.assert_array_equal(trim_margins(black), black)


def test_stretch_fills_the_square():
    found = resize(np.full((4, 8), 100, np.float32), 6, "stretch")
    np.testing.assert_allclose(found, np.full((6, 6), 100), atol=1e-4)


def test_halving_is_antialiased():
    """Weights of the triangle filter of radius 2: 1/8, 3/8, 3/8, 1/8, renormalised at the edge."""
    line = np.array([[0, 10, 40, 100]], np.float32)
    left = (3 * 0 + 3 * 10 + 1 * 40) / 7
    right = (1 * 10 + 3 * 40 + 3 * 100) / 7
    np.testing.assert_allclose(
        resize(np.repeat(line, 4, axis=0), 2, "stretch"), [[left, right]] * 2, atol=1e-4
    )
    np.testing.assert_allclose(resize(line, 2), [[left, right], [0, 0]], atol=1e-4)


def test_doubling_is_linear_with_centred_samples():
    found = resize(np.array([[0, 100]] * 2, np.float32), 4, "stretch")
    np.testing.assert_allclose(found, [[0, 25, 75, 100]] * 4, atol=1e-4)


@pytest.mark.parametrize("mode", ["pad", "stretch"])
def test_the_right_size_passes_unchanged(mode):
    image = np.random.default_rng(0).random((5, 5), np.float32)
    np.testing.assert_array_equal(resize(image, 5, mode), image)


def test_resize_keeps_the_range_and_the_input():
    image = np.random.default_rng(0).integers(0, 256, (37, 61)).astype(np.float32)
    before = image.copy()
    found = resize(image, 16)
    assert 0 <= found.min() <= found.max() <= 255
    np.testing.assert_array_equal(image, before)


def test_resize_takes_views_and_other_number_types():
    image = np.arange(16).reshape(4, 4)
    expected = resize(image.astype(np.float32).T.copy(), 2)
    np.testing.assert_allclose(resize(image.T, 2), expected)


def test_unknown_resize_mode():
    with pytest.raises(ValueError, match="resize mode is 'crop'; known: pad, stretch"):
        resize(np.zeros((2, 2), np.float32), 2, "crop")


def test_shrink():
    image = np.full((40, 20), 50, np.float32)
    np.testing.assert_allclose(shrink(image, 10), np.full((10, 5), 50), atol=1e-4)
    assert shrink(image, 40) is image
    assert shrink(image, 100) is image


def test_to_uint8_rounds_and_clips():
    found = resizing.to_uint8(np.array([[-3.0, 0.4, 0.6, 254.7, 300.0]]))
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, [[0, 0, 1, 255, 255]])
