"""Writes the files of a report: SR, Secondary Capture, PDF, FHIR, JSON and PNG."""

import datetime
import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
from PIL import Image

from bone_age_tf.clinical import dicom_objects
from bone_age_tf.clinical.fhir_report import make_fhir_bundle
from bone_age_tf.clinical.json_report import make_json_report
from bone_age_tf.clinical.report import BoneAgeReport, StudyFacts, make_report
from bone_age_tf.clinical.report_page import draw_page, page_as_pdf, page_as_picture
from bone_age_tf.clinical.secondary_capture import make_secondary_capture, require_picture
from bone_age_tf.clinical.standard_deviation import BRUSH_FOUNDATION, StandardDeviationScore
from bone_age_tf.clinical.structured_report import make_structured_report
from bone_age_tf.errors import InputError, require_known
from bone_age_tf.files import replace_file
from bone_age_tf.inference.result import Result

if TYPE_CHECKING:
    from pydicom import Dataset

REPORT_KINDS: Final = {
    "sr": "DICOM Structured Report (TID 1500)",
    "sc": "DICOM Secondary Capture of the picture, or of the page without one",
    "pdf": "page as a PDF file, and as an Encapsulated PDF if the source is DICOM",
    "fhir": "FHIR R4 transaction Bundle with DiagnosticReport and Observations",
    "json": "JSON object by report.schema.json",
    "png": "the picture, or the page without one",
}
"""What each kind of report writes."""
_NEED_DICOM: Final = ("sr", "sc")


def write_reports(
    kinds: Sequence[str],
    result: Result,
    source: "Dataset | str | Path | None",
    folder: str | Path,
    *,
    chronological_age_months: float | None = None,
    score: StandardDeviationScore | None = None,
    reference: str = BRUSH_FOUNDATION,
    picture: np.ndarray | None = None,
    name: str | None = None,
    written_at: datetime.datetime | None = None,
) -> list[Path]:
    """Writes the result of one radiograph as files.

    The names are `NAME.sr.dcm`, `NAME.sc.dcm`, `NAME.pdf` with `NAME.pdf.dcm`, `NAME.fhir.json`,
    `NAME.json` and `NAME.png`. Existing files are replaced. All contents are made before the first
    file is written.

    Args:
        kinds: some of `REPORT_KINDS`.
        result: the result of reading the radiograph.
        source: the radiograph as a DICOM object or a DICOM file; None for another kind of image,
            for which there is no SR and no Secondary Capture.
        folder: folder of the files; created if it is missing.
        chronological_age_months: the child's age in months when the radiograph was taken, for
            standard deviations and the growth chart.
        score: a score that was calculated before, see `make_report`.
        reference: reference of the scores that are calculated, one of `SD_REFERENCES`.
        picture: [H, W, 3] uint8, such as the radiograph with its regions.
        name: the files' name without an ending; the name of `result.source` by default.
        written_at: date and time of the reports; now by default.

    Returns:
        The files that were written, in the order of `kinds`.

    Raises:
        ConfigError: a kind is unknown.
        InputError: the source, the picture, the age or the score cannot be used.
        MissingExtraError: a package of the extra `dicom` or `train` is not installed.
        OSError: the folder or a file cannot be written.
    """
    for kind in kinds:
        require_known("kind of report", kind, REPORT_KINDS)
    if source is None and any(kind in _NEED_DICOM for kind in kinds):
        raise InputError(
            f"a report of the kind {' or '.join(_NEED_DICOM)} needs a DICOM file as its source; "
            "write json, fhir, pdf or png for other images"
        )
    report = make_report(result, chronological_age_months, score, reference)
    written_at = (written_at or datetime.datetime.now()).astimezone()
    writer = _Writer(report, source, picture, written_at)
    stem = Path(name or result.source).name
    stem = stem if name else Path(stem).stem
    contents: dict[Path, bytes] = {}
    for kind in dict.fromkeys(kinds):
        for ending, content in writer.files(kind):
            contents[Path(folder) / f"{stem}{ending}"] = content
    for path, content in contents.items():
        replace_file(path, content)
    return [*contents]


class _Writer:
    """Makes the files of one report."""

    def __init__(
        self,
        report: BoneAgeReport,
        source: "Dataset | str | Path | None",
        picture: np.ndarray | None,
        written_at: datetime.datetime,
    ):
        self._report, self._written_at = report, written_at
        self._source: Dataset | None = None
        self._facts = StudyFacts()
        if source is not None:
            self._source = dicom_objects.read_source(source)
            self._facts = dicom_objects.study_facts(self._source)
        self._picture = None if picture is None else require_picture(picture)

    def files(self, kind: str) -> list[tuple[str, bytes]]:
        """Returns the files of one kind: the ending of the name, and the content."""
        makers: dict[str, Callable[[], list[tuple[str, bytes]]]] = {
            "sr": self._structured_report,
            "sc": self._secondary_capture,
            "pdf": self._pdf,
            "fhir": self._fhir,
            "json": self._json,
            "png": self._png,
        }
        return makers[kind]()

    def _structured_report(self) -> list[tuple[str, bytes]]:
        document = make_structured_report(self._report, self._dicom(), self._written_at)
        return [(".sr.dcm", dicom_objects.to_bytes(document))]

    def _secondary_capture(self) -> list[tuple[str, bytes]]:
        capture = make_secondary_capture(
            self._report, self._picture_or_page(), self._dicom(), self._written_at
        )
        return [(".sc.dcm", dicom_objects.to_bytes(capture))]

    def _pdf(self) -> list[tuple[str, bytes]]:
        figure = draw_page(self._report, self._picture, self._facts, self._written_at)
        pdf = page_as_pdf(figure, self._written_at)
        if self._source is None:
            return [(".pdf", pdf)]
        from bone_age_tf.clinical.encapsulated_pdf import make_encapsulated_pdf

        document = make_encapsulated_pdf(self._report, pdf, self._source, self._written_at)
        return [(".pdf", pdf), (".pdf.dcm", dicom_objects.to_bytes(document))]

    def _fhir(self) -> list[tuple[str, bytes]]:
        bundle = make_fhir_bundle(self._report, self._facts, self._written_at)
        return [(".fhir.json", _json_bytes(bundle))]

    def _json(self) -> list[tuple[str, bytes]]:
        content = make_json_report(self._report, self._facts, self._written_at)
        return [(".json", _json_bytes(content))]

    def _png(self) -> list[tuple[str, bytes]]:
        buffer = io.BytesIO()
        Image.fromarray(self._picture_or_page()).save(buffer, format="png")
        return [(".png", buffer.getvalue())]

    def _picture_or_page(self) -> np.ndarray:
        if self._picture is not None:
            return self._picture
        return page_as_picture(draw_page(self._report, None, self._facts, self._written_at))

    def _dicom(self) -> "Dataset":
        if self._source is None:
            raise InputError("a DICOM report needs a DICOM file as its source")
        return self._source


def _json_bytes(content: object) -> bytes:
    return (json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()
