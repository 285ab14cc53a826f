"""The page of a report as an Encapsulated PDF in DICOM. Needs pydicom (extra `dicom`)."""

import datetime
from typing import TYPE_CHECKING

from bone_age_tf import __version__
from bone_age_tf.clinical import codes, dicom_objects
from bone_age_tf.clinical.report import BoneAgeReport
from bone_age_tf.extras import named_extras

if TYPE_CHECKING:
    from pydicom import Dataset


def make_encapsulated_pdf(
    report: BoneAgeReport, pdf: bytes, source: "Dataset", written_at: datetime.datetime
) -> "Dataset":
    """Returns a PDF file as a DICOM object that refers to its radiograph.

    Args:
        report: the content, from which the UIDs derive.
        pdf: the PDF file.
        source: the radiograph, as `dicom_objects.read_source` returns it.
        written_at: date and time of the document.

    Raises:
        MissingExtraError: pydicom is not installed.
    """
    with named_extras("a PDF in DICOM"):
        from pydicom.dataset import FileMetaDataset
        from pydicom.uid import EncapsulatedPDFStorage, ExplicitVRLittleEndian
    document = dicom_objects.patient_and_study(source)
    uid = document.SOPInstanceUID
    document.SOPClassUID = EncapsulatedPDFStorage
    document.SOPInstanceUID = dicom_objects.result_uid(uid, "pdf", report)
    document.SeriesInstanceUID = dicom_objects.result_uid(uid, "pdf series", report)
    document.SeriesNumber, document.SeriesDescription = dicom_objects.SERIES["pdf"]
    document.Modality = "DOC"
    document.InstanceNumber = 1
    document.Manufacturer = dicom_objects.MANUFACTURER
    document.ManufacturerModelName = dicom_objects.device_model(report)
    document.SoftwareVersions = __version__
    document.ConversionType = "WSD"
    document.BurnedInAnnotation = "YES"
    document.AcquisitionDateTime = ""
    document.DocumentTitle = "Bone age report"
    document.ConceptNameCodeSequence = [dicom_objects.coded(codes.BONE_AGE)]
    document.SourceInstanceSequence = [dicom_objects.source_reference(source)]
    document.MIMETypeOfEncapsulatedDocument = "application/pdf"
    document.EncapsulatedDocument = pdf + bytes(len(pdf) % 2)
    document.EncapsulatedDocumentLength = len(pdf)
    dicom_objects.stamp(document, written_at)
    document.file_meta = FileMetaDataset()
    document.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return document
