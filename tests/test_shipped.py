"""The weights that come with the project, as a fresh clone has them."""

import csv
import io
import json
import re
import zipfile

import numpy as np
import pytest
from PIL import Image

from bone_age_tf import schema
from bone_age_tf.images import reading, resizing
from bone_age_tf.inference.cases import Case
from bone_age_tf.inference.command import predict_command
from bone_age_tf.inference.prediction_table import predict_cases
from bone_age_tf.inference.predictor import (
    SHIPPED_MODEL,
    Predictor,
    choose_version,
    latest_version,
)
from bone_age_tf.quality.checker import load_checker

MOST_BYTES = 25e6
RSNA = "shared/rsna_bone_age"
TRAINING_PX = 380
"""Usual longer side of the images that the weights learned from, in pixels."""
MAE_MONTHS = 9.4
"""Limit of the mean absolute error on the published validation files; 8.5 was measured."""


@pytest.fixture(scope="module")
def exports(root):
    return root / "exports"


@pytest.fixture(scope="module")
def predictor(exports):
    return Predictor.load(choose_version(exports, SHIPPED_MODEL))


@pytest.fixture(scope="module")
def checker(exports):
    found = load_checker(exports)
    assert found is not None
    return found


@pytest.fixture(scope="module")
def validation(root, tmp_path_factory):
    """The published validation files, as cases."""
    source = root.parent / RSNA
    if not source.is_dir():
        pytest.skip("the RSNA files are not here")
    folder = tmp_path_factory.mktemp("validation")
    with zipfile.ZipFile(source / "boneage-validation-dataset.zip") as archive:
        archive.extractall(folder)
    files = {path.stem: path for path in folder.rglob("*.png")}
    with (source / "Validation Dataset.csv").open() as table:
        rows = [
            {key.strip().lower(): value for key, value in row.items()}
            for row in csv.DictReader(table)
        ]
    return [
        Case(
            row["image id"],
            files[row["image id"]],
            int(row["male"].strip().lower() == "true"),
            float(row["bone age (months)"]),
        )
        for row in rows
    ]


def test_they_fit_the_box_and_name_no_machine(exports):
    shipped = [latest_version(exports, name) for name in (SHIPPED_MODEL, *schema.CHECKERS)]
    files = [path for folder in shipped for path in folder.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= MOST_BYTES
    for folder in shipped:
        text = (folder / "metadata.json").read_text()
        assert "Not a medical device" in text
        assert not re.search(r'"/|\.\./', text)


def test_a_radiograph_of_any_shape_gets_an_answer(exports, tmp_path, capsys, phantoms):
    row = next(iter(phantoms.as_dataset(split="test").take(1).as_numpy_iterator()))
    path = tmp_path / "hand.png"
    path.write_bytes(_png(row["image"][..., 0]))
    code = predict_command(path, "female", exports, None, output_csv=None, check_films=False)
    assert code == 0
    assert re.search(r"bone age \d+\.\d months .* 90 % interval", capsys.readouterr().out)


def test_noise_and_blank_films_are_refused(predictor, checker, tmp_path):
    random = np.random.default_rng(0)
    for place, pixels in enumerate((random.uniform(0, 255, (300, 240)), np.full((300, 240), 90.0))):
        path = tmp_path / f"{place}.png"
        path.write_bytes(_png(pixels.astype(np.uint8)))
    cases = [Case(path.name, path, 0) for path in sorted(tmp_path.iterdir())]
    found = predict_cases(predictor, cases, None, checker, refuse_unfamiliar=True)
    assert found.rejected == 2


@pytest.mark.slow
def test_real_hands_are_read(predictor, checker, validation):
    found = predict_cases(predictor, validation, None, checker, refuse_unfamiliar=True)
    assert found.images == 100 and found.failed == 0
    assert found.rejected <= 2
    assert found.mae_months < MAE_MONTHS


@pytest.mark.slow
def test_a_file_is_read_as_well_as_its_copy_of_the_training_images_size(predictor, validation):
    """The weights learned from reduced images; users' files are larger and must not be sharper."""
    errors = []
    for case in validation:
        image = reading.read_radiograph(case.path)
        small = resizing.to_uint8(resizing.shrink(image, TRAINING_PX)).astype(np.float32)
        months = [predictor.predict(pixels, case.sex).age_months for pixels in (image, small)]
        errors.append(np.array(months) - case.age_months)
    own, reduced = np.abs(errors).mean(axis=0)
    assert own <= 1.15 * reduced
    own_bias, reduced_bias = np.mean(errors, axis=0)
    assert abs(own_bias - reduced_bias) < 1.5


def test_metadata_says_what_was_measured(exports):
    content = json.loads((choose_version(exports, SHIPPED_MODEL) / "metadata.json").read_text())
    assert content["metrics"]["n"] >= 1000
    assert content["data"]["train"] == "90% of train, cut by id"
    assert content["training"]["config"]["image_size_px"] == content["preprocessing"]["size_px"]


def _png(pixels):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()
