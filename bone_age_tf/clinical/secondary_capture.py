"""The picture of a result as a DICOM Secondary Capture, for viewers that show no SR.

Needs highdicom and pydicom (extra `dicom`).
"""

import datetime
from typing import TYPE_CHECKING

import numpy as np

from bone_age_tf import __version__
from bone_age_tf.clinical import codes, dicom_objects
from bone_age_tf.clinical.growth_chart import DISCLAIMER
from bone_age_tf.clinical.report import BoneAgeReport, software_text
from bone_age_tf.errors import InputError
from bone_age_tf.extras import named_extras

if TYPE_CHECKING:
    from highdicom.sc import SCImage
    from pydicom import Dataset

_LOSSY = (
    "LossyImageCompression",
    "LossyImageCompressionRatio",
    "LossyImageCompressionMethod",
)
"""Attributes that stay with every picture made of a radiograph that was compressed with loss."""


def require_picture(picture: np.ndarray) -> np.ndarray:
    """Returns a picture, contiguous in memory.

    Raises:
        InputError: the picture is not [H, W, 3] uint8 with at least one pixel.
    """
    picture = np.asarray(picture)
    if picture.ndim != 3 or picture.shape[2] != 3 or picture.dtype != np.uint8 or not picture.size:
        raise InputError(
            f"the picture is {picture.dtype} of shape {picture.shape}; give uint8 [H, W, 3]"
        )
    if max(picture.shape) > np.iinfo(np.uint16).max:
        raise InputError(f"the picture of shape {picture.shape} is too large for DICOM")
    return np.ascontiguousarray(picture)


def make_secondary_capture(
    report: BoneAgeReport, picture: np.ndarray, source: "Dataset", written_at: datetime.datetime
) -> "SCImage":
    """Returns a picture as a Secondary Capture that refers to its radiograph.

    The picture is marked as derived, with annotations burned in. It states neither a spacing nor an
    orientation, so that nobody measures in it.

    Args:
        report: the content, from which the UIDs derive.
        picture: [H, W, 3] uint8, red, green, blue.
        source: the radiograph, as `dicom_objects.read_source` returns it.
        written_at: date and time of the picture.

    Raises:
        InputError: the picture has another shape or type.
        MissingExtraError: highdicom is not installed.
    """
    picture = require_picture(picture)
    with named_extras("a secondary capture"):
        from highdicom.sc import SCImage
        from pydicom.uid import ExplicitVRLittleEndian
    context = dicom_objects.patient_and_study(source)
    uid = context.SOPInstanceUID
    number, description = dicom_objects.SERIES["sc"]
    capture = SCImage.from_ref_dataset(
        context,
        picture,
        photometric_interpretation="RGB",
        bits_allocated=8,
        coordinate_system="PATIENT",
        patient_orientation=("L", "F"),  # required by highdicom; emptied below
        series_instance_uid=dicom_objects.result_uid(uid, "sc series", report),
        series_number=number,
        series_description=description,
        sop_instance_uid=dicom_objects.result_uid(uid, "sc", report),
        instance_number=1,
        manufacturer=dicom_objects.MANUFACTURER,
        transfer_syntax_uid=ExplicitVRLittleEndian,
        specific_character_set=dicom_objects.UTF_8,
        manufacturer_model_name=dicom_objects.device_model(report),
        software_versions=__version__,
    )
    capture.add_new("PatientOrientation", "CS", None)
    capture.Laterality = {"left": "L", "right": "R"}.get(
        dicom_objects.side_of(report, source) or "", ""
    )
    capture.BurnedInAnnotation = "YES"
    capture.DerivationDescription = f"{software_text()}. {DISCLAIMER}."
    capture.SourceImageSequence = [dicom_objects.source_reference(source)]
    capture.SourceImageSequence[0].PurposeOfReferenceCodeSequence = [
        dicom_objects.coded(codes.SOURCE_IMAGE)
    ]
    for keyword in _LOSSY:
        if str(source.get("LossyImageCompression") or "") == "01" and keyword in source:
            setattr(capture, keyword, source[keyword].value)
    _copy_patient_study(context, capture)
    dicom_objects.stamp(capture, written_at)
    return capture


def _copy_patient_study(context: "Dataset", capture: "SCImage") -> None:
    """Adds what highdicom does not take over for pictures."""
    for element in context:
        if element.tag not in capture:
            capture.add(element)
