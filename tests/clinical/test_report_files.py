"""Writing reports: files, identity, the JSON schema, and which DICOM objects are our own."""

import dataclasses
import json
import re
import sys

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

from bone_age_tf import __version__
from bone_age_tf.clinical import (
    REPORT_KINDS,
    codes,
    is_own_result,
    predict_adult_height,
    read_json_schema,
    write_reports,
)
from bone_age_tf.clinical.dicom_objects import result_uid
from bone_age_tf.clinical.report import make_report
from bone_age_tf.clinical.report_kinds import file_stem, require_report_packages
from bone_age_tf.errors import ConfigError, InputError, MissingExtraError
from bone_age_tf.images.dicom_facts import Study
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
    (answer,) = content["predictions"]
    assert (answer["bone_age_months"], answer["unfamiliarity"]) == (168.23, 0.3)
    assert (answer["lower_90"], answer["upper_90"]) == (157.1, 178.2)
    scores = answer["standard_deviation_scores"]
    assert [(score["reference"], score["assessment"]) for score in scores] == [
        ("brush_foundation", "advanced"),
        ("greulich_pyle_v_vi", "normal"),
    ]
    assert answer["sds"] == scores[0]["sds"] == pytest.approx((168.23 - 144) / 10.24)
    assert (content["image"], content["side"]) == ("films/hand.dcm", "left")
    uids = [content[f"{level}_instance_uid"] for level in ("study", "series", "sop")]
    assert uids == ["1.2.3", "1.2.3.4", "1.2.3.4.5"]
    report = content["report"]
    assert report["written_at"] == WHEN.astimezone().isoformat(timespec="seconds")
    assert report["software"] == {"name": "bone_age_tf", "version": __version__}
    assert report["conclusions"][0].startswith("Bone age 168.2 months") and report["limits"]
    assert report["disclaimer"] == "Research use; not a medical device"
    assert "P-17" not in json.dumps(content)
    assert [each["sex"] for each in contents["both alone"]["predictions"]] == ["female", "male"]
    changes = ({"status": "rejected"}, {"predictions": []}, {"extra": 1}, {"sex": "F"})
    for change in (*changes, {"format": "bone_age_tf.result.0"}, {"report": {**report, "x": 1}}):
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
    assert json.loads(made[0].read_text("utf-8"))["study_instance_uid"] is None
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
    with pytest.raises(InputError, match="height is 5; give"):
        write_reports(["json"], RESULT, None, tmp_path, height_cm=5)
    with pytest.raises(InputError, match="reference is 'tanner'"):
        write_reports(["json"], RESULT, None, tmp_path, reference="tanner")
    with pytest.raises(InputError, match=r"the radiograph has shape \(2, 2, 3\)"):
        write_reports(["json"], RESULT, None, tmp_path, radiograph=np.zeros((2, 2, 3)))
    other = dataclasses.replace(RESULT, study=Study("1.2.3", "1.2.3.4", "1.2.3.4.6"))
    with pytest.raises(InputError, match=r"is of the radiograph 1.2.3.4.6, and the source is"):
        write_reports(["sr"], other, make_source(), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["hand.png"]


def test_what_is_known_about_the_child_is_that_of_the_result_unless_it_is_given(tmp_path):
    known = dataclasses.replace(
        RESULT,
        chronological_age_months=144.0,
        height_cm=150.0,
        side="right",
        study=Study("1.2.3", "1.2.3.4", "1.2.3.4.5"),
        notes=("stated side right",),
    )
    kinds = ["json", "fhir", "sr"]
    source = make_source(**PATIENT)
    made = write_reports(kinds, known, source, tmp_path, reference="greulich_pyle_v_vi")
    content, bundle = (json.loads(path.read_text("utf-8")) for path in made[:2])
    (answer,) = content["predictions"]
    assert (answer["sds_reference"], answer["assessment"]) == ("greulich_pyle_v_vi", "normal")
    adult = predict_adult_height(150, 168.23, 144, "female")
    assert answer["adult_height_cm"] == adult.height_cm
    (conclusion,) = content["report"]["conclusions"]
    assert f"; adult height {adult.height_cm:.1f} cm from 150.0 cm (SD of the error" in conclusion
    diagnostic = bundle["entry"][0]["resource"]
    assert diagnostic["code"]["coding"][0]["code"] == "26354-1"  # the right hand
    assert (
        conclusion in diagnostic["conclusion"] and "Stated side right." in diagnostic["conclusion"]
    )
    assert "26354-1" in str(pydicom.dcmread(made[2]))
    (path,) = write_reports(
        ["json"], known, None, tmp_path, chronological_age_months=168, height_cm=160
    )
    content = json.loads(path.read_text("utf-8"))
    assert (content["chronological_age_months"], content["height_cm"]) == (168, 160)
    assert content["sop_instance_uid"] == "1.2.3.4.5"


def test_the_radiograph_is_shown_on_the_page(tmp_path):
    radiograph = np.full((3000, 20), 40.6, np.float32)
    (page,) = write_reports(["png"], RESULT, None, tmp_path, radiograph=radiograph)
    pixels = np.asarray(Image.open(page))
    assert pixels.shape == (1753, 1240, 3)
    assert (pixels == 41).all(-1).sum() > 1000
    made = write_reports(["sc", "png"], RESULT, make_source(), tmp_path, radiograph=radiograph)
    shown = pydicom.dcmread(made[0]).pixel_array
    np.testing.assert_array_equal(shown, np.asarray(Image.open(made[1])))
    assert (shown == 41).all(-1).sum() > 1000


@pytest.mark.parametrize(
    ("source", "stem"),
    [("a/hand.dcm", "hand"), ("1.2.840.7", "1.2.840.7"), ("x.PNG", "x"), ("case.7.jpeg", "case.7")],
)
def test_only_extensions_of_images_are_cut_off(source, stem):
    assert file_stem(source) == stem


def test_all_missing_extras_are_named_in_one_line(monkeypatch):
    require_report_packages([*REPORT_KINDS])
    for package in ("highdicom", "matplotlib"):
        monkeypatch.setitem(sys.modules, package, None)
    require_report_packages(["json", "fhir"])
    expected = r"a report of the kind sr, pdf needs .* pip install 'bone-age-tf\[dicom,train\]'$"
    with pytest.raises(MissingExtraError, match=expected):
        require_report_packages(["sr", "pdf"])


def test_a_source_without_a_header_and_bytes_are_read(tmp_path):
    source = make_source(**PATIENT)
    path = tmp_path / "old.dcm"
    source.save_as(path, implicit_vr=True, little_endian=True)
    for given in (path, path.read_bytes()):
        (sr,) = write_reports(["sr"], RESULT, given, tmp_path / "made")
        assert pydicom.dcmread(sr).PatientID == "P-17"
    (tmp_path / "text.dcm").write_text("no image")
    with pytest.raises(InputError, match=r"text.dcm: (not a DICOM file|SOPInstanceUID)"):
        write_reports(["sr"], RESULT, tmp_path / "text.dcm", tmp_path)


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
