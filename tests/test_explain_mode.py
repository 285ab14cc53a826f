"""`--mode=explain` on given images: what is written, what is said, what is refused."""

import csv
import json
import re
import shutil

import keras
import numpy as np
import pydicom
import pytest
from PIL import Image

from bone_age_tf import config as configs
from bone_age_tf import schema
from bone_age_tf.catalog import SHIPPED_MODEL, exported_versions
from bone_age_tf.cli import main
from bone_age_tf.errors import ConfigError
from bone_age_tf.explain import explaining
from bone_age_tf.explain.network import ExplainedNetwork
from bone_age_tf.models.build import build_model
from dicom_files import file_bytes


@pytest.fixture(scope="module")
def hands(phantoms, tmp_path_factory):
    """Two drawn hands, a broken file and their table."""
    folder = tmp_path_factory.mktemp("hands")
    rows = phantoms.as_dataset(split="test").take(2).as_numpy_iterator()
    lines = ["image,sex,age_months"]
    for number, row in enumerate(rows):
        Image.fromarray(row["image"][..., 0]).resize((160, 200)).save(folder / f"{number}.png")
        lines.append(f"{number}.png,{schema.SEX_NAMES[row['sex']]},{row['age_months']:.1f}")
    (folder / "broken.png").write_bytes(b"no image")
    lines.append("broken.png,female,100")
    (folder / "cases.csv").write_text("\n".join(lines) + "\n")
    return folder


@pytest.mark.slow
def test_cases_become_pictures_a_page_and_a_table(root, hands, tmp_path, capsys, eager):
    folder = tmp_path / "explained"
    status = main(
        [
            "--mode=explain",
            f"--input={hands / 'cases.csv'}",
            f"--exports_dir={root / 'exports'}",
            f"--model={SHIPPED_MODEL}",
            f"--output={folder}",
            "--methods=crm_months,crm",
            "--noquality_check",
        ]
    )
    assert status == 1  # one file is broken, as predict says it
    record = json.loads((folder / "cases.json").read_text())
    assert sorted(record.values()) == ["0.png", "1.png"]
    for name in record:
        assert Image.open(folder / name).size[0] > 1000
    page = (folder / "index.html").read_text()
    assert page.count("<article") == 3
    assert "not a PNG or JPEG image" in page
    with (folder / "regions.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["method"] for row in rows] == ["crm_months", "crm"] * 2
    for row in rows:
        total = sum(float(row[group]) for group in (*schema.REGION_GROUPS, "elsewhere"))
        assert total == pytest.approx(1, abs=0.01)
    assert "2 pictures" in capsys.readouterr().out


@pytest.mark.slow
def test_a_case_without_sex_is_explained_for_both(root, hands, tmp_path, eager):
    words = ["explain", str(hands / "0.png"), f"--exports_dir={root / 'exports'}"]
    words += [f"--output={tmp_path}", "--methods=crm", "--noquality_check"]
    assert main(words) == 0
    page = (tmp_path / "index.html").read_text()
    assert page.count('data-sex="female"') == page.count('data-sex="male"') == 1


@pytest.mark.slow
def test_dicom_files_are_explained_and_none_is_skipped(root, hands, tmp_path, eager):
    study = tmp_path / "study"
    study.mkdir()
    pixels = np.asarray(Image.open(hands / "0.png")).astype(int)
    (study / "IM0001").write_bytes(file_bytes(pixels, 8, "JPEG-LS", PatientSex="M"))
    (study / "IM0002").write_bytes(file_bytes(pixels, 8, Modality="CT"))
    folder = tmp_path / "explained"
    flags = ["--mode=explain", f"--input={study}", f"--exports_dir={root / 'exports'}"]
    flags += [f"--model={SHIPPED_MODEL}", f"--output={folder}", "--methods=crm"]
    assert main([*flags, "--noquality_check"]) == 1
    page = (folder / "index.html").read_text()
    assert page.count("<article") == 2
    assert "not a radiograph: modality CT" in page
    assert list(json.loads((folder / "cases.json").read_text()).values()) == [f"{study}/IM0001"]


@pytest.mark.slow
def test_reports_can_show_the_explanation(root, hands, tmp_path, monkeypatch, eager):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(explaining, "DEFAULT_METHODS", ("crm",))
    pixels = np.asarray(Image.open(hands / "0.png")).astype(int)
    (tmp_path / "IM0001").write_bytes(file_bytes(pixels, 8, PatientSex="M"))
    flags = ["--mode=predict", "--input=IM0001", f"--exports_dir={root / 'exports'}"]
    flags += [f"--model={SHIPPED_MODEL}", "--noquality_check", "--report=sc,png"]
    assert main([*flags, "--report_picture=explanation"]) == 0
    shown = np.asarray(Image.open(tmp_path / "reports" / "IM0001.png"))
    capture = pydicom.dcmread(tmp_path / "reports" / "IM0001.sc.dcm")
    np.testing.assert_array_equal(capture.pixel_array, shown)
    assert shown.shape[1] > shown.shape[0]  # panels beside each other, not the page of the PDF
    assert main([*flags[:-1], "--report_picture=explanation"]) == 2
    assert main([*flags, "--report_picture=map"]) == 2


def test_methods_that_there_are_not_are_named(tiny_config):
    network = ExplainedNetwork(build_model(tiny_config), tiny_config)
    assert explaining.chosen_methods("crm, cam,crm", network) == ["crm", "cam"]
    assert "attention" not in explaining.chosen_methods("all", network)
    assert explaining.chosen_methods(None, network) == list(explaining.DEFAULT_METHODS)
    with pytest.raises(ConfigError, match=r"unknown method 'gradcam'.*Did you mean"):
        explaining.chosen_methods("gradcam", network)
    with pytest.raises(ConfigError, match="'attention' is not available for tiny; available"):
        explaining.chosen_methods("attention", network)


@pytest.mark.parametrize("relation", [True, False])
def test_prsnet_is_explained_by_what_passes_on_it(relation):
    config = configs.load_config("prsnet", "hand_phantom", [("base_filters", "8")])
    config.relation = relation
    network = ExplainedNetwork(build_model(config), config)
    found = explaining.chosen_methods(None, network)
    assert found == ["relation"] * relation + ["vanilla_gradients", "path_cam"]


def test_a_residual_network_is_explained_by_what_passes_on_it():
    config = configs.load_config("resnet18", "hand_phantom", [("base_filters", "8")])
    network = ExplainedNetwork(build_model(config), config)
    found = explaining.chosen_methods(None, network)
    assert found == ["smoothgrad", "saliency", "vanilla_gradients"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--mode=predict", "--input=x.png", "--methods=crm"], "--methods has no effect"),
        (["--mode=explain", "--input=x.png", "--workdir=runs/a"], "name it by --model"),
        (["--mode=explain", "--input=there_is_none.png"], "no such file or folder"),
        (
            ["--mode=train_region_detector", "--boxes=x"],
            "--boxes=FOLDER is needed with a --dataset",
        ),
        (
            ["--mode=train_region_detector", "--dataset=rsna_bone_age"],
            "--boxes=FOLDER is needed with a --dataset",
        ),
    ],
)
def test_wrong_use_is_said_without_a_traceback(arguments, message, capsys):
    assert main(arguments) == 2
    assert message in capsys.readouterr().err


def test_an_export_without_its_keras_model_is_named(root, hands, tmp_path, capsys):
    version = tmp_path / SHIPPED_MODEL / "1"
    version.mkdir(parents=True)
    for name in ("metadata.json", "model_float16.tflite"):
        shutil.copy(exported_versions(root / "exports")[SHIPPED_MODEL][-1] / name, version / name)
    words = ["explain", str(hands / "0.png"), "--sex=female", f"--exports_dir={tmp_path}"]
    assert main([*words, f"--output={tmp_path / 'out'}"]) == 2
    assert re.search(r"model\.keras: no such file.*--mode=export", capsys.readouterr().err)


def test_a_config_comes_back_from_its_flat_form(tiny_config):
    config = configs.load_config("compact", "rsna_bone_age", [("dropout", "0.4")])
    again = configs.from_flat(json.loads(json.dumps(configs.flat(config))))
    assert configs.differences(config, again) == []
    older = {key: value for key, value in configs.flat(config).items() if key != "epochs"}
    assert configs.from_flat(older).epochs == config.epochs
    with pytest.raises(ConfigError, match="unknown model"):
        configs.from_flat({"dropout": 0.4})


def test_intervals_and_distributions_come_with_the_answer():
    case = explaining.ExplainedCase("a", np.zeros((4, 4)), 0)
    outputs = {"age_months": np.array([[50.0]])}
    bare = explaining._answered(case, outputs, None)
    assert (bare.predicted_months, bare.lower_90, bare.distribution) == (50, None, None)
    outputs |= {"interval_90_months": np.array([[40.0, 65.0]]), "distribution": np.ones((1, 3)) / 3}
    full = explaining._answered(case, outputs, None)
    assert (full.lower_90, full.upper_90) == (40, 65)
    assert full.distribution.shape == (3,)
    assert keras.backend.backend() == "tensorflow"
