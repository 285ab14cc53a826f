import numpy as np
import pytest

from bone_age_tf.data.augmentation_layers import (
    RandomCover,
    RandomExposure,
    RandomGreys,
    RandomMarks,
    RandomMixUp,
    RandomPairing,
    RandomPose,
)


def ellipse(height, width, tall, wide):
    """A lit ellipse about the middle, its half axes in parts of the image's sides."""
    y, x = np.mgrid[:height, :width]
    y, x = (y + 0.5) / height - 0.5, (x + 0.5) / width - 0.5
    inside = np.clip(40 * (1 - np.hypot(y / tall, x / wide)), 0, 1)
    return np.repeat(200 * inside[None, ..., None], 8, axis=0).astype(np.float32)


@pytest.fixture
def noise():
    return np.random.default_rng(0).uniform(0, 255, (8, 31, 20, 1)).astype(np.float32)


def test_without_strength_a_pose_stays(noise):
    np.testing.assert_allclose(RandomPose()(noise, training=True), noise, atol=0.01)


def test_flips_mirror_some_and_leave_others(noise):
    found = np.array(RandomPose(flip=True, seed=1)(noise, training=True))
    mirrored = np.isclose(found, noise[:, :, ::-1], atol=0.01).all(axis=(1, 2, 3))
    kept = np.isclose(found, noise, atol=0.01).all(axis=(1, 2, 3))
    assert (mirrored ^ kept).all()
    assert mirrored.any()
    assert kept.any()


@pytest.mark.parametrize(("shape", "wide"), [((60, 60), 0.2), ((60, 40), 0.3)])
def test_a_disc_turns_into_itself(shape, wide):
    disc = ellipse(*shape, 0.2, wide)
    found = np.array(RandomPose(degrees=180)(disc, training=True))
    assert np.abs(found - disc).mean() < 2


def test_an_ellipse_does_not_turn_into_itself():
    disc = ellipse(60, 60, 0.2, 0.4)
    found = np.array(RandomPose(degrees=180)(disc, training=True))
    assert np.abs(found - disc).mean() > 10


def test_zoom_and_aspect_stay_in_their_limits():
    disc = ellipse(80, 80, 0.2, 0.2)
    area = disc[0].sum()
    found = np.array(RandomPose(zoom=0.5, seed=2)(disc, training=True)).sum(axis=(1, 2, 3)) / area
    assert (found < 1.05 * 1.5**2).all()
    assert (found > 0.95 / 1.5**2).all()
    assert found.max() / found.min() > 1.5
    found = np.array(RandomPose(aspect=0.4, seed=2)(disc, training=True))
    np.testing.assert_allclose(found.sum(axis=(1, 2, 3)) / area, 1, atol=0.02)
    ratios = (found > 100).any(axis=1).sum(axis=1) / (found > 100).any(axis=2).sum(axis=1)
    assert ratios.max() < 1.5
    assert ratios.min() > 1 / 1.5
    assert ratios.max() / ratios.min() > 1.2


def test_what_comes_in_is_black():
    white = np.full((8, 40, 40, 1), 255, np.float32)
    found = np.array(RandomPose(shift=0.3, seed=0)(white, training=True))
    assert set(np.unique(found.round())) >= {0.0, 255.0}
    assert (found.mean(axis=(1, 2, 3)) < 254).all()


def test_a_cover_is_a_black_box_on_some():
    white = np.full((64, 40, 30, 1), 255, np.float32)
    found = np.array(RandomCover(rate=0.5, area=0.1, seed=0)(white, training=True))[..., 0]
    black = found == 0
    assert set(np.unique(found)) == {0.0, 255.0}
    covered = black.any(axis=(1, 2))
    assert 15 < covered.sum() < 49
    assert black.mean(axis=(1, 2)).max() < 0.15
    for one in black[covered]:  # a full rectangle
        rows, columns = np.flatnonzero(one.any(axis=1)), np.flatnonzero(one.any(axis=0))
        assert one[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].all()


def test_exposure_stays_in_the_range_of_each_image():
    images = np.random.default_rng(1).uniform(60, 90, (8, 20, 20, 1)).astype(np.float32)
    images[3] = 70  # constant
    found = np.array(RandomExposure(tone=1.0, sharpness=0.7, seed=3)(images, training=True))
    assert np.isfinite(found).all()
    assert (found >= images.min(axis=(1, 2, 3), keepdims=True) - 1e-3).all()
    assert (found <= images.max(axis=(1, 2, 3), keepdims=True) + 1e-3).all()
    np.testing.assert_allclose(found[3], 70)


def test_tone_keeps_the_order_of_greys_and_sharpness_the_mean():
    ramp = np.tile(np.linspace(0, 255, 32, dtype=np.float32)[:, None, None], (4, 1, 8, 1))
    bent = np.array(RandomExposure(tone=1.0, seed=4)(ramp, training=True))
    assert (np.diff(bent, axis=1) > 0).all()
    middle = bent[:, 16, 0, 0]
    assert middle.max() - middle.min() > 20
    spots = np.random.default_rng(2).uniform(100, 150, (4, 32, 32, 1)).astype(np.float32)
    spots[:, 0, 0], spots[:, 0, 1] = 0, 255  # nothing is cut off
    found = np.array(RandomExposure(sharpness=0.7, seed=5)(spots, training=True))
    spread = found[:, 3:-3, 3:-3].std(axis=(1, 2, 3)) / spots[:, 3:-3, 3:-3].std(axis=(1, 2, 3))
    assert spread.max() > 1.1
    assert spread.min() < 0.9
    np.testing.assert_allclose(found.mean(axis=(1, 2, 3)), spots.mean(axis=(1, 2, 3)), rtol=0.02)


def test_shrunk_hands_are_not_enlarged():
    disc = ellipse(80, 80, 0.2, 0.2)
    found = np.array(RandomPose(zoom=0.0, shrink=0.5, seed=2)(disc, training=True))
    areas = found.sum(axis=(1, 2, 3)) / disc[0].sum()
    assert areas.max() < 1.02
    assert 0.95 / 1.5**2 < areas.min() < 0.8


def test_crushed_greys_become_black_in_some_and_white_in_others():
    ramp = np.tile(np.linspace(0, 255, 64, dtype=np.float32)[:, None, None], (40, 1, 8, 1))
    found = np.array(RandomExposure(crush=0.4, seed=6)(ramp, training=True))
    black, white = (found < 1).mean(axis=(1, 2, 3)), (found > 254).mean(axis=(1, 2, 3))
    assert black.max() == pytest.approx(0.4, abs=0.06)
    assert white.max() == pytest.approx(0.2, abs=0.06)
    for share in (black, white):
        assert 10 < (share < 0.03).sum() < 30
    assert (np.diff(found, axis=1) >= -1e-3).all()


def test_some_images_keep_few_grey_levels():
    ramp = np.tile(np.linspace(0, 255, 512, dtype=np.float32)[:, None, None], (60, 1, 2, 1))
    found = np.array(RandomExposure(levels=8, seed=6)(ramp, training=True))
    counts = np.array([len(np.unique(image)) for image in found])
    assert 8 <= counts.min() < 12
    assert 20 < np.median(counts) < 100  # the middle of 8 and 256 by their ratio is 45
    assert counts.max() > 150
    np.testing.assert_allclose(found.min(axis=(1, 2, 3)), 0, atol=1e-3)
    np.testing.assert_allclose(found.max(axis=(1, 2, 3)), 255, atol=1e-3)


def test_grain_makes_black_lighter():
    film = np.zeros((16, 40, 40, 1), np.float32)
    film[:, 0, 0] = 200
    found = np.array(RandomExposure(grain=0.1, seed=7)(film, training=True))
    assert found.min() == 0
    dark = found[:, 1:].mean(axis=(1, 2, 3)) / 200
    assert 0.02 < dark.max() < 0.045  # a half normal distribution's mean is 0.4 SD
    assert dark.min() < 0.01


def test_marks_are_specks_in_a_box_on_some():
    film = np.full((64, 60, 60, 1), 20, np.float32)
    found = np.array(RandomMarks(rate=0.5, seed=1)(film, training=True))[..., 0]
    marked = (found > 100).any(axis=(1, 2))
    assert 15 < marked.sum() < 49
    np.testing.assert_array_equal(found[~marked], 20)
    for one in found[marked] > 100:
        rows, columns = np.flatnonzero(one.any(axis=1)), np.flatnonzero(one.any(axis=0))
        assert min(np.ptp(rows), np.ptp(columns)) < 0.11 * 60
        assert max(np.ptp(rows), np.ptp(columns)) < 0.51 * 60


@pytest.mark.parametrize(
    "layer",
    [
        RandomPose(degrees=20, flip=True),
        RandomExposure(1.0, 0.7, 0.2, 0.1),
        RandomCover(1.0),
        RandomMarks(1.0),
        RandomGreys(1.0),
    ],
)
def test_outside_training_nothing_changes(layer, noise):
    np.testing.assert_array_equal(layer(noise, training=False), noise)


def test_pairs_are_of_one_sex_and_nearly_one_age():
    image = np.arange(5, dtype=np.float32)[:, None, None, None] * np.ones((1, 4, 4, 1), "f4")
    sex = np.array([[0], [0], [1], [1], [0]], np.float32)
    age = np.array([[100], [104], [102], [107], [150]], np.float32)
    found, ages = RandomPairing(1.0, 6.0)([image, sex, age])
    np.testing.assert_array_equal(ages, age)
    found = np.array(found)[:, 0, 0, 0]
    # 0 with 1 and 2 with 3; the last has no partner.
    np.testing.assert_allclose(found, [0.5, 0.5, 2.5, 2.5, 4])


def test_some_are_paired_and_partners_change():
    image = np.arange(64, dtype=np.float32)[:, None, None, None] * np.ones((1, 2, 2, 1), "f4")
    same = np.zeros((64, 1), np.float32)
    layer = RandomPairing(0.5, 6.0, seed=1)
    first, second = (np.array(layer([image, same, same])[0])[:, 0, 0, 0] for _ in range(2))
    changed = first != np.arange(64)
    assert 0.3 < changed.mean() < 0.7
    assert (first != second).mean() > 0.3
    partners = 2 * first[changed] - np.arange(64)[changed]
    assert len(set(partners)) > 15


def test_mixed_images_have_ages_mixed_alike_and_one_sex():
    age = np.arange(64, dtype=np.float32)[:, None]
    image = age[:, None, None] * np.ones((1, 2, 2, 1), "f4")  # an image shows its age
    sex = (age >= 40).astype(np.float32)
    found, ages = (np.array(x) for x in RandomMixUp(0.5, seed=2)([image, sex, age]))
    np.testing.assert_allclose(found[:, 0, 0, 0], ages[:, 0], rtol=1e-5)
    assert (np.abs(ages - age) > 1).mean() > 0.3
    assert ages[:40].max() < 40 <= ages[40:].min()
    alone, own = RandomMixUp(0.5)([image[:2], np.array([[0], [1]], "f4"), age[:2]])
    np.testing.assert_array_equal(own, age[:2])
    np.testing.assert_array_equal(alone, image[:2])


def test_matched_greys_are_those_of_another_image():
    random = np.random.default_rng(0)
    image = random.uniform(0, 1, (32, 30, 30, 1)).astype(np.float32)
    image[:, :10] = 0  # what is of one grey
    image = image * np.linspace(50, 100, 32, dtype=np.float32)[:, None, None, None] + 20
    found = np.array(RandomGreys(0.5, seed=1)(image, training=True))
    tops = found.max(axis=(1, 2, 3))
    changed = np.abs(tops - image.max(axis=(1, 2, 3))) > 0.1
    assert 0.2 < changed.mean() < 0.8
    for own, other in zip(image[changed], found[changed], strict=True):
        assert np.ptp(other[:10]) < 1e-3
        nearest = np.argmin(np.abs(image.max(axis=(1, 2, 3)) - other.max()))
        np.testing.assert_allclose(np.sort(other, None), np.sort(image[nearest], None), atol=3)
        order = np.argsort(own, axis=None)
        assert (np.diff(other.ravel()[order]) > -1e-3).all()
