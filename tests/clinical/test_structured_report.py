"""The result as a DICOM SR, read back by highdicom."""

import dataclasses
import sys

import pytest
from report_cases import BOTH, PATIENT, REJECTED, REJECTION, RESULT, WHEN, make_source

from bone_age_tf import __version__
from bone_age_tf.clinical import codes, dicom_objects
from bone_age_tf.clinical.report import make_report
from bone_age_tf.clinical.standard_deviation import SD_REFERENCES, standard_deviation_score
from bone_age_tf.clinical.structured_report import make_structured_report
from bone_age_tf.errors import MissingExtraError


@pytest.fixture
def written(tmp_path):
    """Writes an SR and reads it back."""
    from highdicom.sr import srread

    def write(result, source=None, age=144, **arguments):
        source = make_source(**PATIENT) if source is None else source
        report = make_report(result, age, **arguments)
        path = tmp_path / "sr.dcm"
        path.write_bytes(dicom_objects.to_bytes(make_structured_report(report, source, WHEN)))
        return srread(path)

    return write


def by_code(items):
    """Content items by the value of their name's code."""
    return {item.ConceptNameCodeSequence[0].CodeValue: item for item in items}


def number(item):
    value = item.MeasuredValueSequence[0]
    return float(value.NumericValue), value.MeasurementUnitsCodeSequence[0].CodeValue


def groups(document):
    return document.content.get_image_measurement_groups()


def notes(document):
    """Texts of the qualitative evaluations, by code."""
    (container,) = [
        item
        for item in document.ContentSequence
        if item.ConceptNameCodeSequence[0].CodeValue == codes.QUALITATIVE_EVALUATIONS.value
    ]
    return [
        (item.ConceptNameCodeSequence[0].CodeValue, item.TextValue)
        for item in container.ContentSequence
    ]


def test_the_bone_age_and_its_interval_are_measurements(written):
    (group,) = groups(written(RESULT))
    (bone_age, age, score) = group.get_measurements()
    assert (bone_age.name.value, bone_age.name.scheme_designator) == ("37362-1", "LN")
    assert bone_age.value == 168.2 and bone_age.unit.value == "mo"
    parts = by_code(bone_age[0].ContentSequence)
    assert parts["111001"].TextValue == "efficientnet_lite0"
    assert parts["111003"].TextValue == "2, float16"
    assert number(parts[codes.UNCERTAINTY_UPPER.value]) == (10.0, "mo")
    assert number(parts[codes.UNCERTAINTY_LOWER.value]) == (11.1, "mo")
    assert number(parts[codes.NORMAL_LOWER.value]) == (pytest.approx(123.5, abs=0.05), "mo")
    assert number(parts[codes.NORMAL_UPPER.value]) == (pytest.approx(164.5, abs=0.05), "mo")
    assert (age.name.value, age.value, age.unit.value) == ("121033", 144, "mo")
    sex = group.get_qualitative_evaluations(dicom_objects.coded(codes.SUBJECT_SEX))
    assert [evaluation.value.value for evaluation in sex] == ["F"]
    assert score.name.value == "121416" and score.unit.value == "1"
    assert score.value == round(standard_deviation_score(168.23, 144, "female").sds, 2) == 2.37
    parts = by_code(score[0].ContentSequence)
    assert parts["121407"].TextValue.startswith("advanced; SD of bone age 10.2 months")
    assert parts["121408"].TextValue == SD_REFERENCES["brush_foundation"]
    assert parts["121402"].ConceptCodeSequence[0].CodeValue == codes.NORMALITY["advanced"].value
    assert [number(parts[c.value])[0] for c in (codes.NORMAL_LOWER, codes.NORMAL_UPPER)] == [-2, 2]


def test_procedure_site_and_source_are_those_of_the_radiograph(written):
    for sides, procedure, laterality in (
        ({"ImageLaterality": "L"}, "26353-3", ["7771000"]),
        ({"Laterality": "R"}, "26354-1", ["24028007"]),
        ({}, "24724-7", []),
        ({"ImageLaterality": "L", "Laterality": "R"}, "24724-7", []),  # contradictory
    ):
        document = written(RESULT, make_source(**sides))
        reported = by_code(document.ContentSequence)["121058"]
        assert reported.ConceptCodeSequence[0].CodeValue == procedure
        (group,) = groups(document)
        (site,) = group.finding_sites
        assert site.value.value == codes.HAND.value
        assert ([site.laterality.value] if site.laterality else []) == laterality
        (image,) = group.source_images
        assert image.referenced_sop_instance_uid == "1.2.3.4.5"
        (study,) = document.CurrentRequestedProcedureEvidenceSequence
        reference = study.ReferencedSeriesSequence[0].ReferencedSOPSequence[0]
        assert study.StudyInstanceUID == "1.2.3"
        assert reference.ReferencedSOPInstanceUID == "1.2.3.4.5"


def test_the_observer_is_the_software(written):
    (context,) = written(RESULT).content.get_observer_contexts()
    observer = context.observer_identifying_attributes
    assert observer.name == f"bone_age_tf {__version__}"
    assert observer.manufacturer_name == "bone_age_tf"
    assert observer.uid.startswith("2.25.")


def test_conclusion_quality_and_research_use_are_texts(written):
    texts = notes(written(RESULT))
    assert texts[0] == (
        "121077",
        "Bone age 168.2 months (14 y 0 mo), 90 % interval 157.1 to 178.2 months; chronological age "
        "144.0 months (12 y 0 mo): advanced, +2.4 SD (SD 10.2 months, "
        f"{SD_REFERENCES['brush_foundation']}).",
    )
    comments = [text for code, text in texts if code == "121106"]
    assert comments[0] == "The quality check found no reason to reject the radiograph."
    assert comments[1] == "Corrected: rotated 180°."
    assert comments[-1] == "Research use; not a medical device."


def test_both_results_where_the_sex_is_not_known(written):
    document = written(BOTH)
    answers = {}
    for group in groups(document):
        evaluations = group.get_qualitative_evaluations(dicom_objects.coded(codes.SUBJECT_SEX))
        measured = group.get_measurements(dicom_objects.coded(codes.BONE_AGE))
        answers[evaluations[0].value.value] = (group.tracking_identifier, measured[0].value)
    assert answers == {"F": ("Bone age if female", 168.2), "M": ("Bone age if male", 160.0)}
    conclusions = [text for code, text in notes(document) if code == "121077"]
    assert conclusions[0] == "The sex is not known: one result for each sex."
    assert conclusions[2].startswith("If the child is male: bone age 160.0 months (13 y 4 mo)")


def test_a_rejected_radiograph_gives_a_report_that_says_so(written):
    document = written(REJECTED)
    (group,) = groups(document)
    assert group.finding_type.value == codes.QUALITY_ISSUE.value
    assert group.get_measurements() == []
    text = f"No bone age: radiograph rejected ({REJECTION})."
    assert [item.TextValue for item in group[0].ContentSequence if "TextValue" in item][-1] == text
    assert ("121077", text) in notes(document)
    comments = [comment for code, comment in notes(document) if code == "121106"]
    assert comments[-2:] == [
        "The quality check also rejects some radiographs that can be read.",
        "Research use; not a medical device.",
    ]
    assert document.CompletionFlag == "COMPLETE"


def test_without_age_there_is_no_score_and_outside_the_table_its_reason(written):
    (group,) = groups(written(RESULT, age=None))
    assert [item.name.value for item in group.get_measurements()] == ["37362-1"]
    document = written(RESULT, age=230, reference="greulich_pyle_v_vi")
    (group,) = groups(document)
    assert [item.name.value for item in group.get_measurements()] == ["37362-1", "121033"]
    assert "is outside the table, which covers" in notes(document)[0][1]


def test_patient_and_study_are_those_of_the_source(written):
    document = written(RESULT)
    assert str(document.PatientName) == "Müller^Mia"
    assert document.SpecificCharacterSet == "ISO_IR 192"
    for keyword in ("PatientID", "PatientBirthDate", "PatientSex", "AccessionNumber", "StudyDate"):
        assert document.get(keyword) == PATIENT[keyword], keyword
    assert document.StudyInstanceUID == "1.2.3"
    assert (document.Manufacturer, document.ManufacturerModelName, document.SeriesDescription) == (
        "bone_age_tf",
        "efficientnet_lite0 2, float16",
        "Bone age report (SR)",
    )
    assert document.PreliminaryFlag == "PRELIMINARY" and document.VerificationFlag == "UNVERIFIED"
    assert document.ContentDate == "20250102" and document.ContentTime == "030405"


def test_nothing_about_the_patient_is_invented(written):
    values = {"PatientSex": "X", "PatientBirthDate": "00000000", "StudyTime": "noon"}
    document = written(RESULT, make_source(**values))
    for keyword in ("PatientName", "PatientID", *values, "AccessionNumber", "StudyDate"):
        assert keyword in document and not document.get(keyword), keyword
    for keyword in ("PatientAge", "IssuerOfPatientID", "StudyDescription"):
        assert keyword not in document


def test_how_a_source_was_made_anonymous_is_kept_where_it_is_valid(written):
    values = {"PatientIdentityRemoved": "YES", "StudyDate": "2024.01.05", "StudyTime": "10:15:00"}
    document = written(RESULT, make_source(**values))
    assert "PatientIdentityRemoved" not in document  # not valid without the method
    assert (document.StudyDate, document.StudyTime) == ("20240105", "101500")
    document = written(RESULT, make_source(**values, DeidentificationMethod="by hand"))
    assert document.PatientIdentityRemoved == "YES" and document.DeidentificationMethod == "by hand"


def test_a_name_in_another_character_set_is_kept(written):
    source = make_source(SpecificCharacterSet=["", "ISO 2022 IR 87"])
    source.PatientName = "Yamada^Tarou=山田^太郎=やまだ^たろう"
    assert str(written(RESULT, source).PatientName) == "Yamada^Tarou=山田^太郎=やまだ^たろう"


def test_a_result_that_names_no_model_says_so(written):
    (group,) = groups(written(dataclasses.replace(RESULT, model="")))
    parts = by_code(group.get_measurements()[0][0].ContentSequence)
    assert (parts["111001"].TextValue, parts["111003"].TextValue) == ("not stated", "not stated")


def test_without_highdicom_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "highdicom.sr", None)
    monkeypatch.setitem(sys.modules, "highdicom", None)
    with pytest.raises(MissingExtraError, match=r"a structured report .*bone-age-tf\[dicom\]"):
        make_structured_report(make_report(RESULT), make_source(), WHEN)
