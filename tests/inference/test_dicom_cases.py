"""DICOM files in predictions: folders, tables, ZIP files and DICOMDIRs."""

import csv
import dataclasses
import json
import zipfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pydicom
import pytest

from bone_age_tf import cli, clinical
from bone_age_tf.errors import InputError, MissingExtraError
from bone_age_tf.inference import journal
from bone_age_tf.inference.cases import Case, collect_cases
from bone_age_tf.inference.result import Result
from bone_age_tf.radiograph import Radiograph
from bone_age_tf.serving.reader import ServerReader
from command_words import predict
from dicom_files import file_bytes

DICOMDIR = Path(pydicom.__file__).parent / "data" / "test_files" / "dicomdirtests" / "DICOMDIR"
HALF = np.repeat([[0, 200]], 8, axis=0).repeat(4, axis=1)
"""8 x 8 pixels with a mean of 100: the model answers 50 months for a girl and 60 for a boy."""


def film(**tags):
    return file_bytes(HALF, 8, **tags)


def rows(path):
    with open(path, encoding="utf-8", newline="") as file:
        return [
            (row["image"], row["sex"], row["bone_age_months"], row["status"], row["reason"])
            for row in csv.DictReader(file)
        ]


def test_the_sex_of_the_file_is_used_unless_another_is_given(bins_reader, tmp_path):
    path = tmp_path / "IM0001"
    path.write_bytes(film(PatientSex="M"))
    conflict = "sex contradictory: male in the file, female was given and used"
    for source in (path, path.read_bytes(), Radiograph.open(path), Case("IM0001", path)):
        result = bins_reader.read(source)
        assert (result.sex, result.note) == ("male", "")
        assert result.age_months == pytest.approx(60)
        given = bins_reader.read(source, "female")
        assert (given.sex, given.note) == ("female", conflict)
        assert given.age_months == pytest.approx(50)
    assert bins_reader.read(Case("IM0001", path, 0)).note == conflict
    both = bins_reader.read(path, both_sexes=True)
    assert list(both.by_sex) == ["female", "male"]
    assert Result.from_dict(json.loads(json.dumps(given.to_dict()))).notes == (conflict,)


def test_a_folder_and_a_table_with_dicom_files(exports, tmp_path):
    folder = tmp_path / "study"
    (folder / "series").mkdir(parents=True)
    (folder / "series" / "IM0001").write_bytes(film(PatientSex="M"))
    (folder / "b.dcm").write_bytes(film(PatientSex="O"))
    (folder / "ct.dcm").write_bytes(film(Modality="CT"))
    (folder / "notes.txt").write_text("no image")
    (folder / "text.dcm").write_text("no image either")
    output = tmp_path / "out.csv"
    assert predict(folder, None, exports, "bins", output=output) == 1
    both = "sex not given: result for both sexes"
    refused = "not a radiograph: modality CT; CR, DX, RG, OT, SC and MG are read"
    assert rows(output) == [
        (f"{folder}/b.dcm", "female", "50.0", "ok", both),
        (f"{folder}/b.dcm", "male", "60.0", "ok", both),
        (f"{folder}/ct.dcm", "", "", "failed", refused),
        (f"{folder}/series/IM0001", "male", "60.0", "ok", ""),
        (f"{folder}/text.dcm", "", "", "failed", "not a DICOM file"),
    ]
    (folder / "table.csv").write_text("image,sex\nseries/IM0001,f\nseries/IM0001,\n")
    assert predict(folder / "table.csv", None, exports, "bins", output=output) == 0
    conflict = "sex contradictory: male in the file, female was given and used"
    assert rows(output) == [
        ("series/IM0001", "female", "50.0", "ok", conflict),
        ("series/IM0001", "male", "60.0", "ok", ""),
    ]


def test_a_single_file_without_a_suffix(exports, tmp_path, capsys):
    path = tmp_path / "IM0001"
    path.write_bytes(film(PatientSex="F", Laterality="R"))
    assert predict(path, None, exports, "bins") == 0
    first = capsys.readouterr().out.splitlines()[0]
    assert first.startswith(f"{path}  female  bone age 50.0 months")
    assert first.endswith("; right hand according to the file")


def test_a_zip_of_a_study(bins_reader, tmp_path):
    path = tmp_path / "study.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("study/IM1", film(PatientSex="M"))
        archive.writestr("study/old.dcm", film(PatientSex="F"))
        archive.writestr("study/readme.txt", "no image")
        archive.writestr("__MACOSX/._IM1", film())
        archive.writestr("DICOMDIR", bytes(128) + b"DICM")
        archive.writestr("broken.png", b"\x89PNG\r\n\x1a\n")
    cases = collect_cases(path)
    assert [case.image for case in cases] == [
        f"{path}/{name}" for name in ("study/IM1", "study/old.dcm", "broken.png")
    ]
    results = [result for _, result in bins_reader.read_all(cases)]
    assert [result.age_months for result in results[:2]] == pytest.approx([60, 50])
    assert results[2].status == "failed" and results[2].source == f"{path}/broken.png"
    gone = Case("gone", path, member="gone.dcm")
    assert bins_reader.read(gone).reasons == ("no such file",)


def test_zip_files_that_cannot_be_read(tmp_path):
    (tmp_path / "text.zip").write_text("no archive")
    with pytest.raises(InputError, match=r"text\.zip: not a readable ZIP file"):
        collect_cases(tmp_path / "text.zip")
    with zipfile.ZipFile(tmp_path / "empty.zip", "w") as archive:
        archive.writestr("readme.txt", "no image")
    with pytest.raises(InputError, match=r"empty\.zip: no radiographs in this ZIP file"):
        collect_cases(tmp_path / "empty.zip")


def test_a_dicomdir_lists_its_images(bins_reader, monkeypatch):
    cases = collect_cases(DICOMDIR, "f")
    assert len(cases) == 31 and {case.sex for case in cases} == {0}
    results = [bins_reader.read(case) for case in cases[:6]]
    assert {result.status for result in results} == {"ok", "failed"}
    assert "not a radiograph: modality CT" in " ".join(result.note for result in results)
    in_folder = {case.path for case in collect_cases(DICOMDIR.parent)}
    assert {case.path for case in cases} <= in_folder and DICOMDIR not in in_folder
    monkeypatch.setitem(__import__("sys").modules, "pydicom", None)
    with pytest.raises(MissingExtraError, match=r"DICOMDIR needs packages .*\[dicom\]"):
        collect_cases(DICOMDIR)


def test_a_dicomdir_without_images_is_refused(tmp_path):
    (tmp_path / "DICOMDIR").write_bytes(b"no directory")
    with pytest.raises(InputError, match=r"DICOMDIR: (this DICOMDIR lists no images|the DICOMDIR)"):
        collect_cases(tmp_path / "DICOMDIR")


def test_what_a_file_states_is_in_the_result(bins_reader, tmp_path):
    path = tmp_path / "IM0001"
    path.write_bytes(film(PatientSex="M", Laterality="L", PatientSize="1.1"))
    result = bins_reader.read(path)
    assert (result.sex_source, result.side, result.height_cm) == ("file", "left", 110)
    assert result.chronological_age_months == pytest.approx(126, abs=0.2)
    assert result.study.study_instance_uid == "1.2.3.1"
    assert bins_reader.read(path, "m").sex_source == "flag"
    assert bins_reader.read(path, both_sexes=True).sex_source is None
    assert clinical.score_result(result).assessment == "delayed"


def test_a_given_age_is_preferred_to_the_age_of_the_file(bins_reader, tmp_path):
    path = tmp_path / "IM0001"
    path.write_bytes(film())
    given = bins_reader.read(path, chronological_age_months=96, height_cm=120)
    assert (given.chronological_age_months, given.height_cm) == (96, 120)
    conflict = "chronological age contradictory: 126 months in the file, 96 were given and used"
    assert given.notes == (conflict,)
    assert bins_reader.read(path, chronological_age_months=126).notes == ()
    case = Case("IM0001", path, chronological_age_months=96.0)
    assert bins_reader.read(case).notes == (conflict,)
    assert bins_reader.read(case, chronological_age_months=126).notes == ()
    stated = Radiograph.open(film(PatientBirthDate=None, PatientAge="010Y"))
    assert len(bins_reader.read(stated, chronological_age_months=121).notes) == 1  # "from 010Y"
    assert len(bins_reader.read(stated, chronological_age_months=134).notes) == 2
    with pytest.raises(InputError, match="chronological age is 9000"):
        bins_reader.read(path, chronological_age_months=9000)


def test_the_command_on_a_dicom_file_and_a_table(exports, tmp_path, capsys):
    path, output = tmp_path / "IM0001", tmp_path / "out.csv"
    path.write_bytes(film(PatientSex="M", Laterality="L"))
    assert predict(path, None, exports, "bins", output=output) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].startswith("  chronological age 126.1 months: delayed, -6.6 SD")
    (tmp_path / "table.csv").write_text(
        "image,sex,age_months,chronological_age_months,height_cm\n"
        "IM0001,m,62,66,110\nIM0001,,,,\nIM0001,f,,500,\nnone.png,,,80,\n"
    )
    assert predict(tmp_path / "table.csv", None, exports, "bins", output=output) == 1
    assert "Mean absolute error 2.0 months" in capsys.readouterr().out  # 60 against 62, not 66
    with output.open() as file:
        table, file_row, old, failed = csv.DictReader(file)
    assert (table["sex_source"], table["chronological_age_months"]) == ("table", "66.0")
    assert float(table["sds"]) == pytest.approx(
        clinical.standard_deviation_score(60, 66, "male").sds, abs=0.006
    )
    assert (table["assessment"], table["height_cm"]) == ("normal", "110.0")
    assert table["reason"].startswith("chronological age contradictory: 126 months in the file, 66")
    assert (file_row["sex_source"], file_row["assessment"]) == ("file", "delayed")
    assert (file_row["side"], file_row["study_instance_uid"]) == ("left", "1.2.3.1")
    assert (old["sds"], old["sds_reference"]) == ("", "brush_foundation")
    assert "chronological age 500 months is outside the table" in old["reason"]
    assert (failed["status"], failed["chronological_age_months"]) == ("failed", "80.0")


def test_flags_of_the_age_and_the_height(exports, tmp_path, capsys):
    path, output = tmp_path / "IM0001", tmp_path / "out.json"
    path.write_bytes(film(PatientSex="M", PatientBirthDate=None))
    flags = [
        *("--mode=predict", f"--input={path}", "--model=bins", f"--exports_dir={exports}"),
        *("--noquality_check", "--chronological_age_months=84", "--height_cm=118"),
    ]
    arguments = [*flags, f"--output={output}", "--sds_reference=greulich_pyle_v_vi"]
    assert cli.main(arguments) == 0
    _, score, height, *_ = capsys.readouterr().out.splitlines()
    assert score.startswith("  chronological age 84.0 months: ") and "tables V and VI" in score
    assert height.startswith("  no adult height: bone age 60 months is outside the table")
    (content,) = json.loads(output.read_text())
    assert (content["sex_source"], content["height_cm"]) == ("file", 118)
    assert len(content["predictions"][0]["standard_deviation_scores"]) == 2
    wrong = [
        ([*flags, "--sds_reference=brush"], "Did you mean brush_foundation?"),
        ([*flags, "--height_cm=1.18"], "--height_cm: height is 1.18; write a number from 30"),
        ([*flags, f"--input={tmp_path}"], "is for a single radiograph, and there are 2"),
    ]
    (tmp_path / "IM0002").write_bytes(path.read_bytes())
    for words, message in wrong:
        assert cli.main(words) == 2
        assert message in capsys.readouterr().err


def test_resumed_results_follow_a_changed_age(tmp_path):
    path = tmp_path / "IM0001"
    path.write_bytes(film(PatientSex="M"))
    before, after = (Case("IM0001", path, chronological_age_months=age) for age in (66.0, 67.0))
    assert journal._key(before) != journal._key(after)
    assert journal._key(before) != journal._key(Case("IM0001", path, 1, height_cm=110.0))


def test_a_server_reader_keeps_what_is_given(tmp_path):
    path = tmp_path / "hand.png"
    path.write_bytes(b"sent as it is")
    reader = ServerReader("http://localhost:1/bins")
    outputs = {"status": [b"ok"], "reason": [b""], "age_months": np.array([[60.0]])}
    reader._connection = SimpleNamespace(predict=lambda data, sexes: outputs)
    case = Case("hand.png", path, 1, None, None, None, "table", 66.0, 110.0)
    gone = dataclasses.replace(case, path=tmp_path / "gone.png")
    (_, result), (_, failed) = reader.read_all([case, gone])
    for each in (result, failed):
        assert (each.sex, each.sex_source) == ("male", "table")
        assert (each.chronological_age_months, each.height_cm) == (66, 110)
    assert (failed.status, result.age_months) == ("failed", 60)
    assert clinical.score_result(result).assessment == "normal"


def test_a_server_gets_the_displayed_image_and_nothing_else(tmp_path):
    path = tmp_path / "IM0001"
    path.write_bytes(film(PatientSex="M", Laterality="R", PatientName="Doe^Jane"))
    (tmp_path / "ct.dcm").write_bytes(film(Modality="CT"))
    sent = []

    def predict(data, sexes):
        sent.append((data, sexes))
        count = len(sexes)
        ages = np.full((count, 1), 60.0)
        return {"status": [b"ok"] * count, "reason": [b""] * count, "age_months": ages}

    reader = ServerReader("http://localhost:1/bins")
    reader._connection = SimpleNamespace(predict=predict)
    cases = [Case("IM0001", path), Case("IM0001", path, 0), Case("ct.dcm", tmp_path / "ct.dcm")]
    results = [result for _, result in reader.read_all(cases)]
    assert sorted(sexes for _, sexes in sent) == [[0], [1]]
    for data, _ in sent:
        assert data.startswith(b"\x89PNG") and b"Doe" not in data
        np.testing.assert_array_equal(Radiograph.open(data).pixels, HALF)
    assert [(result.sex, result.sex_source) for result in results] == [
        ("male", "file"),
        ("female", "flag"),
        (None, None),
    ]
    right = "right hand according to the file"
    conflict = "sex contradictory: male in the file, female was given and used"
    assert [result.notes for result in results] == [(right,), (right, conflict), ()]
    assert results[0].study.sop_instance_uid == "1.2.3.3"
    assert clinical.score_result(results[0]).assessment == "delayed"
    assert results[2].note.startswith("not a radiograph: modality CT")
