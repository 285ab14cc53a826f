"""DICOM files in predictions: folders, tables, ZIP files and DICOMDIRs."""

import csv
import json
import zipfile
from pathlib import Path

import numpy as np
import pydicom
import pytest

from bone_age_tf.errors import InputError, MissingExtraError
from bone_age_tf.inference.cases import Case, collect_cases
from bone_age_tf.inference.result import Result
from bone_age_tf.radiograph import Radiograph
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
