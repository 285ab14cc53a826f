import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from bone_age_tf.bundle import Bundle
from bone_age_tf.catalog import SHIPPED_MODEL, exported_versions
from bone_age_tf.errors import ModelError, PredictionError
from bone_age_tf.evaluation.site_calibration import SiteCalibration


def grey(value, height=8, width=8):
    return np.full((height, width), value, np.float32)


def ask(predictor, image, sex):
    return predictor.predict(predictor.fit_image(image), sex)


@pytest.fixture
def export(exports, tmp_path):
    """A copy of the bins export that a test may spoil."""
    return shutil.copytree(exports / "bins" / "1", tmp_path / "bins" / "1")


def change_metadata(folder, change_fn):
    path = folder / "metadata.json"
    content = json.loads(path.read_text())
    change_fn(content)
    path.write_text(json.dumps(content))


@pytest.mark.parametrize(("sex", "age"), [(0, 50.0), (1, 60.0)])
def test_values_for_both_sexes(bins_model, sex, age):
    prediction = ask(bins_model, grey(100), sex)
    assert prediction.age_months == pytest.approx(age, abs=1e-4)
    assert prediction.interval_90_months == pytest.approx((age - 5, age + 7), abs=1e-4)
    np.testing.assert_allclose(prediction.distribution, [1 - sex / 4, sex / 4], atol=1e-6)


def test_a_result_is_not_overwritten_by_the_next(bins_model):
    first = ask(bins_model, grey(0), 0)
    ask(bins_model, grey(200), 1)
    np.testing.assert_allclose(first.distribution, [1, 0], atol=1e-6)


def test_a_copy_for_another_thread_answers_alike(exports):
    line = SiteCalibration((3.0, 0.0), (1.0, 1.0), "bins", 1, (30, 30))
    predictor = Bundle.open(exports / "bins" / "1").predictor(calibration=line)
    copy = predictor.copy()
    assert ask(copy, grey(100), 0).age_months == pytest.approx(53, abs=1e-4)


def test_image_of_any_size_is_padded(bins_model):
    # 20 x 40 becomes 4 x 8 on an 8 x 8 square: half of it black, so the mean is 50.
    assert ask(bins_model, grey(100, 20, 40), 0).age_months == pytest.approx(25, abs=1e-4)
    assert ask(bins_model, grey(100, 3, 3), 0).age_months == pytest.approx(50, abs=1e-4)
    assert ask(bins_model, grey(100, 1, 1), 0).age_months == pytest.approx(50, abs=1e-4)


def test_resize_mode_comes_from_the_metadata(export):
    change_metadata(export, lambda content: content["preprocessing"].update(resize="stretch"))
    prediction = ask(Bundle.open(export).predictor(), grey(100, 20, 40), 0)
    assert prediction.age_months == pytest.approx(50, abs=1e-4)


def test_fitted_image_passes_unchanged(bins_model):
    image = np.arange(64, dtype=np.float32).reshape(8, 8)
    np.testing.assert_array_equal(bins_model.fit_image(image), image)


def test_a_regression_head_has_an_interval_and_no_distribution(exports):
    prediction = ask(Bundle.open(exports / "regression" / "1").predictor(), grey(200), 1)
    found = (prediction.age_months, *prediction.interval_90_months)
    assert found == pytest.approx((110, 90, 125), abs=1e-4)
    assert prediction.distribution is None


def test_no_interval_at_all(exports):
    prediction = ask(Bundle.open(exports / "broken" / "1").predictor(), grey(100), 0)
    assert prediction.age_months == pytest.approx(100, abs=1e-4)
    assert prediction.interval_90_months is None


def test_answer_that_is_no_number_is_an_error(exports):
    with pytest.raises(PredictionError, match="age_months is not a finite number"):
        ask(Bundle.open(exports / "broken" / "1").predictor(), grey(220), 0)


def test_pixels_that_are_no_numbers_are_an_error(bins_model):
    with pytest.raises(PredictionError, match="not a finite number"):
        ask(bins_model, grey(np.nan), 0)


@pytest.mark.parametrize("sex", [2, -1, 0.5])
def test_sex_must_be_a_code(bins_model, sex):
    with pytest.raises(ValueError, match="sex is"):
        ask(bins_model, grey(1), sex)


@pytest.mark.parametrize("shape", [(8, 8, 1), (0, 8), (8,)])
def test_image_must_be_two_dimensional(bins_model, shape):
    with pytest.raises(ValueError, match="image has shape"):
        bins_model.fit_image(np.zeros(shape, np.float32))


def test_a_bundle_holds_what_the_metadata_states(exports):
    bundle = Bundle.open(exports / "bins" / "1")
    assert (bundle.name, bundle.version, bundle.variant(), bundle.size_px) == (
        "bins",
        1,
        "float32",
        8,
    )
    assert bundle.exports_dir == exports
    with pytest.raises(ModelError, match=r"model\.keras: no such file.*--model=bins"):
        _ = bundle.keras_file


def test_missing_folder(tmp_path):
    with pytest.raises(ModelError, match=r"metadata\.json: no such file.*--model=cnn"):
        Bundle.open(tmp_path / "cnn" / "1")


def test_unknown_variant(export):
    with pytest.raises(ModelError, match=r"no variant 'fp16'; it has: float32, int8"):
        Bundle.open(export).predictor("fp16")


def test_missing_model_file(export):
    with pytest.raises(ModelError, match=r"model_int8\.tflite: no such file.*--model=bins"):
        Bundle.open(export).predictor("int8")


@pytest.mark.parametrize("kept", [0, 4, 0.5])
def test_truncated_model_file(export, kept):
    path = export / "model_float32.tflite"
    data = path.read_bytes()
    path.write_bytes(data[: int(kept * len(data)) if kept == 0.5 else kept])
    with pytest.raises(ModelError, match=r"model_float32\.tflite: not a usable LiteRT model"):
        Bundle.open(export).predictor()


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '"text"', '{"inputs": 3}', "\x00"])
def test_malformed_metadata(export, text):
    (export / "metadata.json").write_text(text)
    with pytest.raises(ModelError, match=r"metadata\.json: (malformed|lacks the entry)"):
        Bundle.open(export).predictor()


@pytest.mark.parametrize(
    "entry", ["name", "version", "inputs", "outputs", "preprocessing", "files"]
)
def test_metadata_without_an_entry(export, entry):
    change_metadata(export, lambda content: content.pop(entry))
    with pytest.raises(ModelError, match=f"lacks the entry '{entry}'"):
        Bundle.open(export).predictor()


@pytest.mark.parametrize(
    ("change_fn", "message"),
    [
        (lambda c: c["inputs"]["sex"].update(values={"female": 1, "male": 0}), "inputs.sex.values"),
        (lambda c: c["inputs"]["image"].update(range=[0, 1]), "inputs.image.range"),
        (lambda c: c["inputs"]["image"].update(shape=[1, 9, 9, 1]), "inputs.image.shape"),
        (
            lambda c: c["preprocessing"].update(resize="portrait"),
            r"metadata\.json: preprocessing\.resize is 'portrait', which this version does not "
            r"read; possible: pad, stretch, frame\. Export again with this version: .*=export",
        ),
        (lambda c: c["outputs"].pop("distribution"), "outputs are age_months, distribution"),
        (
            lambda c: (
                c["preprocessing"].update(size_px=9),
                c["inputs"]["image"].update(shape=[1, 9, 9, 1]),
            ),
            r"input image is \[1, 8, 8, 1\] float32, not \[1, 9, 9, 1\]",
        ),
    ],
)
def test_metadata_that_contradicts(export, change_fn, message):
    change_metadata(export, change_fn)
    with pytest.raises(ModelError, match=message):
        Bundle.open(export).predictor()


def make_version(root, model, version):
    folder = root / model / version
    folder.mkdir(parents=True)
    (folder / "metadata.json").write_text("{}")
    return folder


@pytest.fixture
def found(tmp_path, monkeypatch):
    """Returns a function from a model's name to the version folder that is found below tmp_path."""
    monkeypatch.setattr(Bundle, "open", lambda folder: folder)
    return lambda model, **options: Bundle.find(model, tmp_path, **options)


def test_latest_version_counts_as_a_number(tmp_path, found):
    for version in ("2", "10", "9", "latest", "11.bak"):
        make_version(tmp_path, "cnn", version)
    (tmp_path / "cnn" / "12").mkdir()  # unfinished: no metadata
    assert found("cnn") == tmp_path / "cnn" / "10"
    assert found("cnn", version=9) == tmp_path / "cnn" / "9"
    with pytest.raises(ModelError, match=r"no version 3 of 'cnn' \(exported: 2, 9, 10\)"):
        found("cnn", version=3)


def test_missing_model_lists_what_there_is(tmp_path, found):
    make_version(tmp_path, "resnet50", "1")
    make_version(tmp_path, "cnn", "3")
    with pytest.raises(ModelError) as error:
        found("vgg")
    assert "no exported model 'vgg' (exported: cnn, resnet50)" in str(error.value)
    assert "bone-age --model=vgg" in str(error.value)


def test_without_a_name_the_shipped_model_is_chosen_or_else_the_newest(tmp_path, found):
    with pytest.raises(ModelError, match=f"no exported model '{SHIPPED_MODEL}'"):
        found(None)
    older, newer = make_version(tmp_path, "vgg16", "4"), make_version(tmp_path, "cnn", "1")
    make_version(tmp_path, "film_check", "1")
    os.utime(older / "metadata.json", (1, 1))
    assert found(None) == newer
    assert found("vgg16") == older
    shipped = make_version(tmp_path, SHIPPED_MODEL, "1")
    os.utime(shipped / "metadata.json", (1, 1))
    assert found(None) == shipped


@pytest.mark.parametrize("model", ["cnn", "", ".."])
def test_no_exports_folder(tmp_path, model):
    with pytest.raises(ModelError, match="exported: none"):
        Bundle.find(model, tmp_path / "nowhere")


def test_exported_versions(tmp_path):
    two, ten = make_version(tmp_path, "cnn", "2"), make_version(tmp_path, "cnn", "10")
    assert exported_versions(tmp_path) == {"cnn": [two, ten]}


def test_prediction_imports_neither_tensorflow_nor_keras(exports, tmp_path):
    Image.new("L", (8, 8), 100).save(tmp_path / "hand.png")
    script = """
import sys
from bone_age_tf import cli
code = cli.main(["predict", *sys.argv[1:]])
heavy = {"tensorflow", "keras", "tf_keras", "tensorflow_datasets", "ml_collections"}
heavy |= {"matplotlib", "pandas", "cv2"}
print("heavy:", sorted(heavy & {name.partition(".")[0] for name in sys.modules}), code)
"""
    words = [str(tmp_path / "hand.png"), "--sex=female", "--model=bins", "--noquality_check"]
    words += [f"--exports_dir={exports}", "--output=/dev/null"]
    done = subprocess.run(
        [sys.executable, "-c", script, *words], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "bone age 50.0 months" in done.stdout
    assert done.stdout.endswith("heavy: [] 0\n")
