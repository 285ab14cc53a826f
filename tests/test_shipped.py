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
from bone_age_tf.catalog import SHIPPED_MODEL, exported_versions
from bone_age_tf.images import reading, resizing
from bone_age_tf.inference.cases import Case
from bone_age_tf.reader import load
from command_words import predict

MOST_BYTES = 25e6
RSNA = "shared/rsna_bone_age"
TRAINING_PX = 380
"""Usual longer side of the images that the weights learned from, in pixels."""
MAE_MONTHS = 8.7
"""Limit of the mean absolute error on the published validation files; 7.9 was measured."""


@pytest.fixture(scope="module")
def exports(root):
    return root / "exports"


@pytest.fixture(scope="module")
def reader(exports):
    found = load(SHIPPED_MODEL, exports_dir=exports)
    assert found.quality_checker is not None
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
    shipped = [exported_versions(exports)[name][-1] for name in (SHIPPED_MODEL, *schema.CHECKERS)]
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
    code = predict(path, "female", exports, None, quality_check=False)
    assert code == 0
    assert re.search(r"bone age \d+\.\d months .* 90 % interval", capsys.readouterr().out)


def test_noise_and_blank_films_are_refused(reader, tmp_path):
    random = np.random.default_rng(0)
    for place, pixels in enumerate((random.uniform(0, 255, (300, 240)), np.full((300, 240), 90.0))):
        path = tmp_path / f"{place}.png"
        path.write_bytes(_png(pixels.astype(np.uint8)))
    cases = [Case(path.name, path, 0) for path in sorted(tmp_path.iterdir())]
    found = reader.read_table(cases)
    assert found.rejected == 2


@pytest.mark.slow
def test_real_hands_are_read(reader, validation):
    found = reader.read_table(validation)
    assert len(found) == 100 and found.failed == 0
    assert found.rejected <= 2
    assert np.abs(found.errors_months).mean() < MAE_MONTHS


@pytest.mark.slow
def test_a_file_is_read_as_well_as_its_copy_of_the_training_images_size(reader, validation):
    """The weights learned from reduced images; users' files are larger and must not be sharper."""
    errors, predictor = [], reader.bundle.predictor()
    for case in validation:
        image = reading.read_radiograph(case.path)
        small = resizing.to_uint8(resizing.shrink(image, TRAINING_PX)).astype(np.float32)
        fitted = [predictor.fit_image(pixels) for pixels in (image, small)]
        months = [predictor.predict(pixels, case.sex).age_months for pixels in fitted]
        errors.append(np.array(months) - case.age_months)
    own, reduced = np.abs(errors).mean(axis=0)
    assert own <= 1.15 * reduced
    own_bias, reduced_bias = np.mean(errors, axis=0)
    assert abs(own_bias - reduced_bias) < 1.5


def test_metadata_says_what_was_measured(exports):
    content = json.loads(
        (exported_versions(exports)[SHIPPED_MODEL][-1] / "metadata.json").read_text()
    )
    assert content["metrics"]["n"] >= 1000
    assert content["data"]["train"] == "90% of train, cut by id"
    assert content["training"]["config"]["image_size_px"] == content["preprocessing"]["size_px"]


def _png(pixels):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()
