"""From a run to its export, with the film check that comes with the project."""

import json
import shutil
from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tensorflow as tf
from made_films import encode, sharpen

from bone_age_tf.data import pipeline
from bone_age_tf.export import exporting
from bone_age_tf.images import resizing
from bone_age_tf.models.build import build_model

pytestmark = pytest.mark.slow


@pytest.fixture
def run_of(root, tmp_path, drawn, tiny_config, monkeypatch):
    """Returns a function from films to a trained run whose images they are."""
    shutil.copytree(root / "exports" / "film_check", tmp_path / "exports" / "film_check")
    (tmp_path / "run" / "evaluation").mkdir(parents=True)
    metrics = {"n": 4, "overall": {"mae_months": {"value": 9.0}}}
    (tmp_path / "run" / "evaluation" / "metrics.json").write_text(json.dumps(metrics))
    monkeypatch.setattr(exporting, "interval_table", lambda run: None)
    monkeypatch.setattr(exporting, "familiarity", lambda run: None)

    def make(films, resize):
        rows = {
            "image": [encode(film) for film in films],
            "sex": np.arange(len(films)) % 2,
            "age_months": np.linspace(30, 190, len(films)).astype(np.float32),
        }
        table = pipeline.Table(
            [str(place) for place in range(len(films))], rows["sex"], rows["age_months"]
        )
        monkeypatch.setattr(exporting.pipeline, "read_table", lambda *_: table)
        data = tf.data.Dataset.from_tensor_slices(rows)
        monkeypatch.setattr(exporting.pipeline, "read_encoded", lambda *_: data)
        config = tiny_config.copy_and_resolve_references()
        config.resize = resize
        keras.utils.set_random_seed(1)
        network = build_model(config)
        sharpen(network)
        return SimpleNamespace(
            config=config,
            builder=SimpleNamespace(info=SimpleNamespace(full_name="drawn")),
            parts={"train": "all", "test": "all"},
            workdir=tmp_path / "run",
            exports_dir=tmp_path / "exports",
            seed=0,
            network=lambda: network,
            training_images=lambda: len(films),
        )

    return make


def test_films_in_a_black_frame_do_not_stop_an_export(run_of, drawn):
    """The quality check cuts the frame off without a note; Keras is given the same pixels."""
    run = run_of([np.pad(film, ((30, 50), (20, 60))) for film in drawn], "pad")
    measured = exporting.export(run, formats=[])["parity"]["saved_model"]
    assert measured["from_bytes"] >= 3
    assert measured["max_months"] < 0.1


@pytest.mark.parametrize("resize", ["pad", "stretch"])
def test_frames_are_cut_off_as_the_quality_check_does(run_of, drawn, resize):
    framed = np.pad(drawn[0], ((30, 50), (20, 60)))
    run = run_of([framed], resize)
    whole, trimmed = (
        exporting.numbered_cases(run, "test", [0], trim)[0][1].image for trim in (False, True)
    )
    expected = resizing.resize(resizing.trim_margins(framed.astype(np.float32)), 32, resize)
    np.testing.assert_allclose(trimmed[..., 0], expected, atol=0.5)
    assert np.abs(whole - trimmed).max() > 20


def test_without_a_film_check_a_frame_stays(run_of, drawn):
    run = run_of([np.pad(film, 40) for film in drawn], "pad")
    measured = exporting.export(run, quality_check=False, formats=[])["parity"]
    assert measured["saved_model"]["from_bytes"] == len(drawn)
    assert measured["saved_model"]["max_months"] < 0.1
