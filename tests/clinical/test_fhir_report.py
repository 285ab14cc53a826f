"""The result as FHIR, validated with fhir.resources' classes of R4B."""

import json

import pytest
from report_cases import BOTH, PATIENT, REJECTED, REJECTION, RESULT, RESULTS, WHEN, make_source

from bone_age_tf.clinical import dicom_objects
from bone_age_tf.clinical.fhir_report import make_fhir_bundle
from bone_age_tf.clinical.report import StudyFacts, make_report

bundles = pytest.importorskip("fhir.resources.R4B.bundle")

KNOWN = dicom_objects.study_facts(make_source(**PATIENT))


def make_bundle(result=RESULT, facts=KNOWN, age=144):
    bundle = make_fhir_bundle(make_report(result, age), facts, WHEN)
    bundles.Bundle.model_validate_json(json.dumps(bundle))
    return bundle


def test_the_validation_finds_mistakes():
    for kind, change in (("Observation", {"staus": "final"}), ("Observation", {"code": "37362-1"})):
        bundle = make_bundle()
        resources(bundle, kind)[0].update(change)
        with pytest.raises(ValueError, match=next(iter(change))):
            bundles.Bundle.model_validate_json(json.dumps(bundle))


def resources(bundle, kind):
    found = [entry["resource"] for entry in bundle["entry"]]
    return [resource for resource in found if resource["resourceType"] == kind]


def test_bone_age_interval_and_score_have_codes_and_units():
    bone_age, score = resources(make_bundle(), "Observation")
    assert bone_age["code"]["coding"] == [
        {"system": "http://loinc.org", "code": "37362-1", "display": "Bones X-ray bone age"}
    ]
    unit = {"unit": "months", "system": "http://unitsofmeasure.org", "code": "mo"}
    assert bone_age["valueQuantity"] == {"value": 168.2, **unit}
    components = {part["code"]["text"]: part for part in bone_age["component"]}
    interval = components["90 % interval"]["valueRange"]
    assert interval == {"low": {"value": 157.1, **unit}, "high": {"value": 178.2, **unit}}
    assert components["Chronological age"]["valueQuantity"] == {"value": 144, **unit}
    sex = components["Sex for which the bone age holds"]["valueCodeableConcept"]["coding"]
    assert sex[0]["code"] == "female"
    assert "Brush Foundation" in bone_age["referenceRange"][0]["text"]
    assert score["code"]["coding"][0]["code"] == "121416"
    assert score["valueQuantity"]["value"] == 2.37
    assert score["interpretation"][0]["coding"][0]["code"] == "H"
    assert score["interpretation"][0]["text"] == "advanced"
    assert score["referenceRange"][0]["low"]["value"] == -2
    assert "Brush Foundation" in score["referenceRange"][0]["text"]


def test_the_report_refers_to_its_observations_and_the_study():
    bundle = make_bundle()
    (report,) = resources(bundle, "DiagnosticReport")
    urls = [entry["fullUrl"] for entry in bundle["entry"]]
    assert [item["reference"] for item in report["result"]] == urls[1:]
    assert resources(bundle, "Observation")[1]["derivedFrom"] == [{"reference": urls[1]}]
    study = report["imagingStudy"][0]["identifier"]
    assert study == {"system": "urn:dicom:uid", "value": "urn:oid:1.2.3"}
    assert report["subject"]["identifier"]["value"] == "P-17"
    assert report["basedOn"][0]["identifier"]["value"] == "A-9"
    assert report["code"]["coding"][0]["code"] == "26353-3"
    assert (report["effectiveDateTime"], report["status"]) == ("2024-01-05", "preliminary")
    assert report["conclusion"].startswith("Bone age 168.2 months (14 y 0 mo)")
    assert report["conclusion"].endswith("Research use; not a medical device.")


def test_no_name_and_no_birth_date_is_written():
    text = json.dumps(make_bundle())
    assert "ller" not in text and "2012" not in text


def test_without_a_dicom_source_nothing_is_invented_and_nothing_is_skipped():
    first, second = (make_bundle(facts=StudyFacts()) for _ in range(2))
    for resource in [entry["resource"] for entry in first["entry"]]:
        assert not {"subject", "basedOn", "imagingStudy", "effectiveDateTime"} & {*resource}
    assert not [entry for entry in first["entry"] if "ifNoneExist" in entry["request"]]
    assert first["entry"][0]["fullUrl"] != second["entry"][0]["fullUrl"]
    assert resources(first, "DiagnosticReport")[0]["code"]["coding"][0]["code"] == "24724-7"


def test_a_resend_is_not_created_again():
    bundle = make_bundle()
    assert bundle == make_bundle()
    for entry in bundle["entry"]:
        identifier = entry["resource"]["identifier"][0]
        wanted = f"identifier={identifier['system']}|{identifier['value']}"
        assert entry["request"]["ifNoneExist"] == wanted


def test_both_results_where_the_sex_is_not_known():
    observations = resources(make_bundle(BOTH), "Observation")
    names = [observation["code"]["text"] for observation in observations]
    assert names == [
        f"{what} if the child is {sex}"
        for sex in ("female", "male")
        for what in ("Bone age", "Bone age standard deviation score")
    ]
    assert [observation["valueQuantity"]["value"] for observation in observations[::2]] == [
        168.2,
        160.0,
    ]


def test_a_rejection_says_why_there_is_no_value():
    (observation,) = resources(make_bundle(REJECTED), "Observation")
    assert observation["status"] == "cancelled" and "valueQuantity" not in observation
    assert observation["dataAbsentReason"]["coding"][0]["code"] == "not-performed"
    assert REJECTION in observation["dataAbsentReason"]["text"]


@pytest.mark.parametrize("name", RESULTS)
@pytest.mark.parametrize("age", [None, 144, 230])
def test_every_result_is_valid(name, age):
    bundle = make_bundle(RESULTS[name], age=age)
    assert len(resources(bundle, "DiagnosticReport")) == 1
