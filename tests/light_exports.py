"""Exports of tiny models whose answers can be worked out by hand."""

import json
import os
import tempfile

import pytest

from made_once import made_once

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

SIZE_PX = 8
UNFAMILIARITY = "unfamiliarity"
ALL_OUTPUTS = ("age_months", "distribution", "interval_90_months")


def _write_tflite(path, outputs, answer_fn, work_dir):
    """Saves `answer_fn(mean of the image, sex) -> a tensor per output` as a LiteRT file."""
    import keras
    import tensorflow as tf

    image = keras.Input((SIZE_PX, SIZE_PX, 1), name="image")
    sex = keras.Input((1,), name="sex")
    answers = answer_fn(keras.ops.mean(image, axis=(1, 2)), sex)
    model = keras.Model([image, sex], dict(zip(outputs, answers, strict=True)))

    def serve_fn(image, sex):
        return model([image, sex], training=False)

    archive = keras.export.ExportArchive()
    archive.track(model)
    archive.add_endpoint(
        "serving_default",
        serve_fn,
        input_signature=[
            tf.TensorSpec((1, SIZE_PX, SIZE_PX, 1), tf.float32, name="image"),
            tf.TensorSpec((1, 1), tf.float32, name="sex"),
        ],
    )
    archive.write_out(str(work_dir), verbose=False)
    converter = tf.lite.TFLiteConverter.from_saved_model(
        str(work_dir), signature_keys=["serving_default"]
    )
    path.write_bytes(converter.convert())


def metadata(name, version, outputs, resize="pad"):
    shapes = {"age_months": [1, 1], "distribution": [1, 2], "interval_90_months": [1, 2]}
    shapes[UNFAMILIARITY] = [1, 1]
    described = {output: {"shape": shapes[output]} for output in outputs}
    if "distribution" in described:
        described["distribution"] |= {"bin_months": 120.0, "first_edge_months": 0}
    return {
        "name": name,
        "version": version,
        "inputs": {
            "image": {"shape": [1, SIZE_PX, SIZE_PX, 1], "dtype": "float32", "range": [0, 255]},
            "sex": {"shape": [1, 1], "dtype": "float32", "values": {"female": 0, "male": 1}},
        },
        "outputs": described,
        "preprocessing": {"size_px": SIZE_PX, "resize": resize},
        "files": {"float32": "model_float32.tflite", "int8": "model_int8.tflite"},
    }


@pytest.fixture(scope="session")
def exports(tmp_path_factory):
    """An exports folder.

    bins: age = 0.5 mean + 10 sex; interval -5 and +7; distribution (1 - sex / 4, sex / 4).
    regression: age = 0.5 mean + 10 sex; interval -20 and +15; no distribution.
    wary: age = mean; unfamiliarity = mean / 100.
    broken: age = NaN where the mean is above 200, otherwise the mean.
    """
    return made_once(tmp_path_factory, "light_exports", _write_exports)


def _write_exports(root):
    from keras import ops

    def bins_fn(mean, sex):
        age = 0.5 * mean + 10 * sex
        male = 0.25 * sex
        return [
            age,
            ops.concatenate([1 - male, male], axis=-1),
            ops.concatenate([age - 5, age + 7], axis=-1),
        ]

    def regression_fn(mean, sex):
        age = 0.5 * mean + 10 * sex
        return [age, ops.concatenate([age - 20, age + 15], axis=-1)]

    def broken_fn(mean, sex):
        return [mean + ops.sqrt(200 - mean) * 0 + 0 * sex]

    def wary_fn(mean, sex):
        return [mean + 0 * sex, mean / 100]

    models = {
        "wary": ((ALL_OUTPUTS[0], UNFAMILIARITY), wary_fn),
        "bins": (ALL_OUTPUTS, bins_fn),
        "regression": (ALL_OUTPUTS[:1] + ALL_OUTPUTS[2:], regression_fn),
        "broken": (ALL_OUTPUTS[:1], broken_fn),
    }
    for name, (outputs, answer_fn) in models.items():
        folder = root / name / "1"
        folder.mkdir(parents=True)
        with tempfile.TemporaryDirectory() as work_dir:
            _write_tflite(folder / "model_float32.tflite", outputs, answer_fn, work_dir)
        text = json.dumps(metadata(name, 1, outputs))
        (folder / "metadata.json").write_text(text)


@pytest.fixture(scope="session")
def bins_model(exports):
    from bone_age_tf.bundle import Bundle

    return Bundle.open(exports / "bins" / "1").predictor()


@pytest.fixture(scope="session")
def bins_reader(exports):
    from bone_age_tf.reader import load

    return load("bins", exports_dir=exports, quality_check=False)
