"""The result as FHIR R4: a DiagnosticReport with its Observations, in a transaction Bundle.

Only elements are used that R4 (4.0.1) and R4B (4.3.0) have in common. Tests validate the Bundle
with the R4B module of the package fhir.resources 8, which has no module for R4. Patient, request
and study are logical references by their identifiers; nothing about the patient is invented. A
server that knows a resource's identifier does not create it again (`ifNoneExist`).

Standard library only.
"""

import datetime
import html
import uuid
from typing import Any, Final

from bone_age_tf.clinical import codes, dicom_objects
from bone_age_tf.clinical.codes import Code
from bone_age_tf.clinical.growth_chart import DISCLAIMER
from bone_age_tf.clinical.report import BoneAgeReport, StudyFacts, software_text
from bone_age_tf.clinical.standard_deviation import (
    ADVANCED,
    DELAYED,
    NORMAL,
    NORMAL_SDS,
    StandardDeviationScore,
)

Json = dict[str, Any]

_TERMINOLOGY: Final = "http://terminology.hl7.org/CodeSystem"
_INTERPRETATIONS: Final = {DELAYED: ("L", "Low"), NORMAL: ("N", "Normal"), ADVANCED: ("H", "High")}
"""Codes of HL7's ObservationInterpretation by the assessment of a score."""
_SD_UNIT: Final = "{SD}"
"""UCUM annotation: a score has no dimension."""


def make_fhir_bundle(
    report: BoneAgeReport, facts: StudyFacts, written_at: datetime.datetime
) -> Json:
    """Returns a Bundle with the DiagnosticReport first and its Observations after it.

    The status is preliminary, since no person has seen the result. For a radiograph without a bone
    age the Observation is cancelled, and says why.

    Args:
        report: the content.
        facts: what the source states.
        written_at: date and time of the report, with its time zone.
    """
    writer = _Writer(report, facts, written_at)
    observations: list[tuple[str, Json]] = []
    for sex in report.result.by_sex:
        url, bone_age = writer.bone_age(sex)
        observations.append((url, bone_age))
        score = report.scores.get(sex)
        if score is not None and score.sds is not None and score.assessment is not None:
            observations.append(writer.score(sex, score, url))
    if not observations:
        observations = [writer.absent_bone_age()]
    entries = [writer.diagnostic_report([url for url, _ in observations]), *observations]
    return {
        "resourceType": "Bundle",
        "type": "transaction",
        "entry": [writer.entry(url, resource) for url, resource in entries],
    }


class _Writer:
    """Writes the resources of one report, which share subject, study, date and status."""

    def __init__(self, report: BoneAgeReport, facts: StudyFacts, written_at: datetime.datetime):
        self._report, self._facts = report, facts
        self._issued = written_at.isoformat(timespec="seconds")

    def entry(self, url: str, resource: Json) -> Json:
        """Returns the entry of a resource that a server creates unless it has it."""
        request = {"method": "POST", "url": resource["resourceType"]}
        if self._facts.instance_uid:  # otherwise the identifier is random
            request["ifNoneExist"] = f"identifier=urn:ietf:rfc:3986|{url}"
        return {"fullUrl": url, "resource": resource, "request": request}

    def diagnostic_report(self, observation_urls: list[str]) -> tuple[str, Json]:
        """Returns the URL and the DiagnosticReport, which refers to its Observations."""
        report = self._report
        url = self._url("fhir report")
        sentences = [*report.conclusions, *report.quality_notes, *report.limits, f"{DISCLAIMER}."]
        paragraphs = "".join(f"<p>{html.escape(sentence)}</p>" for sentence in sentences)
        study = self._study_reference()
        return url, {
            "resourceType": "DiagnosticReport",
            "text": {
                "status": "generated",
                "div": f'<div xmlns="http://www.w3.org/1999/xhtml">{paragraphs}</div>',
            },
            **self._shared(url, "preliminary"),
            "category": [_concept(("v2-0074", "RAD", "Radiology"))],
            "code": _coded(codes.procedure_of(self._facts.side)),
            **({"imagingStudy": [study]} if study else {}),
            "result": [{"reference": observation} for observation in observation_urls],
            "conclusion": " ".join(sentences),
        }

    def bone_age(self, sex: str) -> tuple[str, Json]:
        """Returns the URL and the Observation of the bone age for one sex."""
        report = self._report
        prediction, score = report.result.by_sex[sex], report.scores.get(sex)
        components = [
            {
                "code": _coded(codes.SUBJECT_SEX, "Sex for which the bone age holds"),
                "valueCodeableConcept": {
                    "coding": [{"system": "http://hl7.org/fhir/administrative-gender", "code": sex}]
                },
            }
        ]
        if prediction.interval_90_months is not None:
            lower, upper = map(_months, prediction.interval_90_months)
            components.append(
                {"code": {"text": "90 % interval"}, "valueRange": {"low": lower, "high": upper}}
            )
        age = report.chronological_age_months
        if age is not None:
            name = _coded(codes.SUBJECT_AGE, "Chronological age")
            components.append({"code": name, "valueQuantity": _months(age)})
        url, observation = self._observation(f"fhir bone age {sex}", "preliminary")
        observation["code"] = _coded(codes.BONE_AGE, self._name("Bone age", sex))
        observation["valueQuantity"] = _months(prediction.age_months)
        observation["component"] = components
        normal_range = report.normal_range_months(sex)
        if score is not None and normal_range is not None:
            low, high = map(_months, normal_range)
            text = f"chronological age ± {NORMAL_SDS:g} SD, {score.reference_name}"
            observation["referenceRange"] = [{"low": low, "high": high, "text": text}]
        return url, observation

    def score(self, sex: str, score: StandardDeviationScore, bone_age: str) -> tuple[str, Json]:
        """Returns the URL and the Observation of a standard deviation score.

        Args:
            sex: the sex.
            score: a score that has a value.
            bone_age: URL of the Observation of the bone age.
        """
        url, observation = self._observation(f"fhir score {sex}", "preliminary")
        observation["code"] = _coded(
            codes.Z_SCORE, self._name("Bone age standard deviation score", sex)
        )
        observation["valueQuantity"] = _deviations(score.sds or 0.0, 2)
        assessment = score.assessment or NORMAL
        code, display = _INTERPRETATIONS[assessment]
        interpretation = _concept(("v3-ObservationInterpretation", code, display))
        observation["interpretation"] = [{**interpretation, "text": assessment}]
        text = f"{score.reference_name}; SD {score.sd_months:.1f} months"
        ends = {"low": _deviations(-NORMAL_SDS, 1), "high": _deviations(NORMAL_SDS, 1)}
        observation["referenceRange"] = [{**ends, "text": text}]
        observation["derivedFrom"] = [{"reference": bone_age}]
        return url, observation

    def absent_bone_age(self) -> tuple[str, Json]:
        """Returns the URL and the Observation that says why there is no bone age."""
        url, observation = self._observation("fhir bone age", "cancelled")
        observation["code"] = _coded(codes.BONE_AGE, "Bone age")
        observation["dataAbsentReason"] = {
            **_concept(("data-absent-reason", "not-performed", "Not Performed")),
            "text": " ".join(self._report.conclusions),
        }
        return url, observation

    def _observation(self, kind: str, status: str) -> tuple[str, Json]:
        report, side = self._report, self._facts.side
        url = self._url(kind)
        hand = _coded(codes.HAND, f"{side} hand" if side else "hand")
        study = self._study_reference()
        model = report.result.model or "model not stated"
        notes = [*report.quality_notes, *report.limits, f"{DISCLAIMER}."]
        return url, {
            "resourceType": "Observation",
            **self._shared(url, status),
            "category": [_concept(("observation-category", "imaging", "Imaging"))],
            "bodySite": hand,
            "method": {"text": "prediction by a neural network"},
            "device": {"type": "Device", "display": f"{software_text()}, {model}"},
            "note": [{"text": note} for note in notes],
            **({"derivedFrom": [study]} if study else {}),
        }

    def _shared(self, url: str, status: str) -> Json:
        facts = self._facts
        content: Json = {
            "identifier": [{"system": "urn:ietf:rfc:3986", "value": url}],
            "status": status,
            "issued": self._issued,
        }
        if facts.study_day:
            content["effectiveDateTime"] = facts.study_day
        if facts.patient_id:
            identifier: Json = {**_identifier_type("MR"), "value": facts.patient_id}
            if facts.patient_id_issuer:
                identifier["assigner"] = {"display": facts.patient_id_issuer}
            content["subject"] = {"type": "Patient", "identifier": identifier}
        if facts.accession_number:
            identifier = {**_identifier_type("ACSN"), "value": facts.accession_number}
            content["basedOn"] = [{"type": "ServiceRequest", "identifier": identifier}]
        return content

    def _study_reference(self) -> Json | None:
        if not self._facts.study_uid:
            return None
        uid = {"system": "urn:dicom:uid", "value": f"urn:oid:{self._facts.study_uid}"}
        return {
            "type": "ImagingStudy",
            "identifier": uid,
            "display": f"radiograph {self._facts.instance_uid}",
        }

    def _name(self, what: str, sex: str) -> str:
        return what if self._report.result.sex else f"{what} if the child is {sex}"

    def _url(self, kind: str) -> str:
        """Returns the resource's URL; random if the radiograph has no UID to derive it from."""
        uid = self._facts.instance_uid
        identity = dicom_objects.result_uuid(uid, kind, self._report) if uid else uuid.uuid4()
        return identity.urn


def _coded(code: Code, text: str = "") -> Json:
    system = codes.FHIR_SYSTEMS[code.scheme]
    coding = {"system": system, "code": code.value, "display": code.meaning}
    return {"coding": [coding], "text": text or code.meaning}


def _concept(term: tuple[str, str, str]) -> Json:
    """Returns a term of HL7's own terminology: name of its code system, code, display."""
    system, code, display = term
    return {"coding": [{"system": f"{_TERMINOLOGY}/{system}", "code": code, "display": display}]}


def _identifier_type(code: str) -> Json:
    return {"type": {"coding": [{"system": f"{_TERMINOLOGY}/v2-0203", "code": code}]}}


def _months(value: float) -> Json:
    return {
        "value": round(value, 1),
        "unit": "months",
        "system": codes.FHIR_SYSTEMS[codes.UCUM],
        "code": codes.MONTH.value,
    }


def _deviations(value: float, decimals: int) -> Json:
    return {
        "value": round(value, decimals),
        "unit": "SD",
        "system": codes.FHIR_SYSTEMS[codes.UCUM],
        "code": _SD_UNIT,
    }
