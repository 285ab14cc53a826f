"""The trained network as an archive."""

import zipfile

import keras
import numpy as np

from bone_age_tf.export.keras_file import write_keras_file


def test_it_halves_and_answers_as_before(tmp_path):
    keras.utils.set_random_seed(0)
    image = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(64, 3)(image)
    x = keras.layers.BatchNormalization()(x)
    network = keras.Model(image, keras.layers.Dense(64)(keras.layers.Flatten()(x)))
    variance = next(one for one in network.weights if one.path.endswith("moving_variance"))
    variance.assign(np.full(64, 1e6, np.float32))  # not within half precision
    trained = network.get_weights()
    network.save(tmp_path / "plain.keras")

    write_keras_file(network, tmp_path / "model.keras")

    for now, before in zip(network.get_weights(), trained, strict=True):
        np.testing.assert_array_equal(now, before)
    again = keras.saving.load_model(tmp_path / "model.keras", compile=False)
    for now, before in zip(again.get_weights(), trained, strict=True):
        np.testing.assert_allclose(now, before, rtol=2**-11, atol=1e-7)
    sizes = [(tmp_path / name).stat().st_size for name in ("model.keras", "plain.keras")]
    assert sizes[0] < 0.56 * sizes[1]
    with zipfile.ZipFile(tmp_path / "model.keras") as archive:
        assert archive.testzip() is None
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.keras", "plain.keras"]
