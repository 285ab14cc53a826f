"""The result as a DICOM Structured Report: TID 1500 (Measurement Report) in a Comprehensive SR.

Each predicted sex has a measurement group (TID 1501) with the bone age, its 90 % interval as
measurement uncertainty (TID 310), the chronological age and the standard deviation score with its
reference (TID 312). What the quality check found, the limits and 'Research use' are texts. A
radiograph without a bone age gives a report whose finding is a quality issue, with its reasons.

Needs highdicom and pydicom (extra `dicom`).
"""

import datetime
from typing import TYPE_CHECKING, Any

from bone_age_tf import __version__
from bone_age_tf.clinical import codes, dicom_objects
from bone_age_tf.clinical.codes import Code
from bone_age_tf.clinical.dicom_objects import coded
from bone_age_tf.clinical.growth_chart import DISCLAIMER
from bone_age_tf.clinical.report import BoneAgeReport, software_text
from bone_age_tf.clinical.standard_deviation import NORMAL_SDS, StandardDeviationScore
from bone_age_tf.extras import named_extras

if TYPE_CHECKING:
    from highdicom.sr import (
        AlgorithmIdentification,
        ComprehensiveSR,
        FindingSite,
        Measurement,
        MeasurementReport,
        MeasurementsAndQualitativeEvaluations,
        NumContentItem,
        ObservationContext,
        TextContentItem,
    )
    from pydicom import Dataset

_SEX_CODES = {"female": codes.FEMALE, "male": codes.MALE}
_SIDE_CODES = {"left": codes.LEFT, "right": codes.RIGHT}


def make_structured_report(
    report: BoneAgeReport, source: "Dataset", written_at: datetime.datetime
) -> "ComprehensiveSR":
    """Returns the result as a Comprehensive SR that refers to its radiograph.

    The document is complete, preliminary and not verified, since no person has seen it.

    Args:
        report: the content.
        source: the radiograph, as `dicom_objects.read_source` returns it.
        written_at: date and time of the document.

    Raises:
        MissingExtraError: highdicom is not installed.
    """
    with named_extras("a structured report"):
        from highdicom.sr import ComprehensiveSR
    context = dicom_objects.patient_and_study(source)
    uid = context.SOPInstanceUID
    number, description = dicom_objects.SERIES["sr"]
    document = ComprehensiveSR(
        evidence=[context],
        content=_content(report, source)[0],
        series_instance_uid=dicom_objects.result_uid(uid, "sr series", report),
        series_number=number,
        series_description=description,
        sop_instance_uid=dicom_objects.result_uid(uid, "sr", report),
        instance_number=1,
        manufacturer=dicom_objects.MANUFACTURER,
        is_complete=True,
        is_final=False,
        specific_character_set=dicom_objects.UTF_8,
        manufacturer_model_name=dicom_objects.device_model(report),
        software_versions=__version__,
    )
    dicom_objects.stamp(document, written_at)
    return document


def _content(report: BoneAgeReport, source: "Dataset") -> "MeasurementReport":
    from highdicom.sr import (
        ContainerContentItem,
        ContentSequence,
        MeasurementReport,
        RelationshipTypeValues,
    )

    sexes = [*report.result.by_sex]
    groups = [_group(report, source, sex) for sex in sexes] or [_group(report, source, None)]
    content = MeasurementReport(
        observation_context=_observation_context(report),
        procedure_reported=coded(codes.procedure_of(dicom_objects.side_of(report, source))),
        imaging_measurements=groups,
    )
    notes = ContainerContentItem(
        coded(codes.QUALITATIVE_EVALUATIONS), relationship_type=RelationshipTypeValues.CONTAINS
    )
    texts = [_text(codes.CONCLUSION, sentence) for sentence in report.conclusions]
    comments = (*report.quality_notes, *report.limits, f"{DISCLAIMER}.")
    notes.ContentSequence = ContentSequence(
        [*texts, *(_text(codes.COMMENT, comment) for comment in comments)]
    )
    content[0].ContentSequence.append(notes)
    return content


def _observation_context(report: BoneAgeReport) -> "ObservationContext":
    from highdicom.sr import (
        DeviceObserverIdentifyingAttributes,
        ObservationContext,
        ObserverContext,
    )
    from pydicom.sr.codedict import codes as dicom_codes

    device = DeviceObserverIdentifyingAttributes(
        uid=dicom_objects.device_uid(report),
        name=software_text(),
        manufacturer_name=dicom_objects.MANUFACTURER,
        model_name=dicom_objects.device_model(report),
    )
    return ObservationContext(
        observer_device_context=ObserverContext(dicom_codes.DCM.Device, device)
    )


def _group(
    report: BoneAgeReport, source: "Dataset", sex: str | None
) -> "MeasurementsAndQualitativeEvaluations":
    """Returns the measurements for one sex; without a sex, a quality issue with its reasons."""
    from highdicom.sr import (
        MeasurementsAndQualitativeEvaluations,
        QualitativeEvaluation,
        SourceImageForMeasurementGroup,
        TrackingIdentifier,
    )

    uid = str(source.SOPInstanceUID).strip()
    label = "Bone age" if sex is None or report.result.sex else f"Bone age if {sex}"
    arguments: dict[str, Any] = {
        "tracking_identifier": TrackingIdentifier(
            dicom_objects.result_uid(uid, f"sr group {sex}", report), label
        ),
        "finding_sites": [_finding_site(dicom_objects.side_of(report, source))],
        "source_images": [SourceImageForMeasurementGroup(str(source.SOPClassUID).strip(), uid)],
    }
    if sex is None:
        arguments["finding_type"] = coded(codes.QUALITY_ISSUE)
        arguments["algorithm_id"] = _algorithm(report)
        group = MeasurementsAndQualitativeEvaluations(**arguments)
        comments = [_text(codes.COMMENT, sentence) for sentence in report.conclusions]
        group[0].ContentSequence.extend(comments)
        return group
    evaluation = QualitativeEvaluation(coded(codes.SUBJECT_SEX), coded(_SEX_CODES[sex]))
    return MeasurementsAndQualitativeEvaluations(
        measurements=_measurements(report, sex), qualitative_evaluations=[evaluation], **arguments
    )


def _measurements(report: BoneAgeReport, sex: str) -> list["Measurement"]:
    """Returns bone age, chronological age and standard deviation score, as far as known."""
    from highdicom.sr import Measurement

    prediction, score = report.result.by_sex[sex], report.scores.get(sex)
    properties = _uncertainty(prediction.age_months, prediction.interval_90_months)
    normal_range = report.normal_range_months(sex)
    if score is not None and normal_range is not None:
        properties += _normal_range(*normal_range, codes.MONTH, "Chronological age ± 2 SD", score)
    bone_age = Measurement(
        coded(codes.BONE_AGE),
        round(prediction.age_months, 1),
        coded(codes.MONTH),
        algorithm_id=_algorithm(report),
        properties=_properties(properties),
    )
    measurements = [bone_age]
    age = report.chronological_age_months
    if age is not None:
        measurements.append(
            Measurement(coded(codes.SUBJECT_AGE), round(age, 1), coded(codes.MONTH))
        )
    if score is not None and score.sds is not None and score.assessment is not None:
        ends = (-NORMAL_SDS, NORMAL_SDS, codes.NO_UNITS)
        text = f"{score.assessment}; SD of bone age {score.sd_months:.1f} months"
        measurements.append(
            Measurement(
                coded(codes.Z_SCORE),
                round(score.sds, 2),
                coded(codes.NO_UNITS),
                properties=_properties(
                    _normal_range(*ends, text, score), codes.NORMALITY[score.assessment]
                ),
            )
        )
    return measurements


def _properties(items: list[Any], normality: Code | None = None) -> Any:
    from highdicom.sr import MeasurementProperties

    properties = MeasurementProperties(normality=None if normality is None else coded(normality))
    properties.extend(items)
    return properties if len(properties) else None


def _uncertainty(
    age_months: float, interval_months: tuple[float, float] | None
) -> list["NumContentItem"]:
    """Returns the distances of the interval's ends from the bone age, in months.

    highdicom's own arguments for them would write them without a unit. A distance is negative for a
    calibrated interval that does not hold the bone age. The conclusion has the ends themselves.
    """
    if interval_months is None:
        return []
    lower, upper = interval_months
    return [
        _number(codes.UNCERTAINTY_UPPER, upper - age_months, codes.MONTH),
        _number(codes.UNCERTAINTY_LOWER, age_months - lower, codes.MONTH),
    ]


def _normal_range(
    lower: float, upper: float, unit: Code, description: str, score: StandardDeviationScore
) -> list[Any]:
    from highdicom.sr import NormalRangeProperties

    values = [_number(codes.NORMAL_LOWER, lower, unit), _number(codes.NORMAL_UPPER, upper, unit)]
    return [*NormalRangeProperties(values, description, score.reference_name)]


def _number(name: Code, value: float, unit: Code) -> "NumContentItem":
    from highdicom.sr import NumContentItem, RelationshipTypeValues

    return NumContentItem(
        coded(name),
        round(value, 1),
        coded(unit),
        relationship_type=RelationshipTypeValues.HAS_PROPERTIES,
    )


def _text(name: Code, text: str) -> "TextContentItem":
    from highdicom.sr import RelationshipTypeValues, TextContentItem

    return TextContentItem(coded(name), text, relationship_type=RelationshipTypeValues.CONTAINS)


def _algorithm(report: BoneAgeReport) -> "AlgorithmIdentification":
    from highdicom.sr import AlgorithmIdentification

    return AlgorithmIdentification(
        report.model_name, report.model_version, manufacturer=dicom_objects.MANUFACTURER
    )


def _finding_site(side: str | None) -> "FindingSite":
    from highdicom.sr import FindingSite

    laterality = None if side is None else coded(_SIDE_CODES[side])
    return FindingSite(coded(codes.HAND), laterality)
