"""`bone-age predict --report`: reports of files, folders and tables, read back."""

import json
import sys
import zipfile

import jsonschema
import numpy as np
import pytest
from PIL import Image

from bone_age_tf import cli, clinical
from bone_age_tf.clinical import report_files
from bone_age_tf.commands import EXIT_INTERRUPTED
from bone_age_tf.commands.predict_reports import report_stems
from bone_age_tf.inference.journal import journal_path
from bone_age_tf.reader import Reader
from dicom_files import drawn_hand, file_bytes

pydicom = pytest.importorskip("pydicom")
pytest.importorskip("highdicom")
pytest.importorskip("matplotlib")

HAND = np.rint(150 + 0.4 * drawn_hand(96))
"""A pale hand: the model's answer, half of the mean grey, is an age of the tables."""
PATIENT = {"PatientID": "P-17", "PatientName": "Doe^Jane", "ImageLaterality": "L"}


@pytest.fixture
def read(exports, tmp_path, monkeypatch):
    """Runs the command in an empty working directory, and returns its exit code."""
    monkeypatch.chdir(tmp_path)

    def run(source, *words):
        model = ["--model=bins", f"--exports_dir={exports}", "--noquality_check"]
        return cli.main(["--mode=predict", f"--input={source}", *model, *words])

    return run


def write_dicom(path, pixels=HAND, **tags):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(file_bytes(pixels, 8, **(PATIENT | tags)))


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_dicom_hand_becomes_every_report(read, tmp_path, capsys):
    from highdicom.sr import srread

    write_dicom(tmp_path / "IM.1")
    assert read("IM.1", "--report=SR,sc,pdf,fhir, json,png", "--height_cm=140") == 0
    kinds = ["sr.dcm", "sc.dcm", "pdf", "pdf.dcm", "fhir.json", "json", "png"]
    made = {kind: tmp_path / "reports" / f"IM.1.{kind}" for kind in kinds}
    assert names(tmp_path / "reports") == sorted(path.name for path in made.values())
    printed = capsys.readouterr().out
    assert f"Reports in reports: {', '.join(f'IM.1.{kind}' for kind in kinds)}\n" in printed

    content = json.loads(made["json"].read_text("utf-8"))
    jsonschema.validate(content, clinical.read_json_schema())
    (answer,) = content["predictions"]
    bone_age, age = answer["bone_age_months"], content["chronological_age_months"]
    assert bone_age == pytest.approx(HAND.mean() / 2, abs=1) and f"{bone_age:.1f}" in printed
    assert 126 < age < 126.1  # from 2010-03-01 to 2020-09-01
    assert (content["sex"], content["sex_source"], content["side"]) == ("female", "file", "left")
    assert (content["height_cm"], content["sop_instance_uid"]) == (140.0, "1.2.3.3")
    score = clinical.standard_deviation_score(bone_age, age, "female")
    assert answer["sds"] == score.sds and len(answer["standard_deviation_scores"]) == 2
    (conclusion,) = content["report"]["conclusions"]
    adult = clinical.predict_adult_height(140, bone_age, age, "female")
    assert conclusion.startswith(f"Bone age {bone_age:.1f} months")
    assert f"adult height {adult.height_cm:.1f} cm from 140.0 cm" in conclusion

    sr = srread(made["sr.dcm"])
    assert (sr.StudyInstanceUID, sr.PatientID) == ("1.2.3.1", "P-17")
    (group,) = sr.content.get_image_measurement_groups()
    values = {each.name.value: each.value for each in group.get_measurements()}
    assert values["37362-1"] == round(bone_age, 1) and values["121416"] == round(score.sds, 2)
    texts = [element.value for element in sr.iterall() if element.keyword == "TextValue"]
    assert conclusion in texts and "The quality check did not run." in texts

    capture = pydicom.dcmread(made["sc.dcm"])
    page = np.asarray(Image.open(made["png"]))
    np.testing.assert_array_equal(capture.pixel_array, page)
    assert capture.SourceImageSequence[0].ReferencedSOPInstanceUID == "1.2.3.3"
    # The radiograph is on the page: there is much of its background's grey, as in no ink.
    assert ((page > 145) & (page < 165)).all(-1).mean() > 0.01
    pdf = made["pdf"].read_bytes()
    assert pdf.startswith(b"%PDF") and b"/Image" in pdf
    assert pydicom.dcmread(made["pdf.dcm"]).EncapsulatedDocument.startswith(pdf)
    diagnostic, *observations = (
        entry["resource"] for entry in json.loads(made["fhir.json"].read_text())["entry"]
    )
    assert diagnostic["code"]["coding"][0]["code"] == "26353-3"
    assert observations[0]["valueQuantity"]["value"] == round(bone_age, 1)
    assert all(clinical.is_own_result(pydicom.dcmread(made[kind])) for kind in kinds[:2])


def test_the_reference_is_that_of_the_flag(read, tmp_path):
    write_dicom(tmp_path / "a.dcm")
    words = ("--report=json", "--report_dir=made/here", "--sds_reference=greulich_pyle_v_vi")
    assert read("a.dcm", *words) == 0
    content = json.loads((tmp_path / "made" / "here" / "a.json").read_text("utf-8"))
    assert content["predictions"][0]["sds_reference"] == "greulich_pyle_v_vi"


def test_images_that_are_not_dicom_have_the_other_reports(read, tmp_path, capsys):
    Image.fromarray(HAND.astype(np.uint8)).save(tmp_path / "hand.png")
    assert read("hand.png", "--report=sr,pdf", "--output=t.csv") == 2
    error = capsys.readouterr().err
    assert "hand.png: --report=sr needs DICOM files" in error
    assert "give the DICOM file, or write --report=pdf for PNG and JPEG files" in error
    assert read("hand.png", "--report=sr,sc") == 2
    assert "write --report=pdf,fhir,json,png for PNG" in capsys.readouterr().err
    assert names(tmp_path) == ["hand.png"]  # nothing was read or made
    assert read("hand.png", "--report=pdf,json,png") == 0  # without a sex
    assert names(tmp_path / "reports") == ["hand.json", "hand.pdf", "hand.png"]
    content = json.loads((tmp_path / "reports" / "hand.json").read_text("utf-8"))
    assert [each["sex"] for each in content["predictions"]] == ["female", "male"]
    assert content["study_instance_uid"] is None


def test_a_folder_with_equal_names_and_other_images(read, tmp_path, capsys):
    study = tmp_path / "study"
    write_dicom(study / "left" / "IM1")
    write_dicom(study / "right" / "IM1", SOPInstanceUID="1.2.3.4", ImageLaterality="R")
    Image.fromarray(HAND.astype(np.uint8)).save(study / "hand.png")
    (study / "broken.png").write_bytes(b"no image")
    assert read("study", "--sex=f", "--report=sr,json") == 1
    assert names(tmp_path / "reports") == [
        "hand.json",
        *("left-IM1.json", "left-IM1.sr.dcm", "right-IM1.json", "right-IM1.sr.dcm"),
    ]
    printed = capsys.readouterr().out
    assert "Reports (sr, json) of 3 radiographs: 5 files in reports\n" in printed
    assert "  1 without a report: the radiograph could not be read\n" in printed
    assert "  1 without sr: not DICOM\n" in printed
    right = json.loads((tmp_path / "reports" / "right-IM1.json").read_text("utf-8"))
    assert (right["image"], right["side"]) == ("study/right/IM1", "right")


def test_a_zip_file_and_a_table(read, tmp_path):
    write_dicom(tmp_path / "IM1")
    with zipfile.ZipFile(tmp_path / "study.zip", "w") as archive:
        archive.write(tmp_path / "IM1", "series/IM1")
    assert read("study.zip", "--report=sr") == 0
    assert names(tmp_path / "reports") == ["IM1.sr.dcm"]
    (tmp_path / "cases.csv").write_text("image,sex,height_cm\nIM1,f,140\nIM1,m,\n")
    assert read("cases.csv", "--report=json", "--output=cases.jsonl") == 0
    assert names(tmp_path / "reports") == ["IM1-2.json", "IM1.json", "IM1.sr.dcm"]
    lines = (tmp_path / "cases.jsonl").read_text("utf-8").splitlines()
    for name, line in zip(("IM1", "IM1-2"), lines, strict=True):
        content = json.loads((tmp_path / "reports" / f"{name}.json").read_text("utf-8"))
        del content["report"]
        assert content == json.loads(line)  # one form of JSON


def test_a_rejected_radiograph_has_a_report_and_a_missing_uid_is_named(
    read, tmp_path, monkeypatch, capsys
):
    write_dicom(tmp_path / "a" / "no.dcm", SeriesInstanceUID=None)
    write_dicom(tmp_path / "a" / "yes.dcm")
    assert read("a", "--report=sr") == 1
    assert (
        "  no report: a/no.dcm: the source: SeriesInstanceUID is missing" in capsys.readouterr().out
    )
    assert names(tmp_path / "reports") == ["yes.sr.dcm"]
    half = np.ascontiguousarray(HAND[: len(HAND) // 2])
    write_dicom(tmp_path / "half.dcm", half)
    words = ["--mode=predict", "--input=half.dcm", "--report=json"]
    assert cli.main(words) == 1  # the shipped quality check rejects it
    content = json.loads((tmp_path / "reports" / "half.json").read_text("utf-8"))
    assert (content["status"], content["predictions"]) == ("rejected", [])
    assert content["report"]["conclusions"][0].startswith("No bone age: radiograph rejected")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--report=pfd"], "unknown kind of report 'pfd'. Did you mean pdf?"),
        (["--report_dir=x"], "--report_dir has no effect without --report="),
        (["--report=json", "--report_dir=IM1"], "no folder can be made there"),
        (["--report=json", "--output=reports/IM1.json"], "would replace a file of this command"),
        (["--report=sc", "--server=http://h/m"], "--report=sc has no effect with --server"),
    ],
)
def test_wrong_use_is_named_before_anything_is_read(read, tmp_path, words, expected, capsys):
    write_dicom(tmp_path / "IM1")
    if not any("server" in word for word in words):
        assert read("IM1", *words) == 2
    else:
        assert cli.main(["--mode=predict", "--input=IM1", *words]) == 2
    assert expected in capsys.readouterr().err
    assert not (tmp_path / "predictions.csv").exists()


def test_inputs_are_neither_replaced_nor_joined_by_reports(read, tmp_path, capsys):
    Image.fromarray(HAND.astype(np.uint8)).save(tmp_path / "hand.png")
    before = (tmp_path / "hand.png").read_bytes()
    assert read("hand.png", "--report=png", "--report_dir=.") == 2
    assert "hand.png: the report would replace a file of this command" in capsys.readouterr().err
    assert read(".", "--report=pdf") == 2
    assert "reports: this folder lies in the input ." in capsys.readouterr().err
    assert (tmp_path / "hand.png").read_bytes() == before


def test_missing_extras_are_named_at_once(read, tmp_path, capsys, monkeypatch):
    write_dicom(tmp_path / "IM1")
    monkeypatch.setitem(sys.modules, "highdicom", None)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert read("IM1", "--report=sr,pdf") == 2
    assert "pip install 'bone-age-tf[dicom,train]'" in capsys.readouterr().err


def test_interrupted_reports_continue_without_reading_again(read, tmp_path, monkeypatch):
    for name in ("a", "b"):
        write_dicom(tmp_path / "in" / f"{name}.dcm")
    original, calls = report_files.write_reports, []

    def interrupted(*arguments, **named):
        calls.append(named["name"])
        if len(calls) == 2:
            raise KeyboardInterrupt
        return original(*arguments, **named)

    monkeypatch.setattr(report_files, "write_reports", interrupted)
    assert read("in", "--report=json") == EXIT_INTERRUPTED
    assert journal_path(tmp_path / "predictions.csv").exists()
    monkeypatch.setattr(Reader, "prepare", None)  # nothing is read again
    assert read("in", "--report=json", "--resume") == 0
    assert names(tmp_path / "reports") == ["a.json", "b.json"]
    assert not journal_path(tmp_path / "predictions.csv").exists()


@pytest.mark.parametrize(
    ("images", "stems"),
    [
        (["a/x.png"], ["x"]),
        (["1.2.3.4", "1.2.3.5"], ["1.2.3.4", "1.2.3.5"]),
        (["d/a/x.png", "d/b/X.dcm", "d/y.png"], ["a-x.png", "b-X.dcm", "y"]),
        (["x.png", "x.png", "x.png"], ["x.png", "x.png-2", "x.png-3"]),
        (["a.fhir.png", "a.png"], ["a.fhir.png", "a.png"]),
        (["../h a:n*d.png", "..", "."], ["h_a_n_d", "radiograph", "radiograph-2"]),
        (["片" * 90 + ".dcm"], ["片" * 60]),
    ],
)
def test_names_are_safe_and_unique(images, stems):
    assert report_stems(images) == stems
