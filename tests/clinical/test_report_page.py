"""The page of a report: what it says, as PDF, picture and Encapsulated PDF."""

import dataclasses
import io
import sys

import numpy as np
import pytest
from report_cases import (
    BOTH,
    MODEL,
    PATIENT,
    REJECTED,
    RESULT,
    WHEN,
    dicom_errors,
    make_picture,
    make_source,
    pydicom,
)

from bone_age_tf import __version__
from bone_age_tf.clinical import dicom_objects
from bone_age_tf.clinical.encapsulated_pdf import make_encapsulated_pdf
from bone_age_tf.clinical.report import StudyFacts, make_report
from bone_age_tf.clinical.report_page import draw_page, page_as_pdf, page_as_picture
from bone_age_tf.errors import InputError, MissingExtraError
from bone_age_tf.evaluation.region_norms import RegionAge
from bone_age_tf.inference.predictor import Prediction
from bone_age_tf.inference.result import Result

FACTS = StudyFacts(patient_id="P-17", study_date="20240105", side="left")


def texts(figure):
    return [text.get_text() for text in figure.texts]


def page(result, age=144, picture=None, facts=FACTS):
    return draw_page(make_report(result, age), picture, facts, WHEN)


def test_the_page_states_answer_study_quality_and_limits():
    figure = page(RESULT)
    lines = texts(figure)
    for expected in (
        "14 y 0 mo",
        "168.2 months",
        "90 % interval 157.1 to 178.2 months",
        "13 y 1 mo to 14 y 10 mo",
        "+2.4 SD, advanced",
        "P-17",
        "2024-01-05",
        "left",
        "female",
        "12 y 0 mo",
        "Corrected: rotated 180°.",
        "Research use; not a medical device",
        f"Model: {MODEL}. bone_age_tf {__version__}.",
        "Written 2025-01-02 03:04",
    ):
        assert expected in lines, expected
    assert "tables III and IV" in " ".join(lines)
    assert "no reader has verified it" in " ".join(lines).replace("\n", " ")
    assert lines.count("not known") == 1  # the accession number
    (chart,) = figure.axes
    assert chart.get_ylabel() == "Bone age (years)"


def test_everything_is_within_the_page():
    notes = ("sex contradictory: male in the file, female was given and used", "right hand " * 5)
    full = (dataclasses.replace(result, height_cm=150.0, notes=notes) for result in (RESULT, BOTH))
    for result in (RESULT, BOTH, REJECTED, *full):
        for picture in (None, make_picture(300, 200), make_picture(200, 900)):
            long = StudyFacts(patient_id="9" * 24, accession_number="W" * 16)
            figure = page(result, picture=picture, facts=long)
            figure.draw_without_rendering()
            width, height = figure.bbox.size
            boxes = [text.get_window_extent() for text in figure.texts]
            boxes += [axes.get_tightbbox() for axes in figure.axes]
            for text, box in zip([*texts(figure), *figure.axes], boxes, strict=True):
                assert box.x0 >= 0.05 * width and box.x1 <= 0.95 * width, text
                assert box.y0 >= 0 and box.y1 <= height, text
            overlaps = [
                (one, other)
                for place, one in enumerate(boxes)
                for other in boxes[:place]
                if min(one.x1, other.x1) - max(one.x0, other.x0) > 2
                and min(one.y1, other.y1) - max(one.y0, other.y0) > 6
            ]
            assert not overlaps


def test_without_an_age_there_is_no_chart_and_without_a_sex_two_answers():
    figure = page(RESULT, age=None)
    assert not figure.axes
    assert "No chronological age: no standard deviations." in texts(figure)
    figure = page(BOTH)
    assert not figure.axes
    lines = texts(figure)
    assert {"Bone age if female", "14 y 0 mo", "Bone age if male", "13 y 4 mo"} <= {*lines}
    assert "+1.5 SD, normal" in lines


def test_a_rejection_has_no_number():
    lines = texts(page(REJECTED))
    assert "No bone age" in lines
    assert not [line for line in lines if "SD" in line or ("90 %" in line and "holds" not in line)]
    assert "Radiograph rejected (two hands" in " ".join(lines)


def test_unusual_regions_are_named():
    regions = {"radius": RegionAge(150.0, -18.0, -2.4), "ulna": RegionAge(168.0, 0.0, 0.0)}
    result = Result("a", "male", {"male": Prediction(168.0, None, None, None, regions)})
    lines = texts(page(result))
    assert "no 90 % interval" in lines
    text = " ".join(lines)
    assert "radius: 150 months (−18 from usual, −2.4 SD)" in text and "ulna" not in text


def test_a_long_identifier_is_cut_visibly_only_where_it_would_be_illegible():
    shown = {}
    for identifier in ("P-17", "1" * 20, "W" * 64):
        figure = page(RESULT, facts=StudyFacts(patient_id=identifier))
        (shown[identifier],) = [text for text in figure.texts if text.get_text()[:3] in identifier]
    assert [text.get_text() for text in shown.values()][:2] == ["P-17", "1" * 20]
    sizes = [text.get_fontsize() for text in shown.values()]
    assert sizes[0] == 9.5 > sizes[1] > sizes[2] == 5.5
    assert shown["W" * 64].get_text().endswith("W…")


def test_the_same_page_gives_the_same_bytes():
    first, second = (page_as_pdf(page(RESULT), WHEN) for _ in range(2))
    assert first == second and first.startswith(b"%PDF-")
    assert first.count(b"/Type /Page ") == 1
    picture = page_as_picture(page(RESULT))
    assert picture.shape == (1753, 1240, 3) and picture.dtype == np.uint8
    assert len(np.unique(picture)) > 50


def test_the_page_in_dicom(tmp_path):
    pdf = b"%PDF-1.4 odd"[:11]
    made = make_encapsulated_pdf(make_report(RESULT), pdf, make_source(**PATIENT), WHEN)
    data = dicom_objects.to_bytes(made)
    dataset = pydicom.dcmread(io.BytesIO(data))
    assert dataset.SOPClassUID == "1.2.840.10008.5.1.4.1.1.104.1"
    assert dataset.EncapsulatedDocument == pdf + b"\0" and dataset.EncapsulatedDocumentLength == 11
    assert dataset.MIMETypeOfEncapsulatedDocument == "application/pdf"
    assert dataset.SourceInstanceSequence[0].ReferencedSOPInstanceUID == "1.2.3.4.5"
    assert (str(dataset.PatientName), dataset.Modality) == ("Müller^Mia", "DOC")
    path = tmp_path / "page.dcm"
    path.write_bytes(data)
    assert not dicom_errors(path)


def test_a_picture_of_another_type_is_rejected():
    with pytest.raises(InputError, match="the picture is float64"):
        page(RESULT, picture=np.zeros((2, 2, 3)))


def test_without_matplotlib_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.backends.backend_agg", None)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingExtraError, match=r"the page of a report .*bone-age-tf\[train\]"):
        page(RESULT)
