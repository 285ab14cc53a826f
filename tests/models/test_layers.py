import keras
import numpy as np
import pytest

from bone_age_tf.models import answer_layers, layers


def test_the_stretch_maps_percentiles_of_the_foreground_to_zero_and_one():
    rng = np.random.default_rng(0)
    images = rng.uniform(60, 180, (3, 50, 40, 1)).astype(np.float32)
    images[:, :20] = 0  # a black border does not count
    found = np.array(layers.PercentileStretch(0.05, 0.95)(images))
    for image, stretched in zip(images, found, strict=True):
        low, high = np.percentile(image[20:], [5, 95])
        expected = np.clip((image - low) / (high - low), 0, 1)
        assert np.abs(stretched - expected).max() < 0.005
    assert found.min() == 0
    assert found.max() == 1


def test_the_stretch_undoes_exposure():
    rng = np.random.default_rng(1)
    image = rng.uniform(40, 120, (1, 60, 60, 1)).astype(np.float32)
    first, second = layers.PercentileStretch()(image), layers.PercentileStretch()(image * 1.6 + 20)
    assert np.abs(np.array(first) - np.array(second)).max() < 0.01


@pytest.mark.parametrize("grey", [0, 100, 255])
def test_a_constant_image_stays_finite(grey):
    found = np.array(layers.PercentileStretch()(np.full((2, 9, 9, 1), grey, np.float32)))
    assert np.isfinite(found).all()
    assert found.min() >= 0
    assert found.max() <= 1


@pytest.fixture
def film():
    return np.random.default_rng(2).uniform(0.2, 0.6, (2, 33, 20, 1)).astype(np.float32)


def test_local_contrast_is_that_of_a_gaussian_neighbourhood(film):
    film[:, :, 15:] = 0  # black does not count
    found = np.array(layers.LocalContrast(reach=0.1, floor=0.02, limit=3.0)(film))
    y, x = np.mgrid[:33, :20]
    for row, column in [(0, 0), (16, 9), (32, 14)]:
        near = np.exp(-0.5 * (((y - row) / 3.3) ** 2 + ((x - column) / 2.0) ** 2)) * (x < 15)
        image = film[1, :, :, 0].astype(float)
        mean = np.average(image, weights=near)
        sd = np.sqrt(np.average((image - mean) ** 2, weights=near) + 0.02**2)
        expected = np.clip((image[row, column] - mean) / sd, -3, 3) / 3
        assert found[1, row, column, 0] == pytest.approx(expected, abs=1e-3)
    assert not found[:, :, 15:].any()


def test_local_contrast_hardly_sees_the_exposure(film):
    contrast = layers.LocalContrast()
    changed = np.array(contrast(film * 0.8 + 0.1)) - np.array(contrast(film))
    assert np.abs(changed).max() < 0.01


def test_a_flat_film_has_no_local_contrast():
    found = np.array(layers.LocalContrast()(np.full((1, 21, 30, 1), 0.7, np.float32)))
    assert np.abs(found).max() < 0.02


def test_expected_age_by_hand():
    distribution = np.array([[0.5, 0.25, 0.25]], np.float32)  # bins of 10 months: 5, 15, 25
    assert np.array(answer_layers.ExpectedAge(10.0)(distribution)) == pytest.approx(12.5)


def test_quantiles_by_hand():
    distribution = np.array([[0.1, 0.8, 0.1], [1.0, 0.0, 0.0]], np.float32)
    found = np.array(answer_layers.DistributionQuantiles(10.0, (0.05, 0.5, 0.95))(distribution))
    # 5 % lies half through the first bin; 50 % half through the second.
    np.testing.assert_allclose(found, [[5, 15, 25], [0.5, 5, 9.5]], atol=1e-3)


def test_constant_sex_follows_the_batch():
    found = np.array(layers.ConstantSex(1)(np.zeros((3, 5, 5, 1), np.float32)))
    assert found.tolist() == [[1.0]] * 3


@pytest.mark.parametrize(
    "layer",
    [
        layers.PercentileStretch(0.02, 0.9, 4.0),
        layers.LocalContrast(0.05, 0.1, 2.0),
        layers.SubsampledConv2D(3, 1, 2),
        layers.GridMeans(4),
        layers.BilinearSquare(6),
        layers.ConstantSex(1),
        answer_layers.ExpectedAge(2.0),
        answer_layers.DistributionQuantiles(2.0, (0.1, 0.9)),
        answer_layers.Unfamiliarity(3),
    ],
)
def test_layers_come_back_from_their_config(layer):
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
    assert type(again) is type(layer)
    assert again.get_config() == layer.get_config()


@pytest.mark.parametrize(("size", "strides"), [((8, 6), 2), ((7, 9), 2), ((7, 8), (3, 2))])
@pytest.mark.parametrize("padding", ["same", "valid"])
def test_a_subsampled_convolution_is_the_strided_one(size, strides, padding):
    image = keras.Input((None, None, 4))
    made = keras.layers.Conv2D(5, 1, strides, padding=padding, name="strided")(image)
    other = keras.layers.Conv2D(5, 3, strides, padding=padding, name="wider")(image)
    model = keras.Model(image, [made, other])
    x = np.random.default_rng(0).normal(size=(2, *size, 4)).astype(np.float32)
    expected = np.array(model(x)[0])
    layers.subsample_before_convolving(model)
    assert type(model.get_layer("strided")) is layers.SubsampledConv2D
    assert type(model.get_layer("wider")) is keras.layers.Conv2D
    np.testing.assert_allclose(np.array(model(x)[0]), expected, atol=1e-6)


@pytest.mark.parametrize("size", [(6, 9), (7, 4), (2, 3)])
def test_grid_means_are_those_of_a_finer_map(size):
    features = np.random.default_rng(2).normal(size=(2, *size, 5)).astype(np.float32)
    # Each place repeated three times: then cells end between places, and plain means will do.
    fine = features.repeat(3, axis=1).repeat(3, axis=2)
    height, width = size
    expected = fine.reshape(2, 3, height, 3, width, 5).mean(axis=(2, 4))
    np.testing.assert_allclose(layers.GridMeans(3)(features), expected, atol=1e-6)


@pytest.mark.parametrize("size", [(6, 9), (5, 5)])
def test_a_bilinear_square_is_that_of_keras(size):
    features = np.random.default_rng(3).normal(size=(2, *size, 5)).astype(np.float32)
    expected = keras.ops.image.resize(features, (12, 12), interpolation="bilinear")
    np.testing.assert_allclose(layers.BilinearSquare(12)(features), expected, atol=1e-5)
