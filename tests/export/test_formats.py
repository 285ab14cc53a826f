"""Every LiteRT format of every way to ask it, on a device's terms."""

import json
import subprocess
import sys

import keras
import numpy as np
import onnxruntime
import pytest
from ai_edge_litert.interpreter import Interpreter
from made_films import encode, sharpen

from bone_age_tf import cli
from bone_age_tf.bundle import Bundle
from bone_age_tf.errors import MissingExtraError
from bone_age_tf.export import lite_int8, parity, publish
from bone_age_tf.export.exporting import _by_age_and_sex, _for_calibration
from bone_age_tf.export.onnx import write_onnx
from bone_age_tf.images import resizing
from bone_age_tf.models.build import build_model
from bone_age_tf.models.catalog import MODELS

FORMATS = ("float32", "float16", "dynamic", "int8", "uint8", "float32_map")
"""Of LiteRT."""


@pytest.fixture(scope="module")
def exported(tmp_path_factory, drawn, without_saved_model):
    from bone_age_tf import config as configs

    config = configs.base_config()
    config.model, config.dataset, config.image_size_px = "depthwise", "hand_phantom", 32
    cases = [
        parity.Case(encode(film), resizing.resize(film.astype(np.float32), 32)[..., None], s, 9.0)
        for film in drawn
        for s in (0, 1)
    ]
    exports, formats = tmp_path_factory.mktemp("formats"), (*FORMATS, "onnx")
    with without_saved_model(), pytest.MonkeyPatch.context() as patch:
        patch.setitem(MODELS, "depthwise", "depthwise_network")
        for limit in ("GOOD_MEAN_MONTHS", "GOOD_MAX_MONTHS"):  # tuning has tests of its own
            patch.setattr(lite_int8, limit, np.inf)
        keras.utils.set_random_seed(0)
        network = build_model(config)
        sharpen(network)
        return publish.publish(network, config, cases, cases, {}, exports, formats=formats)


@pytest.mark.slow
def test_every_format_answers_as_keras_does(exported):
    folder, measured = exported
    assert measured["litert_float32"]["max_months"] < 0.01
    assert measured["litert_float16"]["max_months"] < 0.5
    for form in FORMATS[2:5]:
        assert 0 < measured[f"litert_{form}"]["mean_months"] < 2
    sizes = [measured[f"litert_{form}"]["megabytes"] for form in FORMATS]
    assert sizes[0] > sizes[1] > min(sizes[2:])
    assert measured["litert_float32_map"]["max_months"] < 0.01
    metadata = json.loads((folder / "metadata.json").read_text())
    files = {form: f"model_{form}.tflite" for form in FORMATS}
    assert metadata["files"] == files | {"onnx": "model.onnx"}


@pytest.mark.slow
def test_onnx_runtime_answers_as_keras_does(exported, drawn):
    folder, measured = exported
    assert measured["onnx"]["max_months"] < 0.01
    session = onnxruntime.InferenceSession(str(folder / "model.onnx"))
    assert [one.name for one in session.get_inputs()] == ["image", "sex"]
    metadata = json.loads(session.get_modelmeta().custom_metadata_map["metadata.json"])
    assert metadata["name"] == "depthwise"
    films = [resizing.resize(film.astype(np.float32), 32)[..., None] for film in drawn]
    names = [one.name for one in session.get_outputs()]
    sexes = np.array([[0], [1], [0], [1]], np.float32)
    found = dict(zip(names, session.run(None, {"image": films, "sex": sexes}), strict=True))
    here = Bundle.open(folder).predictor().predict(films[1][..., 0], 1)
    assert found["age_months"][1, 0] == pytest.approx(here.age_months, abs=0.01)
    np.testing.assert_allclose(found["distribution"][1], here.distribution, atol=1e-4)
    assert found["interval_90_months"][1] == pytest.approx(here.interval_90_months, abs=0.01)


def test_onnx_without_its_extra_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "tf2onnx", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'bone-age-tf\[onnx\]'"):
        write_onnx(None, {}, tmp_path / "model.onnx")


@pytest.mark.slow
def test_files_are_for_one_image_and_hold_built_in_operators(exported):
    folder, _ = exported
    for form in FORMATS:
        interpreter = Interpreter(str(folder / f"model_{form}.tflite"))
        ops = {details["op_name"] for details in interpreter._get_ops_details()}
        assert not [op for op in ops if op.startswith(("Flex", "CUSTOM"))]
        inputs = interpreter.get_signature_runner("serving_default").get_input_details()
        assert inputs["image"]["shape"].tolist() == [1, 32, 32, 1]
        dtype = np.uint8 if form == "uint8" else np.float32
        assert inputs["image"]["dtype"] == dtype


@pytest.mark.slow
def test_prediction_takes_every_format(exported, drawn):
    folder, _ = exported
    bundle = Bundle.open(folder)
    image = bundle.predictor().fit_image(drawn[1].astype(np.float32))
    ages = [bundle.predictor(form).predict(image, 1).age_months for form in FORMATS]
    assert np.ptp(ages) < 4
    assert len(set(ages)) > 1


# What docs/on_device.md shows, in an interpreter without TensorFlow.
@pytest.mark.slow
def test_the_documented_example_runs(root, exported, drawn, tmp_path):
    folder, _ = exported
    text = (root / "docs" / "on_device.md").read_text()
    example = text.partition("```python\n")[2].partition("```")[0]
    (tmp_path / "hand.png").write_bytes(encode(drawn[1]))
    example = example.replace("exports/MODEL/VERSION", str(folder))
    check = "import sys; sys.modules['tensorflow'] = None; sys.modules['keras'] = None\n"
    done = subprocess.run(
        [sys.executable, "-c", check + example], capture_output=True, text=True, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    predictor = Bundle.open(folder).predictor("int8")
    expected = predictor.predict(predictor.fit_image(drawn[1].astype(np.float32)), 0)
    assert float(done.stdout.split()[0]) == pytest.approx(expected.age_months, abs=0.06)


def test_calibration_has_all_ages_and_both_sexes():
    rng = np.random.default_rng(0)
    sex = (rng.random(400) < 0.8).astype(int)
    age = np.clip(rng.normal(130, 20, 400), 5, 228)
    age[:2] = 6.0, 220.0
    chosen = _by_age_and_sex(sex, age, 60)
    assert len(set(chosen)) == 60
    assert np.mean(sex[chosen]) == 0.5
    assert np.std(age[chosen]) > 1.2 * np.std(age)
    mixed = _for_calibration(sex, age, 60)
    assert len(set(mixed)) == 60
    assert {0, 1} <= set(mixed)  # the youngest and the oldest
    assert 0.5 < np.mean(sex[mixed]) < 0.8


def test_an_unknown_format_is_told(capsys):
    assert cli.main(["--mode=export", "--formats=float32,int4"]) == 2
    assert "unknown format 'int4'" in capsys.readouterr().err
