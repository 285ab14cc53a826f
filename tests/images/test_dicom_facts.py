"""What DICOM files state: sex, side, age, identifiers, and files that are no radiographs."""

import datetime
import sys

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset

from bone_age_tf import reasons
from bone_age_tf.errors import InputError, RadiographError
from bone_age_tf.images import dicom_facts
from bone_age_tf.images.dicom import read_dicom
from bone_age_tf.images.dicom_facts import Study
from bone_age_tf.radiograph import Radiograph
from dicom_files import code, file_bytes, make_dataset, to_bytes

# pydicom warns of malformed values when it writes them.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:pydicom")
STORED = np.arange(80 * 64).reshape(80, 64) % 4096


def opened(sex=None, **tags):
    return Radiograph.open(file_bytes(STORED, **tags), sex)


def refusal(data):
    with pytest.raises(RadiographError) as error:
        Radiograph.open(data, name="hand.dcm")
    assert str(error.value) == f"hand.dcm: {error.value.reason}"
    return error.value.reason


def test_a_radiograph_has_what_its_file_states():
    radiograph = opened(ImageLaterality="L", PixelSpacing=[0.15, 0.15])
    assert (radiograph.sex, radiograph.side) == ("female", "left")
    assert radiograph.chronological_age_months == pytest.approx(126, abs=0.2)
    assert radiograph.pixel_spacing_mm == (0.15, 0.15)
    assert radiograph.study == Study("1.2.3.1", "1.2.3.2", "1.2.3.3", "1.2.840.10008.5.1.4.1.1.1")
    assert (radiograph.source, radiograph.notes, radiograph.corrections) == ("array", (), ())
    assert radiograph.pixels.shape == STORED.shape


@pytest.mark.parametrize(
    ("stated", "sex"),
    [("M", "male"), ("f", "female"), ("O", None), ("", None), (None, None), ("U", None)],
)
def test_only_m_and_f_are_sexes(stated, sex):
    assert opened(PatientSex=stated).sex == sex


def test_the_given_sex_is_preferred_and_a_contradiction_is_noted():
    radiograph = opened("male", PatientSex="F")
    assert radiograph.sex == "male"
    assert radiograph.notes == ("sex contradictory: female in the file, male was given and used",)
    assert opened("f", PatientSex="F").notes == ()
    assert (opened("f", PatientSex="O").sex, opened("f", PatientSex="O").notes) == ("female", ())


@pytest.mark.parametrize(
    ("tags", "side"),
    [
        ({"ImageLaterality": "L"}, "left"),
        ({"Laterality": "L"}, "left"),
        ({"ImageLaterality": "B"}, None),
        ({"ImageLaterality": "U", "Laterality": "L"}, "left"),
        ({"ProcedureCodeSequence": code("26353-3")}, "left"),
        ({"ProcedureCodeSequence": code("26352-5")}, None),
        ({"ProcedureCodeSequence": code("26353-3", "99LOCAL")}, None),
        ({"ImageLaterality": "L", "ProcedureCodeSequence": code("26353-3")}, "left"),
    ],
)
def test_side(tags, side):
    radiograph = opened(**tags)
    assert (radiograph.side, radiograph.notes) == (side, ())


def test_a_right_hand_is_noted():
    request = Dataset()
    request.RequestedProcedureCodeSequence = code("26354-1")
    for tags in ({"Laterality": "R"}, {"RequestAttributesSequence": [request]}):
        radiograph = opened(**tags)
        assert radiograph.side == "right"
        assert radiograph.notes == ("right hand according to the file",)


def test_a_side_in_conflict_is_reported_and_not_guessed():
    radiograph = opened(ImageLaterality="L", Laterality="R", ProcedureCodeSequence=code("26354-1"))
    assert radiograph.side is None
    assert radiograph.notes == (
        "side contradictory: ImageLaterality left, Laterality right, study code 26354-1 right",
    )


@pytest.mark.parametrize(
    ("tags", "age"),
    [
        ({"AcquisitionDate": "20190301", "StudyDate": "20200901"}, 108),
        ({"AcquisitionDateTime": "20190301101112.5+0100", "StudyDate": "20200901"}, 108),
        ({"StudyDate": None, "SeriesDate": "20150301"}, 60),
        ({"StudyDate": "2020.09.01"}, 126),
        ({"AcquisitionDate": "", "StudyDate": "20200901"}, 126),
    ],
)
def test_age_is_the_time_from_birth_to_the_radiograph(tags, age):
    radiograph = opened(**tags)
    assert radiograph.chronological_age_months == pytest.approx(age, abs=0.2)
    assert radiograph.notes == ()


@pytest.mark.parametrize(
    ("stated", "months", "precision"),
    [("012Y", 150, "6"), ("018M", 18.5, "0.5"), ("006W", 1.49, "0.11"), ("010D", 0.34, "0.016")],
)
def test_stated_age_where_there_is_no_date_of_birth(stated, months, precision):
    radiograph = opened(PatientBirthDate="", PatientAge=stated)
    assert radiograph.chronological_age_months == pytest.approx(months, abs=0.01)
    assert radiograph.notes == (
        f"chronological age from the stated age {stated}, exact to {precision} months",
    )


@pytest.mark.parametrize("stated", ["", "12", "Y12", "999Y", "-12Y"])
def test_without_a_date_of_birth_or_a_usable_age_the_age_is_unknown(stated):
    dataset = make_dataset(STORED, PatientBirthDate=None)
    with pydicom.config.disable_value_validation():
        dataset.add_new("PatientAge", "AS", stated)
        radiograph = Radiograph.open(to_bytes(dataset))
    assert (radiograph.chronological_age_months, radiograph.notes) == (None, ())


def test_age_does_not_use_the_present_date(monkeypatch):
    class NoDate(datetime.date):
        @classmethod
        def today(cls):
            raise AssertionError("the present date was used")

    class NoTime(datetime.datetime):
        @classmethod
        def now(cls, tz=None):
            raise AssertionError("the present date was used")

    data = file_bytes(STORED, StudyDate=None)
    dated = file_bytes(STORED, StudyDate="20110301")
    stated = file_bytes(STORED, StudyDate=None, PatientAge="003Y")
    monkeypatch.setattr(datetime, "date", NoDate)
    monkeypatch.setattr(datetime, "datetime", NoTime)
    assert read_dicom(data).facts.chronological_age_months is None
    assert read_dicom(dated).facts.chronological_age_months == pytest.approx(12, abs=0.1)
    assert read_dicom(stated).facts.chronological_age_months == 42


def test_unusable_and_contradictory_dates_are_noted():
    late = opened(PatientBirthDate="20210101")
    assert late.chronological_age_months is None
    assert late.notes == ("date of birth not used: 2021-01-01",)
    placeholder = opened(PatientBirthDate="19000101", PatientAge="010Y")
    assert placeholder.chronological_age_months == 126
    assert placeholder.notes[0] == "date of birth not used: 1900-01-01"
    shifted = opened(PatientAge="005Y")
    assert shifted.chronological_age_months == pytest.approx(126, abs=0.2)
    assert shifted.notes == ("stated age contradicts the dates: 005Y, 126 months",)
    assert opened(PatientAge="010Y").notes == ()


def test_an_image_for_processing_is_noted():
    notes = opened(PresentationIntentType="FOR PROCESSING", Modality="DX").notes
    assert notes == (reasons.FOR_PROCESSING,)


@pytest.mark.parametrize("modality", ["CR", "DX", "RG", "OT", "SC", "MG", None])
def test_modalities_that_are_read(modality):
    assert opened(Modality=modality).pixels.shape == STORED.shape


@pytest.mark.parametrize("modality", ["CT", "MR", "US", "SR", "PR", "XA"])
def test_other_modalities_are_refused_by_name(modality):
    assert refusal(file_bytes(STORED, Modality=modality)) == (
        f"not a radiograph: modality {modality}; CR, DX, RG, OT, SC and MG are read"
    )


@pytest.mark.parametrize(
    "tags",
    [
        {"Manufacturer": "bone_age_tf"},
        {"SeriesDescription": "Bone age (bone-age-tf 0.2.0)", "Modality": "SC"},
        {"SoftwareVersions": ["1.0", "bone_age_tf 0.2.0"], "Modality": "SR"},
    ],
)
def test_own_results_that_come_back_are_refused(tags):
    assert refusal(file_bytes(STORED, **tags)) == "a result of bone_age_tf, not a radiograph"


def test_a_file_without_pixel_data_is_refused():
    dataset = make_dataset(STORED)
    del dataset.PixelData
    assert refusal(to_bytes(dataset)) == "the DICOM file has no pixel data"


def test_short_pixel_data_is_refused():
    dataset = make_dataset(STORED)
    dataset.PixelData = dataset.PixelData[:1000]
    assert refusal(to_bytes(dataset)) == "the pixel data is truncated (1000 of 10240 bytes)"


def test_several_frames_and_too_many_pixels_are_refused():
    assert refusal(file_bytes(STORED, NumberOfFrames=12)) == "12 frames; a radiograph has one"
    assert opened(NumberOfFrames=1).pixels.shape == STORED.shape
    reason = refusal(file_bytes(STORED, Rows=20_000, Columns=20_000))
    assert reason == "20000 x 20000 pixels is too large; reduce it first"


def test_without_pydicom_the_file_and_the_remedy_are_named(monkeypatch):
    data = file_bytes(STORED)
    monkeypatch.setitem(sys.modules, "pydicom", None)
    assert refusal(data) == (
        "a DICOM file needs packages that are not installed: pip install 'bone-age-tf[dicom]'"
    )


def test_names_and_numbers_of_patients_are_not_kept():
    radiograph = opened(PatientName="Doe^Jane", PatientID="4711", AccessionNumber="0815")
    kept = repr([value for key, value in vars(radiograph).items() if key != "pixels"])
    assert not any(word in kept for word in ("Doe", "4711", "0815", "2010"))


def test_malformed_values_are_unknown():
    tags = dicom_facts.Tags(pydicom.dcmread(_malformed()))
    assert dicom_facts.read_age_months(tags)[0] is None
    assert dicom_facts.read_spacing_mm(tags) is None
    assert dicom_facts.read_aspect(tags) == 1


def _malformed():
    import io

    dataset = make_dataset(STORED)
    data = to_bytes(dataset).replace(b"20100301", b"2010030X").replace(b"20200901", b"09/01/20")
    return io.BytesIO(data)


@pytest.mark.parametrize(
    ("tags", "height_cm", "note"),
    [
        ({"PatientSize": "1.425"}, 142.5, None),
        ({"PatientSize": "1.425", "AcquisitionDate": "20200901"}, 142.5, None),
        ({"PatientSize": "1.425", "AcquisitionDate": "20210301"}, None, "of another day"),
        ({"PatientSize": "1.425", "StudyDate": None}, None, "of another day"),
        ({"PatientSize": "142.5"}, None, "142.5 m is not the height of a child"),
        ({"PatientSize": "0"}, None, None),
        ({"PatientSize": ""}, None, None),
        ({}, None, None),
    ],
)
def test_the_height_is_that_of_the_day_of_the_radiograph(tags, height_cm, note):
    radiograph = opened(**tags)
    assert radiograph.height_cm == (None if height_cm is None else pytest.approx(height_cm))
    assert [text.startswith("Patient's Size not used: ") for text in radiograph.notes] == (
        [] if note is None else [True]
    )
    assert note is None or note in radiograph.notes[0]


def test_where_the_sex_is_from_and_how_exact_the_age_is():
    assert (opened().sex_source, opened("f").sex_source) == ("file", "flag")
    assert opened(PatientSex="O").sex_source is None
    assert opened().chronological_age_error_months == 0
    stated = opened(PatientBirthDate=None, PatientAge="010Y")
    assert stated.chronological_age_error_months == 6
    changed = stated.replace(sex="male", chronological_age_months=121)
    assert (changed.sex_source, changed.chronological_age_error_months) == ("flag", 0)
    with pytest.raises(InputError, match="chronological age is -1; write a number from 0 to 1320"):
        stated.replace(chronological_age_months=-1)
    with pytest.raises(InputError, match=r"height is 1\.4; write a number from 30 to 250 cm"):
        stated.replace(height_cm=1.4)
