"""Writing reports: files, identity, the JSON schema, and which DICOM objects are our own."""

import dataclasses
import json
import re

import numpy as np
import pytest
from PIL import Image
from report_cases import (
    BOTH,
    FEMALE,
    PATIENT,
    RESULT,
    RESULTS,
    WHEN,
    dicom_errors,
    make_picture,
    make_source,
    pydicom,
)

from bone_age_tf.clinical import (
    REPORT_KINDS,
    codes,
    is_own_result,
    read_json_schema,
    standard_deviation_score,
    write_reports,
)
from bone_age_tf.clinical.dicom_objects import result_uid
from bone_age_tf.clinical.report import make_report
from bone_age_tf.errors import ConfigError, InputError
from bone_age_tf.inference.predictor import Prediction

jsonschema = pytest.importorskip("jsonschema")
PICTURE = make_picture(60, 45)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """All reports of every made-up result, with and without patient data, by their names."""
    folder = tmp_path_factory.mktemp("reports")
    paths = {}
    for name, result in RESULTS.items():
        for patient in (PATIENT, {}):
            label = f"{name} {'of a patient' if patient else 'alone'}"
            made = write_reports(
                [*REPORT_KINDS],
                result,
                make_source(**patient),
                folder / label,
                chronological_age_months=144,
                picture=PICTURE,
                written_at=WHEN,
            )
            paths[label] = {path.name.partition(".")[2]: path for path in made}
    return paths


def test_every_kind_has_its_files(written):
    endings = ["sr.dcm", "sc.dcm", "pdf", "pdf.dcm", "fhir.json", "json", "png"]
    for paths in written.values():
        assert [*paths] == endings
        assert all(path.name.startswith("hand.") for path in paths.values())
        np.testing.assert_array_equal(np.asarray(Image.open(paths["png"])), PICTURE)
        assert paths["pdf"].read_bytes().startswith(b"%PDF")


def test_dciodvfy_finds_no_errors(written):
    for label, paths in written.items():
        for kind in ("sr.dcm", "sc.dcm", "pdf.dcm"):
            assert not dicom_errors(paths[kind]), (label, kind)


def test_the_json_files_follow_their_schema(written):
    schema = read_json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    contents = {
        label: json.loads(paths["json"].read_text("utf-8")) for label, paths in written.items()
    }
    for content in contents.values():
        validator.validate(content)
    content = contents["one of a patient"]
    (answer,) = content["results"]
    assert answer["bone_age_months"] == 168.23 and answer["interval_90_months"] == [157.1, 178.2]
    assert answer["standard_deviation_score"]["assessment"] == "advanced"
    assert content["source"] == {
        "name": "films/hand.dcm",
        "study_uid": "1.2.3",
        "series_uid": "1.2.3.4",
        "instance_uid": "1.2.3.4.5",
    }
    assert "P-17" not in json.dumps(content) and content["written_at"].startswith("2025-01-02T")
    assert [one["sex"] for one in contents["both alone"]["results"]] == ["female", "male"]
    for change in ({"status": "rejected"}, {"results": []}, {"extra": 1}, {"sex": "F"}):
        with pytest.raises(jsonschema.ValidationError):
            validator.validate({**content, **change})


def test_our_own_results_are_recognised(written):
    for kind in ("sr.dcm", "sc.dcm", "pdf.dcm"):
        assert is_own_result(pydicom.dcmread(written["one alone"][kind]))
    assert not is_own_result(make_source(**PATIENT))
    assert not is_own_result(make_source())


def test_each_kind_is_a_series_of_its_own_in_the_study(written):
    datasets = [
        pydicom.dcmread(written["one alone"][kind]) for kind in ("sr.dcm", "sc.dcm", "pdf.dcm")
    ]
    assert {dataset.StudyInstanceUID for dataset in datasets} == {"1.2.3"}
    uids = [(dataset.SOPInstanceUID, dataset.SeriesInstanceUID) for dataset in datasets]
    every = [uid for pair in uids for uid in pair]
    assert len({*every}) == 6
    for uid in every:
        assert re.fullmatch(r"2\.25\.[1-9][0-9]{20,38}", uid) and pydicom.uid.UID(uid).is_valid


def test_a_resend_is_the_same_object(written, tmp_path):
    again = write_reports(
        ["sr", "sc", "pdf", "fhir", "json"],
        RESULT,
        make_source(**PATIENT),
        tmp_path,
        chronological_age_months=144,
        picture=PICTURE,
        written_at=WHEN,
    )
    for path in again:
        earlier = written["one of a patient"][path.name.partition(".")[2]]
        assert path.read_bytes() == earlier.read_bytes(), path.name


def test_another_source_model_kind_or_answer_is_another_object():
    report = make_report(RESULT)
    uid = result_uid("1.2.3", "sr", report)
    assert uid == result_uid("1.2.3 ", "sr", report)
    renamed = dataclasses.replace(RESULT, source="elsewhere.dcm")
    almost = dataclasses.replace(RESULT, by_sex={"female": dataclasses.replace(FEMALE)})
    for same in (renamed, almost):
        assert result_uid("1.2.3", "sr", make_report(same)) == uid
    corrected = dataclasses.replace(RESULT, sex="male", by_sex={"male": Prediction(160.0, None)})
    newer = dataclasses.replace(RESULT, model="efficientnet_lite0 version 3, float16")
    others = {
        result_uid("1.2.4", "sr", report),
        result_uid("1.2.3", "sc", report),
        *(result_uid("1.2.3", "sr", make_report(other)) for other in (corrected, newer, BOTH)),
        result_uid("1.2.3", "sr", make_report(RESULT, 144)),
    }
    assert len(others) == 6 and uid not in others


def test_a_file_is_a_source_and_the_name_can_be_given(tmp_path):
    source = make_source(**PATIENT)
    path = tmp_path / "film.dcm"
    source.file_meta = pydicom.dataset.FileMetaDataset()
    source.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.1"
    source.save_as(path, enforce_file_format=True)
    folder = tmp_path / "new" / "folder"
    (sr,) = write_reports(["sr", "sr"], RESULT, path, folder, name="case.7")
    assert sr == folder / "case.7.sr.dcm"
    assert str(pydicom.dcmread(sr).PatientName) == "Müller^Mia"


def test_other_images_have_reports_that_need_no_dicom(tmp_path):
    made = write_reports(["json", "fhir", "pdf", "png"], RESULT, None, tmp_path)
    assert [path.name for path in made] == ["hand.json", "hand.fhir.json", "hand.pdf", "hand.png"]
    assert json.loads(made[0].read_text("utf-8"))["source"]["study_uid"] is None
    assert Image.open(made[3]).size == (1240, 1753)  # the page
    with pytest.raises(InputError, match="sr or sc needs a DICOM file"):
        write_reports(["json", "sc"], RESULT, None, tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_what_cannot_be_used_is_named(tmp_path):
    text = tmp_path / "hand.png"
    text.write_bytes(b"\x89PNG")
    with pytest.raises(InputError, match=r"hand.png: not a DICOM file"):
        write_reports(["sr"], RESULT, text, tmp_path)
    with pytest.raises(InputError, match="SOPInstanceUID is missing"):
        write_reports(["sr"], RESULT, make_source(SOPInstanceUID=""), tmp_path)
    with pytest.raises(ConfigError, match=r"unknown kind of report 'pfd'. Did you mean pdf\?"):
        write_reports(["pfd"], RESULT, make_source(), tmp_path)
    with pytest.raises(InputError, match="chronological age is -1"):
        write_reports(["json"], RESULT, None, tmp_path, chronological_age_months=-1)
    assert [path.name for path in tmp_path.iterdir()] == ["hand.png"]


def test_a_score_must_belong_to_the_result(tmp_path):
    score = standard_deviation_score(168.23, 144, "female", "greulich_pyle_v_vi")
    (path,) = write_reports(["json"], RESULT, None, tmp_path, score=score)
    (answer,) = json.loads(path.read_text("utf-8"))["results"]
    assert answer["standard_deviation_score"]["reference"] == "greulich_pyle_v_vi"
    with pytest.raises(InputError, match=r"the score is \+1.7 SD of 14.0 months"):
        make_report(RESULT, 150, score)
    with pytest.raises(InputError, match="a prediction for one known sex"):
        make_report(BOTH, 144, score)


def test_the_codes_are_those_of_the_standard():
    from pydicom.sr.codedict import codes as known

    groups = [known.DCM, known.UCUM, known.SCT, known.cid222, known.cid223, known.cid244]
    terms = {
        (term.scheme_designator, term.value, term.meaning)
        for group in groups
        for term in (getattr(group, name) for name in group.dir())
    }
    named = [code for code in vars(codes).values() if isinstance(code, codes.Code)]
    named += [*codes.NORMALITY.values()]
    uncertainty = (codes.UNCERTAINTY_LOWER, codes.UNCERTAINTY_UPPER)  # CID 225, other meanings
    checked = [
        code for code in named if code.scheme in ("DCM", "UCUM", "SCT") and code not in uncertainty
    ]
    assert len(checked) > 15
    assert [code for code in checked if (code.scheme, code.value, code.meaning) not in terms] == []
