"""Writes the files of a report: SR, Secondary Capture, PDF, FHIR, JSON and PNG."""

import dataclasses
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
from bone_age_tf.clinical.report import BoneAgeReport, StudyFacts, make_report
from bone_age_tf.clinical.report_kinds import ENDINGS, NEED_DICOM, REPORT_KINDS, file_stem
from bone_age_tf.clinical.report_page import draw_page, page_as_pdf, page_as_picture
from bone_age_tf.clinical.secondary_capture import make_secondary_capture, require_picture
from bone_age_tf.clinical.standard_deviation import BRUSH_FOUNDATION
from bone_age_tf.clinical.structured_report import make_structured_report
from bone_age_tf.errors import InputError, require_known
from bone_age_tf.files import replace_file
from bone_age_tf.images.dicom_facts import Study
from bone_age_tf.inference.result import Result

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pydicom import Dataset

_MOST_PX: Final = 1200
"""Maximum length in pixels of the longer side of the radiograph on the page."""


def write_reports(
    kinds: Sequence[str],
    result: Result,
    source: "Dataset | str | Path | bytes | None",
    folder: str | Path,
    *,
    chronological_age_months: float | None = None,
    height_cm: float | None = None,
    reference: str = BRUSH_FOUNDATION,
    radiograph: np.ndarray | None = None,
    picture: np.ndarray | None = None,
    name: str | None = None,
    written_at: datetime.datetime | None = None,
) -> list[Path]:
    """Writes the result of one radiograph as files.

    The names are `NAME.sr.dcm`, `NAME.sc.dcm`, `NAME.pdf` with `NAME.pdf.dcm`, `NAME.fhir.json`,
    `NAME.json` and `NAME.png`. Existing files are replaced. All contents are made before the first
    file is written.

    Sex, side, chronological age, height and UIDs are those of the result.

    Args:
        kinds: some of `REPORT_KINDS`.
        result: the result of reading the radiograph.
        source: the radiograph as a DICOM object, a DICOM file or its bytes; None for another kind
            of image, for which there is no SR and no Secondary Capture. It must be the radiograph
            that was read.
        folder: folder of the files; created if it is missing.
        chronological_age_months: the child's age in months when the radiograph was taken, for
            standard deviations and the growth chart; None for that of the result.
        height_cm: the child's height in cm at that time, for the adult height; None for that of the
            result.
        reference: reference of the scores, one of `SD_REFERENCES`. JSON has all of them.
        radiograph: [H, W], 0 to 255, for the page; see `Radiograph.pixels`.
        picture: [H, W, 3] uint8, such as the radiograph with its regions. It is shown on the page
            in place of the radiograph, and is itself the kinds `sc` and `png`.
        name: the files' name without an ending; that of `result.source` by default, see
            `file_stem`.
        written_at: date and time of the reports; now by default.

    Returns:
        The files that were written, in the order of `kinds`.

    Raises:
        ConfigError: a kind is unknown.
        InputError: the source is not that of the result, or the source, a picture, the age or the
            height cannot be used.
        MissingExtraError: a package of the extra `dicom` or `train` is not installed.
        OSError: the folder or a file cannot be written.
    """
    for kind in kinds:
        require_known("kind of report", kind, REPORT_KINDS)
    if source is None and any(kind in NEED_DICOM for kind in kinds):
        raise InputError(
            f"a report of the kind {' or '.join(NEED_DICOM)} needs a DICOM file as its source; "
            "write json, fhir, pdf or png for other images"
        )
    dataset = None if source is None else dicom_objects.read_source(source)
    facts = StudyFacts.of(result)
    if dataset is not None:
        facts = dicom_objects.study_facts(dataset)
        result = _with_source(result, facts, str(dataset.SOPClassUID).strip())
        facts = dataclasses.replace(facts, side=result.side)
    report = make_report(result, chronological_age_months, height_cm, reference)
    written_at = (written_at or datetime.datetime.now()).astimezone()
    writer = _Writer(report, dataset, facts, written_at, radiograph, picture)
    stem = Path(name).name if name else file_stem(result.source)
    contents: dict[Path, bytes] = {}
    for kind in dict.fromkeys(kinds):
        for ending, content in zip(ENDINGS[kind], writer.files(kind), strict=False):
            contents[Path(folder) / f"{stem}{ending}"] = content
    for path, content in contents.items():
        replace_file(path, content)
    return [*contents]


def _with_source(result: Result, facts: StudyFacts, sop_class_uid: str) -> Result:
    """Returns a result with the side and the UIDs of its source, where it has no UIDs.

    Raises:
        InputError: the result is that of another radiograph.
    """
    if result.study is None:
        study = Study(facts.study_uid, facts.series_uid, facts.instance_uid, sop_class_uid)
        return dataclasses.replace(result, study=study, side=result.side or facts.side)
    read_uid = result.study.sop_instance_uid
    if read_uid and read_uid != facts.instance_uid:
        raise InputError(
            f"{result.source}: the result is of the radiograph {read_uid}, and the source is "
            f"{facts.instance_uid}; give the file that was read"
        )
    return result


class _Writer:
    """Makes the files of one report."""

    def __init__(
        self,
        report: BoneAgeReport,
        source: "Dataset | None",
        facts: StudyFacts,
        written_at: datetime.datetime,
        radiograph: np.ndarray | None,
        picture: np.ndarray | None,
    ):
        self._report, self._written_at = report, written_at
        self._source, self._facts = source, facts
        self._picture = None if picture is None else require_picture(picture)
        self._shown = self._picture
        if picture is None and radiograph is not None:
            self._shown = _as_picture(radiograph)

    def files(self, kind: str) -> list[bytes]:
        """Returns the contents of the files of one kind, in the order of `ENDINGS`."""
        makers: dict[str, Callable[[], list[bytes]]] = {
            "sr": self._structured_report,
            "sc": self._secondary_capture,
            "pdf": self._pdf,
            "fhir": self._fhir,
            "json": self._json,
            "png": self._png,
        }
        return makers[kind]()

    def _structured_report(self) -> list[bytes]:
        document = make_structured_report(self._report, self._dicom(), self._written_at)
        return [dicom_objects.to_bytes(document)]

    def _secondary_capture(self) -> list[bytes]:
        capture = make_secondary_capture(
            self._report, self._picture_or_page(), self._dicom(), self._written_at
        )
        return [dicom_objects.to_bytes(capture)]

    def _pdf(self) -> list[bytes]:
        pdf = page_as_pdf(self._page(), self._written_at)
        if self._source is None:
            return [pdf]
        from bone_age_tf.clinical.encapsulated_pdf import make_encapsulated_pdf

        document = make_encapsulated_pdf(self._report, pdf, self._source, self._written_at)
        return [pdf, dicom_objects.to_bytes(document)]

    def _fhir(self) -> list[bytes]:
        bundle = make_fhir_bundle(self._report, self._facts, self._written_at)
        return [_json_bytes(bundle)]

    def _json(self) -> list[bytes]:
        return [_json_bytes(self._report.to_json_object(self._written_at))]

    def _png(self) -> list[bytes]:
        buffer = io.BytesIO()
        Image.fromarray(self._picture_or_page()).save(buffer, format="png")
        return [buffer.getvalue()]

    def _picture_or_page(self) -> np.ndarray:
        if self._picture is not None:
            return self._picture
        return page_as_picture(self._page())

    def _page(self) -> "Figure":
        return draw_page(self._report, self._shown, self._facts, self._written_at)

    def _dicom(self) -> "Dataset":
        if self._source is None:
            raise InputError("a DICOM report needs a DICOM file as its source")
        return self._source


def _as_picture(radiograph: np.ndarray) -> np.ndarray:
    """Returns a radiograph [H, W], 0 to 255, as a picture [H, W, 3] uint8 of a limited size.

    Raises:
        InputError: it has another shape.
    """
    pixels = np.asarray(radiograph)
    if pixels.ndim != 2 or not pixels.size:
        raise InputError(f"the radiograph has shape {pixels.shape}; give [H, W]")
    image = Image.fromarray(np.clip(np.rint(pixels), 0, 255).astype(np.uint8)).convert("RGB")
    image.thumbnail((_MOST_PX, _MOST_PX), Image.Resampling.LANCZOS)
    return np.asarray(image)


def _json_bytes(content: object) -> bytes:
    return (json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()
