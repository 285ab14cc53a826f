from collections import Counter

import numpy as np
import pytest

from bone_age_tf.evaluation.stress import STRESS, compare_answers, stress_table


@pytest.fixture(scope="module")
def film():
    random = np.random.default_rng(0)
    image = np.zeros((300, 220), np.float32)
    image[20:280, 20:200] = random.uniform(60, 180, (260, 180))
    return image


def test_there_are_thirty_three_in_eleven_families():
    assert len(STRESS) == 33
    assert len(Counter(family for family, _ in STRESS.values())) == 11


@pytest.mark.parametrize("name", STRESS)
@pytest.mark.parametrize("shape", [(300, 220), (40, 90), (5, 3)])
def test_each_changes_a_film_and_leaves_a_film(name, shape):
    _, transform = STRESS[name]
    image = np.random.default_rng(1).uniform(40, 200, shape).astype(np.float32)
    before = image.copy()
    found = transform(image)
    np.testing.assert_array_equal(image, before)  # the caller's own stays
    assert found.dtype == np.float32
    assert found.ndim == 2
    assert min(found.shape) >= 1
    assert 0 <= found.min() <= found.max() <= 255
    again = transform(image)
    np.testing.assert_array_equal(found, again)


@pytest.mark.parametrize("name", STRESS)
def test_none_is_idle(film, name):
    found = STRESS[name][1](film)
    assert (
        found.shape != film.shape
        or np.abs(found - film).mean() > 0.05
        or name == "shrunk to 384 px"
    )


def test_known_values(film):
    def of(name):
        return STRESS[name][1](film)

    np.testing.assert_array_equal(of("inverted"), 255 - film)
    np.testing.assert_array_equal(of("mirrored"), film[:, ::-1])
    np.testing.assert_array_equal(of("flipped top to bottom"), film[::-1])
    np.testing.assert_array_equal(of("upside down"), film[::-1, ::-1])
    np.testing.assert_array_equal(of("a quarter turn")[::-1].T, film)
    np.testing.assert_array_equal(of("a quarter turn clockwise").T[::-1], film)
    np.testing.assert_allclose(of("brighter by 10 %"), film + 25.5)
    np.testing.assert_array_equal(of("cropped by 3 %"), film[9:-9, 7:-7])
    assert of("a black border of 15 %").shape == (390, 286)
    assert max(of("shrunk to 192 px").shape) == 192
    turned = of("10 degrees")
    assert turned.sum() == pytest.approx(film.sum(), rel=0.01)  # nothing is cut off
    for name, part in (("a letter", np.s_[:60, :60]), ("a ruler", np.s_[:, :14])):
        assert of(name)[part].max() == 255


def test_answers_are_compared():
    before = np.array([100, 50, 150, np.nan, 80], float)
    after = np.array([101, 70, np.nan, 90, 80], float)
    found = compare_answers("crop", before, after, np.array([100, 60, 150, 90, 82], float))
    assert (found.n, found.refused) == (3, 1)
    assert found.mae_before == pytest.approx((0 + 10 + 2) / 3)
    assert found.mae_after == pytest.approx((1 + 10 + 2) / 3)
    assert found.mean_move == pytest.approx(21 / 3)
    assert found.far_share == pytest.approx(2 / 4)  # one moves, one is refused
    assert found.failed
    same = compare_answers("crop", before, before, np.zeros(5))
    assert not same.failed
    none = compare_answers("crop", before, np.full(5, np.nan), np.zeros(5))
    assert (none.n, none.refused, none.failed) == (0, 4, True)
    table = stress_table({"one": found, "two": same})
    assert "| crop | one | 3 | 1 | 4.00 | 4.33 | 7.00 | 50.0% | failed |" in table
    assert table.endswith("1 of 2 failed")
