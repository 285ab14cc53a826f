"""What the DICOM objects of a report have in common: identity, patient, equipment, recognition.

Nothing about the patient is invented: an attribute that the source lacks stays empty, or is left
out where the standard allows it. Needs pydicom (extra `dicom`).
"""

import copy
import datetime
import io
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from bone_age_tf.clinical.codes import Code
from bone_age_tf.clinical.report import SOFTWARE, BoneAgeReport, StudyFacts
from bone_age_tf.errors import InputError
from bone_age_tf.extras import named_extras
from bone_age_tf.images import dicom
from bone_age_tf.images.dicom_facts import read_side
from bone_age_tf.images.dicom_tags import Tags

if TYPE_CHECKING:
    from highdicom.sr import CodedConcept
    from pydicom import Dataset

MANUFACTURER: Final = SOFTWARE
"""Manufacturer (0008,0070) of every object that this package writes."""
UTF_8: Final = "ISO_IR 192"
"""Character set of the objects: the source's may lack the degree sign of a correction."""
SERIES: Final = {
    "sr": (9401, "Bone age report (SR)"),
    "sc": (9402, "Bone age picture (SC)"),
    "pdf": (9403, "Bone age report (PDF)"),
}
"""Series Number and Series Description by kind of report. An SR, a picture and a document have
different modalities, and a series has one."""

_NAMESPACE: Final = uuid.UUID("4851b523-e1a1-4a5b-a70e-075954205161")
"""Namespace of the UIDs that are derived here; drawn at random once."""
_IDENTIFIERS: Final = ("SOPInstanceUID", "SOPClassUID", "StudyInstanceUID", "SeriesInstanceUID")
_MUST_BE_PRESENT: Final = (
    "PatientID",
    "PatientName",
    "PatientBirthDate",
    "PatientSex",
    "AccessionNumber",
    "StudyID",
    "StudyDate",
    "StudyTime",
    "ReferringPhysicianName",
)
"""Attributes that each object has, empty where the source has none (type 2)."""
_WHERE_KNOWN: Final = (
    "IssuerOfPatientID",
    "PatientAge",
    "StudyDescription",
)
"""Attributes of patient and study that are copied where the source has them."""
_DEIDENTIFICATION: Final = (
    "PatientIdentityRemoved",
    "DeidentificationMethod",
    "DeidentificationMethodCodeSequence",
)
"""Attributes that are copied as they are: that the source was made anonymous, and how. The first is
not valid without one of the others."""
_DATES: Final = ("PatientBirthDate", "StudyDate")
_TIMES: Final = ("StudyTime",)
_SEXES: Final = ("F", "M", "O")


def read_source(source: "Dataset | str | Path | bytes") -> "Dataset":
    """Returns the source of a report without its pixels.

    Args:
        source: a DICOM object, a file, or the bytes of a file.

    Raises:
        InputError: the file is not DICOM, or a UID is missing without which no object can refer to
            its source.
        MissingExtraError: pydicom is not installed.
        OSError: the file cannot be read.
    """
    with named_extras("a report in DICOM"):
        from pydicom import Dataset, dcmread
    file: str | Path | io.BytesIO
    if isinstance(source, Dataset):
        dataset, name = source, "the source"
    else:
        # Files of old devices lack the header; the reader of radiographs reads them too.
        if isinstance(source, bytes):
            name, file, is_old = "the source", io.BytesIO(source), True
        else:
            name, file = str(source), source
            is_old = Path(source).suffix.lower() in dicom.SUFFIXES
        try:
            dataset = dcmread(file, stop_before_pixels=True, force=is_old)
        except OSError:
            raise
        except Exception:  # of any class, for a malformed file
            raise InputError(f"{name}: not a DICOM file, so no object can refer to it") from None
    missing = [keyword for keyword in _IDENTIFIERS if not dataset.get(keyword)]
    if missing:
        raise InputError(f"{name}: {', '.join(missing)} is missing; results cannot refer to it")
    return dataset


def result_uuid(source_uid: str, kind: str, report: BoneAgeReport) -> uuid.UUID:
    """Returns the identity of an object, which is the same whenever the same result is written.

    It derives from the source, the kind of object, the model and its version, and what the report
    says. A resend is therefore the same object, whereas a corrected sex or a new site calibration,
    which change the answer, give a new one: archives drop a changed object with a known UID.

    Args:
        source_uid: SOP Instance UID of the radiograph.
        kind: what the identity is for, such as "sr" or "sr series".
        report: the content.
    """
    parts = (source_uid.strip(), kind, report.model_name, report.model_version, report.fingerprint)
    return uuid.uuid5(_NAMESPACE, chr(0).join(parts))


def result_uid(source_uid: str, kind: str, report: BoneAgeReport) -> str:
    """Returns the identity of `result_uuid` as a DICOM UID below 2.25 (PS3.5, B.2)."""
    return f"2.25.{result_uuid(source_uid, kind, report).int}"


def device_uid(report: BoneAgeReport) -> str:
    """Returns the UID of the software with this model, as the observer of its results."""
    parts = (MANUFACTURER, report.model_name, report.model_version)
    return f"2.25.{uuid.uuid5(_NAMESPACE, chr(0).join(parts)).int}"


def is_own_result(dataset: "Dataset") -> bool:
    """Returns whether this package wrote a DICOM object.

    A node that reads what arrives must skip such objects, or it would read its own results.
    """
    return str(dataset.get("Manufacturer") or "").strip().lower() == MANUFACTURER


def stated_side(source: "Dataset") -> str | None:
    """Returns the side that the source states: left, right, or None; see `read_side`."""
    return read_side(Tags(source))[0]


def side_of(report: BoneAgeReport, source: "Dataset") -> str | None:
    """Returns the side of a result, or else that of its source: left, right, or None."""
    return report.result.side or stated_side(source)


def study_facts(source: "Dataset") -> StudyFacts:
    """Returns what the source states about patient and study."""
    context = patient_and_study(source)
    return StudyFacts(
        study_uid=context.StudyInstanceUID,
        series_uid=context.SeriesInstanceUID,
        instance_uid=context.SOPInstanceUID,
        patient_id=context.PatientID,
        patient_id_issuer=context.get("IssuerOfPatientID", ""),
        accession_number=context.AccessionNumber,
        study_date=str(context.StudyDate),
        side=stated_side(source),
    )


def patient_and_study(source: "Dataset") -> "Dataset":
    """Returns what an object takes over from its source: identifiers, patient and study.

    Values that are not valid, such as a date 00000000, are left empty.
    """
    from pydicom import Dataset

    context = Dataset()
    context.SpecificCharacterSet = UTF_8
    for keyword in _IDENTIFIERS:
        setattr(context, keyword, str(source.get(keyword)).strip())
    for keyword in _MUST_BE_PRESENT:
        setattr(context, keyword, _valid(keyword, source.get(keyword)))
    for keyword in _WHERE_KNOWN:
        value = _valid(keyword, source.get(keyword))
        if value:
            setattr(context, keyword, value)
    states_method = any(source.get(keyword) for keyword in _DEIDENTIFICATION[1:])
    for keyword in _DEIDENTIFICATION:
        if keyword in source and states_method:
            setattr(context, keyword, copy.deepcopy(source[keyword].value))
    return context


def source_reference(source: "Dataset") -> "Dataset":
    """Returns an item of a sequence that refers to the source."""
    from pydicom import Dataset

    item = Dataset()
    item.ReferencedSOPClassUID = str(source.SOPClassUID).strip()
    item.ReferencedSOPInstanceUID = str(source.SOPInstanceUID).strip()
    return item


def coded(code: Code) -> "CodedConcept":
    """Returns a code as highdicom takes it."""
    from highdicom.sr import CodedConcept

    return CodedConcept(code.value, code.scheme, code.meaning)


def device_model(report: BoneAgeReport) -> str:
    """Returns Manufacturer's Model Name, which has at most 64 characters."""
    return f"{report.model_name} {report.model_version}"[:64]


def stamp(dataset: "Dataset", written_at: datetime.datetime) -> None:
    """Sets the dates and times of an object's creation, which libraries take from the clock."""
    date, time = written_at.strftime("%Y%m%d"), written_at.strftime("%H%M%S")
    for event in ("InstanceCreation{}", "Content{}", "{}OfSecondaryCapture"):
        keyword = event.format("Date")
        if keyword in dataset or "Capture" not in keyword:
            setattr(dataset, keyword, date)
            setattr(dataset, event.format("Time"), time)
    for item in dataset.get("ContributingEquipmentSequence") or ():
        item.ContributionDateTime = date + time  # highdicom names itself


def to_bytes(dataset: "Dataset") -> bytes:
    """Returns the bytes of a DICOM file."""
    from pydicom import dcmwrite

    buffer = io.BytesIO()
    dcmwrite(buffer, dataset, enforce_file_format=True)
    return buffer.getvalue()


def _valid(keyword: str, value: Any) -> str:
    """Returns a value as a text; empty if it is missing or not valid for the attribute."""
    from pydicom.multival import MultiValue
    from pydicom.valuerep import DA, TM

    if isinstance(value, MultiValue):
        value = value[0] if value else None
    text = "" if value is None else str(value).strip()
    if keyword == "PatientSex":
        return text.upper() if text.upper() in _SEXES else ""
    parser = DA if keyword in _DATES else TM if keyword in _TIMES else None
    if parser is not None and text:
        text = text.replace("." if parser is DA else ":", "")  # as before DICOM 3.0
        try:
            parser(text)
        except ValueError:
            return ""
    return text
