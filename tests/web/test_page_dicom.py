"""DICOM files on the page: read, scored and refused as the Python code does."""

import base64
import csv
import dataclasses
import gzip
import io
import json
import re
from pathlib import Path

import jsonschema
import numpy as np
import pydicom
import pytest
from PIL import Image

from bone_age_tf import clinical, reasons
from bone_age_tf.catalog import SHIPPED_MODEL
from bone_age_tf.clinical.result_columns import COLUMNS
from bone_age_tf.clinical.result_json import to_json_object
from bone_age_tf.errors import RadiographError
from bone_age_tf.images import dicom_syntaxes
from bone_age_tf.images.dicom import MODALITIES, read_dicom
from bone_age_tf.reader import load
from bone_age_tf.result_table import ResultTable
from bone_age_tf.web import build, clinical_settings, litert_js
from dicom_files import (
    SYNTAXES,
    code,
    drawn_hand,
    file_bytes,
    lookup_table,
    make_dataset,
    to_bytes,
    with_frame,
)

# pydicom warns of malformed values when it writes or reads them.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::UserWarning:pydicom")]

EXACT = 0.01
"""Maximum difference of grey levels, 0 to 255, without a lossy decoder."""
MONTHS = 0.05
PNG_MONTHS = 0.2
"""Maximum difference from the PNG of the displayed image, whose grey levels are rounded."""
MOST_FIRST_LOAD_BYTES = 4_000_000
"""Maximum size of the first load, without models and decoders of DICOM files."""
FOLDER = Path(pydicom.__file__).parent / "data" / "test_files"
STORED = np.rint(drawn_hand() * 10 + 300).astype(int)
"""The hand as a detector of 12 bits stores it: 300 to 2850."""
GAMMA = np.rint(4095 * (np.arange(4096) / 4095) ** 0.5).astype(int)
WINDOW = {"WindowCenter": 1500, "WindowWidth": 2000}
PHOTOMETRY = {
    "window": (STORED, WINDOW),
    "sigmoid, inverted": (
        STORED,
        {**WINDOW, "VOILUTFunction": "SIGMOID", "PhotometricInterpretation": "MONOCHROME1"},
    ),
    "exact window": (STORED, {**WINDOW, "VOILUTFunction": "LINEAR_EXACT"}),
    "table": (STORED, {"VOILUTSequence": lookup_table(GAMMA, bits=12), **WINDOW}),
    "table of bytes": (STORED, {"VOILUTSequence": lookup_table(GAMMA >> 4, bits=8)}),
    "modality table": (
        STORED,
        {
            "ModalityLUTSequence": lookup_table(GAMMA, bits=12),
            "PhotometricInterpretation": "MONOCHROME1",
        },
    ),
    "negative slope": (4095 - STORED, {"RescaleSlope": -1, "RescaleIntercept": 4095, **WINDOW}),
    "negative slope alone": (4095 - STORED, {"RescaleSlope": -0.5, "RescaleIntercept": 0}),
    "signed": (STORED - 2048, {"WindowCenter": -500, "WindowWidth": 2000}),
    "signed with a table": (
        STORED - 2048,
        {"VOILUTSequence": lookup_table(GAMMA, first=-2048, bits=12)},
    ),
    "window that shows nothing": (STORED, {"WindowCenter": 30000, "WindowWidth": 10}),
    "no window": (STORED, {"PixelSpacing": [0.2, 0.1]}),
}

DECODE = """
async ([files, modalities]) => {
  const { decode } = await import("/js/decode.js");
  const settings = await (await fetch("/settings.json")).json();
  settings.dicom.modalities = modalities;
  const answers = [];
  for (const file of files) {
    const bytes = Uint8Array.from(atob(file), (letter) => letter.charCodeAt(0));
    try {
      const { width, height, pixels, facts } = await decode(bytes, settings, "hand.dcm");
      const raw = new Uint8Array(pixels.buffer);
      let text = "";
      for (let at = 0; at < raw.length; at += 8192) {
        text += String.fromCharCode(...raw.subarray(at, at + 8192));
      }
      answers.push({ width, height, pixels: btoa(text), facts });
    } catch (error) {
      answers.push({ refusal: error.message });
    }
  }
  return answers;
}
"""


@pytest.fixture(scope="module")
def page(browser, address):
    page = browser.new_page()
    page.goto(address)
    yield page
    page.close()


def decode(page, files, modalities=MODALITIES):
    """Returns for each file its pixels and facts, or the reason why it is refused and None."""
    texts = [base64.b64encode(data).decode() for data in files]
    decoded = []
    for answer in page.evaluate(DECODE, [texts, list(modalities)]):
        if "refusal" in answer:
            decoded.append((answer["refusal"], None))
            continue
        pixels = np.frombuffer(base64.b64decode(answer["pixels"]), np.float32)
        decoded.append((pixels.reshape(answer["height"], answer["width"]), answer["facts"]))
    return decoded


def in_python(data, modalities=MODALITIES):
    """Returns the image that the Python code reads, or the reason why it is refused."""
    try:
        return read_dicom(data, "hand.dcm", modalities)
    except RadiographError as error:
        return error.reason


def assert_read_alike(page, files, modalities=MODALITIES, tolerance=EXACT):
    for data, (pixels, facts) in zip(files, decode(page, files, modalities), strict=True):
        expected = in_python(data, modalities)
        if isinstance(expected, str):
            assert pixels == expected
            continue
        assert facts is not None, pixels
        assert pixels.shape == expected.pixels.shape
        np.testing.assert_allclose(pixels, expected.pixels, atol=tolerance)
        assert_same_facts(facts, expected)


def assert_same_facts(facts, image):
    expected = image.facts
    assert facts["study"] == vars(expected.study)
    assert (facts["sex"], facts["side"]) == (expected.sex, expected.side)
    assert facts["ageMonths"] == pytest.approx(expected.chronological_age_months)
    assert facts["ageErrorMonths"] == pytest.approx(expected.age_error_months)
    assert facts["heightCm"] == pytest.approx(expected.height_cm)
    spacing = image.pixel_spacing_mm
    assert facts["spacingMm"] == (spacing and pytest.approx(list(spacing)))
    assert tuple(facts["notes"]) == image.notes


@pytest.mark.parametrize("syntax", [name for name in SYNTAXES if name != "JPEG baseline"])
def test_every_lossless_syntax_and_photometry(page, syntax):
    files = [file_bytes(stored, syntax=syntax, **tags) for stored, tags in PHOTOMETRY.values()]
    assert_read_alike(page, files)


def test_eight_bits_colours_and_lossy_compression(page):
    eight = np.rint(drawn_hand()).astype(int)
    colours = np.stack([eight, eight // 2, np.zeros_like(eight)], -1)
    files = [
        file_bytes(eight, 8, syntax, PhotometricInterpretation=colour)
        for syntax in ("JPEG baseline", "explicit", "big endian", "RLE")
        for colour in ("MONOCHROME1", "MONOCHROME2")
    ]
    files += [file_bytes(colours, 8, name) for name in ("explicit", "RLE", "JPEG 2000", "JPEG-LS")]
    assert_read_alike(page, files)


def test_unused_bits_hold_overlays(page):
    datasets = [make_dataset(STORED), make_dataset(STORED)]
    words = np.frombuffer(datasets[0].PixelData, "<u2")
    datasets[0].PixelData = (words | 0xA000).tobytes()
    datasets[1].PixelData, datasets[1].HighBit = (words << 4).astype("<u2").tobytes(), 15
    files = [to_bytes(dataset) for dataset in datasets]
    assert_read_alike(page, files)
    plain = read_dicom(file_bytes(STORED)).pixels
    for pixels, _ in decode(page, files):
        np.testing.assert_allclose(pixels, plain, atol=EXACT)


def _files_of_pydicom():
    """Files with pixel data that pydicom is installed with, and all modalities in them."""
    modalities, files = set(MODALITIES), []
    for path in sorted([*FOLDER.glob("*.dcm"), *FOLDER.glob("dicomdirtests/77654033/CR*/*")]):
        dataset = pydicom.dcmread(path, force=True)
        # badVR is read by the page alone.
        if "PixelData" in dataset and "Rows" in dataset and path.stem != "badVR":
            modalities.add(dataset.get("Modality") or "OT")
            files.append(path.read_bytes())
    return files, sorted(modalities)


def test_files_of_pydicom_whatever_their_modality(page):
    files, modalities = _files_of_pydicom()
    assert len(files) > 50
    # The browser may turn colour differences to colours in other steps than Pillow.
    assert_read_alike(page, files, modalities, tolerance=1)


def _request():
    request = pydicom.Dataset()
    request.RequestedProcedureCodeSequence = code("26354-1")
    return request


FACTS = [
    {"ImageLaterality": "L", "PixelSpacing": [0.15, 0.15], "PatientSize": "1.425"},
    {"PatientSex": "O", "PatientBirthDate": None, "PatientAge": "012Y"},
    {"PatientSex": "", "PatientBirthDate": "", "PatientAge": "018M", "StudyDate": ""},
    {"PatientSex": "m", "PatientAge": "006W", "PatientBirthDate": None},
    {"PatientAge": "005Y", "PresentationIntentType": "FOR PROCESSING", "Modality": "DX"},
    {"PatientBirthDate": "19000101", "PatientAge": "010Y"},
    {"PatientBirthDate": "20210101"},
    {"AcquisitionDateTime": "20190301101112.5+0100", "PatientSize": "1.425"},
    {"StudyDate": None, "SeriesDate": "20150301", "PatientSize": "142.5"},
    {"StudyDate": "2020.09.01", "Modality": None},
    {"ImageLaterality": "L", "Laterality": "R", "ProcedureCodeSequence": code("26354-1")},
    {"RequestAttributesSequence": [_request()]},
    {"ProcedureCodeSequence": code("26353-3", "99LOCAL"), "ImageLaterality": "U"},
    {"ImagerPixelSpacing": [0.1, 0.15]},
    {"PixelAspectRatio": [1, 2], "PixelSpacing": None},
    {"PixelSpacing": [0.1, 10]},
    {"WindowCenter": [1500, 600], "WindowWidth": [2000, 100]},
    {"WindowCenter": 1500, "WindowWidth": 0},
    {"RescaleSlope": 0, "RescaleIntercept": 5},
]


@pytest.mark.parametrize("syntax", ["explicit", "implicit", "big endian"])
def test_what_files_state(page, syntax):
    files = [file_bytes(STORED, syntax=syntax, **tags) for tags in FACTS]
    assert not [reason for reason in map(in_python, files) if isinstance(reason, str)]
    assert_read_alike(page, files)


def _refused():
    """Files that are not read, by the beginning of their reasons."""
    without, short = make_dataset(STORED), make_dataset(STORED)
    del without.PixelData
    short.PixelData = short.PixelData[:1000]
    whole = {name: SYNTAXES[name](make_dataset(STORED)) for name in ("RLE", "JPEG-LS", "JPEG 2000")}
    compressed = whole["JPEG-LS"]
    at = compressed.index(b"\xff\xd8\xff") + 40
    video = with_frame(make_dataset(STORED), pydicom.uid.MPEG4HP41, b"video")
    return [
        (file_bytes(STORED, Modality="CT"), f"{reasons.WRONG_MODALITY} CT; CR, DX, RG"),
        (file_bytes(STORED, SeriesDescription="bone-age-tf 0.2.0"), reasons.OWN_RESULT),
        (file_bytes(STORED, NumberOfFrames=12), f"12 {reasons.SEVERAL_FRAMES}"),
        (to_bytes(without), reasons.NO_PIXEL_DATA),
        (to_bytes(short), f"{reasons.PIXEL_DATA_TRUNCATED} (1000 of 18432 bytes)"),
        *((data[: len(data) // 2], reasons.PIXEL_DATA_TRUNCATED) for data in whole.values()),
        (compressed[:at] + bytes(200) + compressed[at + 200 :], "the image is damaged (JPEG-LS"),
        (video, "MPEG-4 AVC/H.264 High Profile / Level 4.1 pixel data cannot be decoded; save"),
        ((FOLDER / "JPEG-lossy.dcm").read_bytes(), f"{reasons.WRONG_MODALITY} NM"),
        ((FOLDER / "dicomdirtests" / "DICOMDIR").read_bytes(), reasons.DICOM_DIRECTORY),
        (b"no image", reasons.NOT_DICOM),
    ]


def test_refusals_are_named_as_in_python(page):
    files, beginnings = zip(*_refused(), strict=True)
    assert_read_alike(page, files)
    for beginning, (reason, _) in zip(beginnings, decode(page, files), strict=True):
        assert reason.startswith(beginning)


def test_any_bytes_give_pixels_or_a_reason(page):
    random = np.random.default_rng(0)
    originals = [SYNTAXES[name](make_dataset(STORED)) for name in ("explicit", "RLE", "JPEG 2000")]
    files = []
    for place in range(60):
        data = bytearray(originals[place % len(originals)])
        for _ in range(random.integers(1, 6)):
            data[random.integers(132, min(1200, len(data)))] = random.integers(256)
        files.append(bytes(data))
    answers = decode(page, [*files, bytes(400), b"\xff" * 400])
    assert sum(facts is not None for _, facts in answers) > 10
    assert all(facts is not None or (answer and "\n" not in answer) for answer, facts in answers)


def test_a_file_that_inflates_to_more_than_may_be_opened_is_refused(page):
    refusal = page.evaluate(
        """async (file) => {
          const { openDicom } = await import("/js/dicom_file.js");
          const settings = await (await fetch("/settings.json")).json();
          settings.most_file_bytes = 10_000;
          const bytes = Uint8Array.from(atob(file), (letter) => letter.charCodeAt(0));
          return openDicom(bytes, settings).catch((error) => error.message);
        }""",
        base64.b64encode(file_bytes(np.zeros((80, 80), int), syntax="deflated")).decode(),
    )
    assert "too large; at most 0 MB are read here" in refusal


def test_tags_and_names_are_those_of_the_standard(page):
    keywords = page.evaluate("async () => (await import('/js/dicom_tags.js')).KEYWORDS")
    for keyword, (tag, representation) in keywords.items():
        assert f"{pydicom.datadict.tag_for_keyword(keyword):08x}" == tag
        stated = pydicom.datadict.dictionary_VR(tag)
        assert representation in stated.split(" or ")
    for syntax, name in dicom_syntaxes.SYNTAX_NAMES.items():
        assert pydicom.uid.UID(syntax).name == name
    for name in clinical_settings.SYNTAXES:
        assert getattr(dicom_syntaxes, name) in dicom_syntaxes.SYNTAX_NAMES
    assert {getattr(reasons, name) for name in clinical_settings.TEXTS} == {
        *reasons.DICOM_TEXTS,
        *reasons.DICOM_NOTES,
    }


@pytest.fixture(scope="module")
def studies(tmp_path_factory):
    """A folder of DICOM files, one without an extension, and the PNG of a displayed image."""
    folder = tmp_path_factory.mktemp("studies")
    hand = np.rint(drawn_hand(512) * 10 + 300).astype(int)
    window = {"WindowCenter": 1500, "WindowWidth": 2600}
    files = {
        "IM0001": {"ImageLaterality": "L", "PatientSize": "1.02", "PatientBirthDate": "20170301"},
        "b.dcm": {"PatientSex": "O", "PatientBirthDate": None, "PatientAge": "002Y"},
        "c.dcm": {"PatientSex": "M", "PatientBirthDate": "19980301", "Laterality": "R"},
        "ct.dcm": {"Modality": "CT"},
    }
    names = list(SYNTAXES)
    for place, (name, tags) in enumerate(files.items()):
        syntax = names[-2 - place]  # JPEG lossless, JPEG 2000, JPEG-LS, RLE
        (folder / name).write_bytes(file_bytes(hand, syntax=syntax, **window, **tags))
    displayed = read_dicom(folder / "IM0001").pixels
    Image.fromarray(np.rint(displayed).astype(np.uint8)).save(folder / "displayed.png")
    return sorted(folder.iterdir())


@pytest.fixture(scope="module")
def reader(root):
    return load(SHIPPED_MODEL, exports_dir=root / "exports")


def read_in_python(reader, paths, **given):
    """Returns results under the files' names; given: arguments of `Reader.read`."""
    return [dataclasses.replace(reader.read(path, **given), source=path.name) for path in paths]


@pytest.fixture(scope="module")
def opened(shared_visit, serve, page_folder, studies):
    """A visit that opens the files without a network, with the server stopped."""
    with serve(page_folder) as url:
        found = shared_visit(url)
        found.wait_until_kept()
    found.page.context.set_offline(True)
    found.add(*studies)
    opening = found.page.locator(".message", has_text="Opening")
    found.wait(lambda: found.page.locator(".card").count() == len(studies))
    found.wait(lambda: opening.count() == 0)
    found.choose("both", 1)
    found.choose("female", 4)
    found.wait_for_answers(len(studies))
    return found


def download(found, button):
    with found.page.expect_download() as started:
        found.page.click(button)
    return Path(started.value.path()).read_bytes()


def expected_results(reader, studies):
    *dicom, png = studies
    return [*read_in_python(reader, dicom), *read_in_python(reader, [png], sex="female")]


def assert_same_rows(data, results):
    rows = list(csv.DictReader(io.StringIO(data.decode(), newline="")))
    expected = ResultTable(tuple(results), (None,) * len(results)).rows()
    assert len(rows) == len(expected)
    for row, texts in zip(rows, expected, strict=True):
        for column, text in zip(COLUMNS, texts, strict=True):
            if column.decimals is not None and text:
                tolerance = 1.01 * 10**-column.decimals
                assert float(row[column.name]) == pytest.approx(float(text), abs=tolerance)
            else:
                assert _without_decimals(row[column.name]) == _without_decimals(text)


def _without_decimals(text):
    """Bone ages in reasons are written with more decimals than are equal."""
    return re.sub(r"(\d+)\.\d+", r"\1", text)


def test_rows_are_those_of_python_offline(opened, reader, studies):
    results = expected_results(reader, studies)
    assert [result.status for result in results] == ["ok", "ok", "ok", "failed", "ok"]
    assert_same_rows(opened.csv(), results)
    assert not [text for text in opened.messages if "ERR_INTERNET" not in text]


def test_the_answer_is_that_of_the_displayed_image(opened):
    ages = [
        float(opened.card(place).locator(".answer").first.get_attribute("data-age"))
        for place in (0, 4)
    ]
    assert abs(ages[0] - ages[1]) <= PNG_MONTHS


def assert_alike(found, expected):
    """Compares JSON values; numbers of a network differ in late digits."""
    if isinstance(expected, dict):
        assert list(found) == list(expected)
        for key, value in expected.items():
            assert_alike(found[key], value)
    elif isinstance(expected, list):
        assert len(found) == len(expected)
        for ours, theirs in zip(found, expected, strict=True):
            assert_alike(ours, theirs)
    elif isinstance(expected, float):
        assert found == pytest.approx(expected, abs=MONTHS)
    elif isinstance(expected, str):
        assert _without_decimals(found) == _without_decimals(expected)
    else:
        assert found == expected


def test_json_is_that_of_python(opened, reader, studies):
    objects = json.loads(download(opened, "#json"))
    schema = clinical.read_json_schema()
    for found, result in zip(objects, expected_results(reader, studies), strict=True):
        jsonschema.validate(found, schema)
        assert_alike(found, json.loads(json.dumps(to_json_object(result))))


def test_what_the_file_states_is_shown_to_be_checked(opened):
    card = opened.card(0)
    assert card.locator(".facts").inner_text() == (
        "The DICOM file states: female, 3 years 6 months, left hand, 102.0 cm. Please check."
    )
    assert card.locator("input[value=female]").is_checked()
    assert card.locator(".years").input_value() == "3"
    assert float(card.locator(".months").input_value()) == pytest.approx(6.1, abs=0.05)
    words = opened.card(1).locator(".facts").inner_text()
    assert words.startswith("The DICOM file states: no sex, 2 years 6 months.")
    assert not opened.card(4).locator(".facts").is_visible()


def test_score_names_its_reference_and_has_a_chart(opened, reader, studies):
    (result,) = read_in_python(reader, studies[:1])
    score = clinical.score_result(result)
    card = opened.card(0)
    assert float(card.locator(".answer").get_attribute("data-sds")) == pytest.approx(
        score.sds, abs=0.01
    )
    words = card.locator(".score").inner_text()
    assert words == f"{score.assessment.capitalize()}, {score.sds:+.1f} SD"
    assert score.reference_name in card.locator(".details").inner_text()
    chart = card.locator(".chart svg")
    assert score.summary in chart.get_attribute("aria-label")
    width, height = map(float, chart.get_attribute("viewBox").split()[2:])
    year_px = (width - 52) / 18
    circle = chart.locator(".study")
    place = [float(circle.get_attribute(name)) for name in ("cx", "cy")]
    expected = [
        40 + year_px * result.chronological_age_months / 12,
        height - 36 - year_px * result.age_months / 12,
    ]
    assert place == pytest.approx(expected, abs=0.1)
    # Outside the table there is no score, but a reason; and without an age nothing at all.
    assert "no standard deviation score: chronological age" in (
        opened.card(2).locator(".details").inner_text().lower()
    )
    assert not opened.card(2).locator(".growth").is_visible()
    assert opened.card(4).locator(".details").inner_text() == ""


def test_another_sex_and_age_are_used_and_noted(opened, reader, studies):
    card = opened.card(0)
    opened.choose("male")
    opened.wait(lambda: "read as male" in card.inner_text())
    card.locator(".years").fill("5")
    card.locator(".months").fill("0")
    card.locator(".months").press("Tab")
    opened.wait(lambda: "were given and used" in card.locator(".message").inner_text())
    results = expected_results(reader, studies)
    given = {"sex": "male", "chronological_age_months": 60}
    results[0] = read_in_python(reader, studies[:1], **given)[0]
    assert len(results[0].notes) == 2
    assert_same_rows(opened.csv(), results)
    card.locator(".years").fill("")
    card.locator(".months").fill("")
    card.locator(".months").press("Tab")
    opened.wait(lambda: not card.locator(".growth").is_visible())
    assert card.locator(".score").inner_text() == ""


def test_on_paper_each_radiograph_has_its_facts(opened):
    known = opened.card(2).locator(".known")
    assert not known.is_visible()
    opened.page.emulate_media(media="print")
    words = known.inner_text()
    assert words.startswith("Sex: male; chronological age: 22 y 6 m; side: right.")
    assert f"Read by {SHIPPED_MODEL} version" in words and "not a medical device" in words
    assert not opened.card(2).locator("fieldset").first.is_visible()
    opened.page.emulate_media(media="screen")
    assert opened.page.pdf().startswith(b"%PDF")


def test_it_is_accessible_and_fits_a_phone(opened, modules):
    for width in (360, 1200):
        opened.page.set_viewport_size({"width": width, "height": 740})
        scroll = "document.documentElement.scrollWidth - window.innerWidth"
        assert opened.page.evaluate(scroll) <= 0
    opened.page.evaluate((modules / "axe-core" / "axe.min.js").read_text("utf-8"))
    report = opened.page.evaluate("axe.run(document, { resultTypes: ['violations'] })")
    serious = [each for each in report["violations"] if each["impact"] in ("serious", "critical")]
    assert not serious, json.dumps(serious, indent=1)


def test_decoders_are_loaded_with_the_first_dicom_file_only(visit, address, hands, studies):
    found = visit(address, service_workers="block")
    found.read(hands[0])
    assert not [url for url in found.requests if "/codecs/" in url or "/dicom" in url]
    found.read(studies[0])
    names = {url.rsplit("/", 1)[1] for url in found.requests if "/codecs/" in url}
    assert names == {"dicom_parser.js", "jpeg_lossless.js"}
    assert not [text for text in found.messages if "Content Security Policy" in text]


def test_the_first_load_stays_small(page_folder):
    """Compressed with gzip alone, as a server without brotli sends it."""
    sizes = {
        path.relative_to(page_folder).as_posix(): _sent_bytes(path)
        for path in page_folder.rglob("*")
        if path.is_file()
    }
    first, models, codecs = build._first_load(sizes)
    assert first < MOST_FIRST_LOAD_BYTES
    assert 100_000 < codecs < 1_000_000 < models


def _sent_bytes(path):
    """Bytes of a file as it is sent, compressed unless that is not part of the first load."""
    is_other_runtime = path.parent.name == "wasm" and litert_js.RUNTIMES[-1] not in path.name
    if "models" in path.parts or is_other_runtime:
        return path.stat().st_size
    return len(gzip.compress(path.read_bytes(), 6))
