"""Made-up radiographs and results for the tests of reports."""

import datetime
import shutil
import subprocess

import numpy as np
import pytest

from bone_age_tf.inference.predictor import Prediction
from bone_age_tf.inference.result import Result

pydicom = pytest.importorskip("pydicom")
pytest.importorskip("highdicom")

WHEN = datetime.datetime(2025, 1, 2, 3, 4, 5, tzinfo=datetime.timezone.utc)
MODEL = "efficientnet_lite0 version 2, float16"
REJECTION = "two hands: the radiograph must show the left hand alone"
PATIENT = {
    "PatientName": "Müller^Mia",
    "PatientID": "P-17",
    "IssuerOfPatientID": "Hospital A",
    "PatientBirthDate": "20120101",
    "PatientSex": "F",
    "StudyDate": "20240105",
    "StudyTime": "101500",
    "StudyID": "S1",
    "AccessionNumber": "A-9",
    "ImageLaterality": "L",
    "Modality": "CR",
    "Manufacturer": "Maker of detectors",
    "SpecificCharacterSet": "ISO_IR 100",
}

FEMALE = Prediction(168.23, (157.1, 178.2), None, 0.3)
MALE = Prediction(160.0, (150.0, 170.0))
RESULT = Result(
    "films/hand.dcm",
    "female",
    {"female": FEMALE},
    corrections=("rotated 180°",),
    quality_checked=True,
    model=MODEL,
)
BOTH = Result("hand.dcm", None, {"female": FEMALE, "male": MALE}, quality_checked=True, model=MODEL)
REJECTED = Result(
    "hand.dcm", "female", status="rejected", reasons=(REJECTION,), quality_checked=True, model=MODEL
)
FAILED = Result("hand.dcm", None, status="failed", reasons=("the image is damaged",))
RESULTS = {"one": RESULT, "both": BOTH, "rejected": REJECTED, "failed": FAILED}


def make_source(**values):
    """A made-up CR image without pixels; only its UIDs, unless values are given."""
    source = pydicom.Dataset()
    source.SOPClassUID = "1.2.840.10008.5.1.4.1.1.1"
    source.StudyInstanceUID, source.SeriesInstanceUID = "1.2.3", "1.2.3.4"
    source.SOPInstanceUID = "1.2.3.4.5"
    for keyword, value in values.items():
        setattr(source, keyword, value)
    return source


def make_picture(height=33, width=35):
    """A picture with an odd number of bytes by default."""
    return np.arange(height * width * 3, dtype=np.uint32).astype(np.uint8).reshape(height, width, 3)


def dicom_errors(path):
    """What dciodvfy finds wrong with a DICOM file."""
    if shutil.which("dciodvfy") is None:
        pytest.skip("dciodvfy (Debian's dicom3tools) is not installed")
    done = subprocess.run(["dciodvfy", str(path)], capture_output=True, text=True)
    lines = (done.stderr + done.stdout).splitlines()
    assert any(line in ("ComprehensiveSR", "SCImage", "EncapsulatedPDF") for line in lines), lines
    return [line for line in lines if line.startswith("Error")]
