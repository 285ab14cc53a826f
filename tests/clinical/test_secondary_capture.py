"""A picture as a DICOM Secondary Capture."""

import io

import numpy as np
import pytest
from report_cases import PATIENT, RESULT, WHEN, make_picture, make_source, pydicom

from bone_age_tf.clinical import dicom_objects
from bone_age_tf.clinical.report import make_report
from bone_age_tf.clinical.secondary_capture import make_secondary_capture
from bone_age_tf.errors import InputError


def capture(picture, source):
    made = make_secondary_capture(make_report(RESULT), picture, source, WHEN)
    return pydicom.dcmread(io.BytesIO(dicom_objects.to_bytes(made)))


@pytest.mark.parametrize("shape", [(33, 35), (1, 1), (480, 640)])
def test_the_pixels_are_those_of_the_picture(shape):
    picture = make_picture(*shape)
    dataset = capture(picture, make_source(**PATIENT))
    np.testing.assert_array_equal(dataset.pixel_array, picture)
    assert dataset.PhotometricInterpretation == "RGB"


def test_it_is_derived_annotated_and_refers_to_its_source():
    dataset = capture(make_picture(), make_source(**PATIENT))
    assert dataset.SOPClassUID == "1.2.840.10008.5.1.4.1.1.7"
    assert list(dataset.ImageType[:2]) == ["DERIVED", "SECONDARY"]
    assert dataset.BurnedInAnnotation == "YES"
    assert dataset.SourceImageSequence[0].ReferencedSOPInstanceUID == "1.2.3.4.5"
    assert dataset.DerivationDescription.endswith("Research use; not a medical device.")
    assert (str(dataset.PatientName), dataset.Laterality) == ("Müller^Mia", "L")
    assert (dataset.IssuerOfPatientID, dataset.DateOfSecondaryCapture) == ("Hospital A", "20250102")
    assert "PixelSpacing" not in dataset and not dataset.PatientOrientation
    assert "LossyImageCompression" not in dataset


def test_a_lossy_source_makes_a_lossy_picture():
    lossy = {"LossyImageCompression": "01", "LossyImageCompressionRatio": "8.5"}
    dataset = capture(make_picture(), make_source(**lossy))
    assert dataset.LossyImageCompression == "01"
    assert float(dataset.LossyImageCompressionRatio) == 8.5


@pytest.mark.parametrize(
    "picture", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3)), np.zeros((0, 4, 3), np.uint8)]
)
def test_another_picture_is_rejected(picture):
    with pytest.raises(InputError, match=r"the picture is .*give uint8 \[H, W, 3\]"):
        capture(picture, make_source())
