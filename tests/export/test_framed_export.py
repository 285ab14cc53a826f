"""A model that reads hands in their frame: the reader, the SavedModel and the pipeline agree."""

import shutil

import cv2
import keras
import numpy as np
import pytest
import tensorflow as tf
from made_films import encode, sharpen

from bone_age_tf import config as configs
from bone_age_tf import schema
from bone_age_tf.bundle import Bundle
from bone_age_tf.data import pipeline
from bone_age_tf.errors import ModelError
from bone_age_tf.export import parity, publish
from bone_age_tf.models.build import build_model
from bone_age_tf.models.catalog import MODELS
from bone_age_tf.quality.publish import load_quality_check
from bone_age_tf.reader import Reader
from bone_age_tf.reasons import MIRRORED, NOT_FRAMED

pytestmark = pytest.mark.slow
SIZE_PX = 48


@pytest.fixture(scope="module")
def exports(root, tmp_path_factory):
    folder = tmp_path_factory.mktemp("framed")
    for name in ("film_check", "region_detector"):
        shutil.copytree(root / "exports" / name, folder / name)
    return folder


@pytest.fixture(scope="module")
def bundle(exports, drawn):
    config = configs.base_config()
    config.model, config.dataset, config.image_size_px = "tiny", "hand_phantom", SIZE_PX
    config.resize = schema.FRAME
    image_fn = pipeline.traced_decoding(SIZE_PX, schema.FRAME, True)
    cases = [
        parity.Case(encode(film), image_fn(tf.constant(encode(film))).numpy(), place % 2, 90.0)
        for place, film in enumerate(drawn)
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(MODELS, "tiny", "tiny_network")
        keras.utils.set_random_seed(1)
        network = build_model(config)
        sharpen(network)
        folder, _ = publish.publish(
            network,
            config,
            cases,
            cases,
            {},
            exports,
            quality_check=load_quality_check(exports),
            formats=("float32",),
        )
    return Bundle.open(folder)


def turned(film, degrees, mirrored=False):
    """A drawn hand on a larger radiograph, turned counter-clockwise."""
    film = np.ascontiguousarray(film[:, ::-1]) if mirrored else film
    height, width = film.shape
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), degrees, 1.0)
    matrix[:, 2] += (130 - width / 2, 130 - height / 2)
    return cv2.warpAffine(film, matrix, (260, 260), borderValue=int(np.median(film[:10])))


@pytest.fixture(scope="module")
def files(drawn):
    found = {
        "as it is": drawn[1],
        "turned": turned(drawn[2], 48),
        "mirrored": np.ascontiguousarray(drawn[1][:, ::-1]),
        "mirrored and turned": turned(drawn[2], -70, mirrored=True),
        "upside down": np.ascontiguousarray(drawn[3][::-1, ::-1]),
        "inverted": 255 - drawn[2],
        "faint": (170 + drawn[1] / 5).astype(np.uint8),
        "half": drawn[2][:70],
        "without the wrist": drawn[1][:76],
        "two": np.hstack([drawn[1], drawn[1][:, ::-1]]),
        "noise": np.random.default_rng(0).integers(0, 255, (99, 80)).astype(np.uint8),
    }
    return {name: encode(film) for name, film in found.items()} | {"text": b"no image"}


@pytest.mark.parametrize("quality_check", [True, False])
def test_it_answers_as_the_reader_does(bundle, files, quality_check):
    reader = Reader(bundle, quality_check=quality_check)
    reader.rejects_unfamiliar = False
    results = {name: reader.read(data, "male") for name, data in files.items()}
    if not quality_check:
        corrections = {name: result.corrections for name, result in results.items()}
        assert corrections["as it is"] == ()
        assert corrections["turned"] == ("rotated 50° clockwise",)
        assert corrections["mirrored"] == (MIRRORED,)
        assert corrections["upside down"] == ("rotated 180°",)
        assert corrections["noise"] == (NOT_FRAMED,)
        return
    loaded = tf.saved_model.load(str(bundle.folder))
    found = loaded.signatures["serving_default"](
        image_bytes=tf.constant(list(files.values())), sex=tf.ones([len(files), 1])
    )
    read = 0
    for place, (name, result) in enumerate(results.items()):
        status = found["status"][place].numpy().decode()
        assert {"error": "failed"}.get(status, status) == result.status, name
        assert found["reason"][place].numpy().decode() == result.note.partition(" (")[0], name
        if result.status == "ok":
            read += 1
            months = float(found["age_months"][place, 0])
            assert months == pytest.approx(result.age_months, abs=0.5), name
    assert read >= 4


def test_a_hand_is_the_same_in_any_position(bundle, drawn):
    reader = Reader(bundle, quality_check=False)
    upright, _ = reader.fit_image(turned(drawn[2], 0).astype(np.float32))
    for degrees, mirrored in ((40, False), (-90, False), (20, True)):
        image, _ = reader.fit_image(turned(drawn[2], degrees, mirrored).astype(np.float32))
        assert np.corrcoef(image.ravel(), upright.ravel())[0, 1] > 0.95


def test_without_a_detector_it_says_what_to_make(bundle, monkeypatch):
    monkeypatch.setattr("bone_age_tf.catalog.find_network", lambda *_: None)
    with pytest.raises(ModelError, match="--mode=train_region_detector"):
        Reader(bundle, quality_check=False)
