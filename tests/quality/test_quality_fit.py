"""The training of the network that checks films, on phantoms and small."""

import json

import keras
import numpy as np
import pytest

from bone_age_tf import schema
from bone_age_tf.bundle import load_quality_checker
from bone_age_tf.data import pipeline
from bone_age_tf.errors import ParityError
from bone_age_tf.export import lite
from bone_age_tf.quality import fit
from bone_age_tf.quality.fit import (
    BATCH,
    REFUSED_SHARE,
    QualityBatches,
    measure_quality_check,
    train_quality_check,
)
from bone_age_tf.quality.network import SIZE_PX, build_quality_network
from bone_age_tf.quality.publish import publish_quality_check
from bone_age_tf.quality.samples import make_quality_samples


@pytest.fixture(scope="module")
def hands(phantoms):
    dataset = pipeline.make_evaluation_dataset(
        phantoms, pipeline.Part("train"), 64, "stretch", 16, 48
    )
    return np.concatenate([x["image"].numpy()[..., 0] for x, _ in dataset]).astype(np.uint8)


@pytest.fixture(scope="module")
def trained(hands):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fit, "BATCH", 32)
        return train_quality_check(hands, 70, seed=0)


def test_batches_repeat_and_leave_out_what_cannot_be_told(hands):
    batches = QualityBatches(hands, 3, seed=1)
    assert len(batches) == 3
    images, targets, weights = batches[2]
    np.testing.assert_array_equal(images, batches[2][0])
    assert np.abs(images - batches[1][0]).max() > 1
    assert set(targets) == set(weights) == set(build_quality_network().output)
    whole = targets[schema.IMAGE_KIND] == 0
    np.testing.assert_array_equal(weights[schema.POSE], whole)
    np.testing.assert_array_equal(weights[schema.INVERTED], targets[schema.IMAGE_KIND] < 3)
    assert len(images) == BATCH


def test_it_learns(trained, hands):
    untrained = measure_quality_check(build_quality_network(), hands, 500, seed=3)
    found = measure_quality_check(trained, hands, 500, seed=3)
    assert found.inversions_right > max(0.75, untrained.inversions_right)
    assert found.poses_right > untrained.poses_right + 0.1
    assert found.hands_refused == pytest.approx(REFUSED_SHARE, abs=0.01)
    assert found.samples == 500
    assert set(found.refused) == {"cut", "two", "other"}


def test_its_export_answers_the_same_and_is_read(trained, hands, tmp_path):
    figures = measure_quality_check(trained, hands, 500, seed=3)
    images = make_quality_samples(hands, 8, SIZE_PX, np.random.default_rng(0)).images
    folder = publish_quality_check(trained, figures, {"data": {"name": "x"}}, images, tmp_path)
    assert folder == tmp_path / "film_check" / "1"
    content = json.loads((folder / "metadata.json").read_text())
    assert content["figures"]["samples"] == 500
    assert content["kinds"] == list(schema.IMAGE_KINDS)
    checker = load_quality_checker(tmp_path)
    found = checker.run_network(images[0, ..., 0])
    for name, values in trained.predict(images[:1], verbose=0).items():
        np.testing.assert_allclose(found[name], values, atol=1e-3)
    keras.mixed_precision.set_global_policy("mixed_bfloat16")
    mixed = build_quality_network()
    mixed.set_weights(trained.get_weights())
    again = publish_quality_check(mixed, figures, {}, images, tmp_path)
    assert again.name == "2"
    one, other = ((path / "model_float16.tflite").read_bytes() for path in (folder, again))
    assert len(one) == len(other)


def test_a_broken_conversion_is_not_published(trained, hands, tmp_path, monkeypatch):
    figures = measure_quality_check(trained, hands, 500, seed=3)
    images = make_quality_samples(hands, 2, SIZE_PX, np.random.default_rng(0)).images
    convert = lite.convert_float32

    def convert_wrongly(*arguments):
        data = bytearray(convert(*arguments))
        data[len(data) // 3 : len(data) // 3 + 4000] = bytes(4000)  # amid the weights
        return bytes(data)

    monkeypatch.setattr(lite, "convert_float32", convert_wrongly)
    with pytest.raises(ParityError, match="from the Keras model"):
        publish_quality_check(trained, figures, {}, images, tmp_path)
    assert not list((tmp_path / "film_check").iterdir())
