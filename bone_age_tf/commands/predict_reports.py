"""Reports of the radiographs that `--mode=predict` reads: the flags, the checks and the files."""

import itertools
import os
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from absl import flags

from bone_age_tf import schema
from bone_age_tf.clinical.report_kinds import (
    NEED_DICOM,
    REPORT_KINDS,
    SHOW_RADIOGRAPH,
    file_stem,
    report_names,
    require_report_packages,
)
from bone_age_tf.commands import shared_flags
from bone_age_tf.errors import (
    BoneAgeError,
    ConfigError,
    InputError,
    MissingExtraError,
    OutputError,
    RadiographError,
    require_known,
)
from bone_age_tf.extras import named_extras
from bone_age_tf.native_output import native_stderr_held_back

if TYPE_CHECKING:
    import numpy as np

    from bone_age_tf.inference.cases import Case
    from bone_age_tf.inference.result import Result
    from bone_age_tf.reader import Reader

DEFAULT_FOLDER: Final = "reports"
PAGE, EXPLANATION = "page", "explanation"
"""Values of `--report_picture`."""
_SHOWN: Final = 5
"""Number of radiographs without reports that the summary names."""
_MOST_BYTES: Final = 180
"""Maximum length of a name: file systems take 255 bytes, and endings and numbers are added."""
_UNSAFE: Final = re.compile(r"[^\w.-]+")
_READ_AGAIN: Final = ("sr", "sc", "pdf", "png")
"""Kinds whose files would be found as radiographs if they were written to the input's folder."""


def define_flags(values: flags.FlagValues) -> None:
    """Defines the flags of reports."""
    flags.DEFINE_list(
        "report",
        None,
        f"Reports to write for each radiograph, separated by commas: {', '.join(REPORT_KINDS)}. "
        "sr and sc (DICOM Structured Report and Secondary Capture) need DICOM files as input; sc "
        "and png are pictures, see --report_picture.",
        flag_values=values,
    )
    shared_flags.text(
        values,
        "report_dir",
        DEFAULT_FOLDER,
        "Folder of the reports; existing files of the same names are replaced.",
    )
    shared_flags.text(
        values,
        "report_picture",
        PAGE,
        f"What sc and png show, and pdf beside its texts: {PAGE}, the page of pdf, or "
        f"{EXPLANATION}, the picture of --mode=explain, which needs the extra explain and some "
        "seconds a radiograph.",
    )


class CaseReports:
    """Writes the reports of cases.

    Attributes:
        kinds: kinds of reports.
        folder: their folder.
        stems: name of the files of each case, without an ending.
        draw_fn: returns the picture of a case, [H, W, 3] uint8, or None; None for the page.
    """

    def __init__(
        self,
        kinds: Sequence[str],
        folder: str | Path,
        cases: Sequence["Case"],
        sds_reference: str = schema.BRUSH_FOUNDATION,
    ):
        """Names the files of all cases.

        Args:
            kinds: some of `clinical.REPORT_KINDS`.
            folder: folder of the reports.
            cases: all cases.
            sds_reference: reference of the standard deviation scores.
        """
        self.kinds, self.folder = tuple(dict.fromkeys(kinds)), Path(folder)
        self._reference = sds_reference
        self.stems = report_stems([case.image for case in cases])
        self.draw_fn: Callable[[Case], np.ndarray | None] | None = None

    def write(self, cases: Sequence["Case"], results: Sequence["Result"]) -> tuple[list[str], bool]:
        """Writes the reports of all radiographs that could be read.

        A radiograph that is not DICOM has no `sr` and no `sc`. A radiograph whose file has become
        unreadable, or to which no DICOM object can refer, has no reports.

        Args:
            cases: all cases.
            results: the result of each.

        Returns:
            Lines of a summary, and whether every report of every radiograph was written.

        Raises:
            MissingExtraError: a package is not installed.
            OSError: a file cannot be written.
        """
        from bone_age_tf.inference.result import FAILED
        from bone_age_tf.progress import shown

        written: list[Path] = []
        problems: list[str] = []
        reported, unreadable, plain = 0, 0, 0
        work = [*zip(cases, results, self.stems, strict=True)]
        for case, result, name in shown(work, len(work), "reports written", sys.stderr):
            if result.status == FAILED:
                unreadable += 1
                continue
            try:
                paths = self._write_case(case, result, name)
            except (MissingExtraError, OutputError):
                raise
            except BoneAgeError as error:
                text = str(error)
                problems.append(text if case.image in text else f"{case.image}: {text}")
                continue
            written += paths
            reported += bool(paths)
            plain += result.study is None and bool(self._refused(result))
        lines = [self._summary(reported, written)]
        if unreadable:
            lines.append(f"  {unreadable} without a report: the radiograph could not be read")
        if plain:
            lines.append(f"  {plain} without {' and '.join(_dicom_kinds(self.kinds))}: not DICOM")
        lines += [f"  no report: {problem}" for problem in problems[:_SHOWN]]
        if len(problems) > _SHOWN:
            lines.append(f"  and {len(problems) - _SHOWN} more without a report")
        return lines, not (unreadable or plain or problems)

    def _write_case(self, case: "Case", result: "Result", name: str) -> list[Path]:
        from bone_age_tf.clinical.report_files import write_reports
        from bone_age_tf.images.dicom_tags import quiet
        from bone_age_tf.radiograph import Radiograph

        refused = self._refused(result)
        kinds = [kind for kind in self.kinds if kind not in refused]
        if not kinds:
            return []
        data = case.read_bytes()
        pixels = picture = None
        if any(kind in SHOW_RADIOGRAPH for kind in kinds):
            pixels = Radiograph.open(data, name=case.image).pixels
            picture = None if self.draw_fn is None else self.draw_fn(case)
        with quiet():  # pydicom warns of values that are not valid and are left out
            return write_reports(
                kinds,
                result,
                None if result.study is None else data,
                self.folder,
                reference=self._reference,
                radiograph=pixels,
                picture=picture,
                name=name,
            )

    def _refused(self, result: "Result") -> list[str]:
        return [] if result.study is not None else _dicom_kinds(self.kinds)

    def _summary(self, reported: int, written: Sequence[Path]) -> str:
        if reported == 1:
            return f"Reports in {self.folder}: {', '.join(path.name for path in written)}"
        return (
            f"Reports ({', '.join(self.kinds)}) of {reported} radiographs: {len(written)} files in "
            f"{self.folder}"
        )


def plan_reports(values: flags.FlagValues, cases: Sequence["Case"]) -> CaseReports | None:
    """Checks the flags of reports before any radiograph is read.

    Args:
        values: the flags.
        cases: all cases.

    Returns:
        What writes the reports; None without `--report`.

    Raises:
        ConfigError: a kind is unknown, or the flags contradict each other.
        InputError: no radiograph is DICOM for `sr` or `sc`, or a report would replace an input.
        MissingExtraError: a package is not installed.
        OutputError: the folder cannot be written.
    """
    kinds = [kind.strip().lower() for kind in values.report or () if kind.strip()]
    if not kinds:
        for name in ("report_dir", "report_picture"):
            if values[name].present:
                raise ConfigError(
                    f"--{name} has no effect without --report={','.join(REPORT_KINDS)}"
                )
        return None
    require_known("report_picture", values.report_picture, (PAGE, EXPLANATION))
    if values.report_picture == EXPLANATION and values.server:
        raise ConfigError(
            "--report_picture=explanation needs the network, which a server does not give"
        )
    from bone_age_tf.files import require_writable_folder

    require_report_packages(kinds)
    needing = _dicom_kinds(kinds)
    if needing and values.server:
        raise ConfigError(
            f"--report={','.join(needing)} has no effect with --server: the report refers to a "
            f"DICOM file, and a server reads PNG and JPEG only; {_others(kinds)}"
        )
    if needing and not any(_is_dicom(case) for case in cases):
        raise InputError(
            f"{values.input}: --report={','.join(needing)} needs DICOM files, to whose patient and "
            f"study the report refers, and there are none; give the DICOM file, or {_others(kinds)}"
        )
    reports = CaseReports(kinds, values.report_dir, cases, values.sds_reference)
    _refuse_to_replace(reports, values, cases)
    require_writable_folder(reports.folder)
    return reports


def explain_pictures(
    reports: CaseReports | None, values: flags.FlagValues, reader: "Reader"
) -> None:
    """Has the reports show the pictures of explanations if the flags ask for it.

    Raises:
        MissingExtraError: a package of the extra `explain` is not installed.
        ModelError: the export holds no Keras network.
    """
    if reports is None or values.report_picture != EXPLANATION:
        return
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with named_extras("--report_picture=explanation"), native_stderr_held_back():
        from bone_age_tf.explain.explainer import Explainer

        reports.draw_fn = Explainer(reader).draw


def report_stems(images: Sequence[str]) -> list[str]:
    """Returns a name without an ending for the reports of each image, safe as a file name.

    The name is that of the image. Images of the same name are named by their whole path from the
    folder that they have in common, and the same image again has a number. Names differ by more
    than upper and lower case.

    Args:
        images: files as the user wrote them.
    """
    stems = [_safe(file_stem(image)) for image in images]
    counts = Counter(map(_key, stems))
    paths = [image.replace("\\", "/") for image in images]
    common = _common_folder(paths)
    names: list[str] = []
    taken: set[str] = set()
    for stem, path in zip(stems, paths, strict=True):
        base = stem if counts[_key(stem)] == 1 else _safe("/".join(Path(path).parts[common:]))
        name, number = base, 1
        while _key(name) in taken:
            number += 1
            name = f"{base}-{number}"
        taken.add(_key(name))
        names.append(name)
    return names


def _common_folder(paths: Sequence[str]) -> int:
    """Returns how many leading folders all paths have in common."""
    folders = [Path(path).parts[:-1] for path in paths]
    levels = itertools.takewhile(lambda level: len({*level}) == 1, zip(*folders, strict=False))
    return len([*levels])


def _safe(name: str) -> str:
    """Returns a name of letters, digits and `_.-`, cut to `_MOST_BYTES` from its end."""
    safe = _UNSAFE.sub("_", name.replace("/", "-"))
    end = safe.encode("utf-8", "ignore")[-_MOST_BYTES:].decode("utf-8", "ignore")
    return end.strip("._-") or "radiograph"


def _key(name: str) -> str:
    """Returns what two names must not have in common: `a.fhir` and `a` have a file in common."""
    key = name.casefold()
    while key.endswith(".fhir"):
        key = key.removesuffix(".fhir")
    return key


def _dicom_kinds(kinds: Iterable[str]) -> list[str]:
    return [kind for kind in kinds if kind in NEED_DICOM]


def _others(kinds: Sequence[str]) -> str:
    """Returns which reports can be written for PNG and JPEG files, as a remedy."""
    needing = _dicom_kinds(REPORT_KINDS)
    others = [kind for kind in kinds if kind not in needing]
    others = others or [kind for kind in REPORT_KINDS if kind not in needing]
    return f"write --report={','.join(others)} for PNG and JPEG files"


def _is_dicom(case: "Case") -> bool:
    from bone_age_tf.images import dicom

    suffix = Path(case.member or case.path.name).suffix
    try:
        if case.member is not None:
            return dicom.is_dicom(case.read_bytes(), suffix)
        with case.path.open("rb") as file:
            return dicom.is_dicom(file.read(dicom.HEAD_BYTES), suffix)
    except (OSError, ValueError, RadiographError):  # its row in the table has the reason
        return False


def _refuse_to_replace(
    reports: CaseReports, values: flags.FlagValues, cases: Sequence["Case"]
) -> None:
    """Raises an error if a report would replace an input or the table, or be read by the next run.

    Raises:
        InputError: choose another folder.
    """
    folder, source = reports.folder.resolve(), Path(values.input).resolve()
    used = {case.path.resolve() for case in cases} | {source, Path(values.output).resolve()}
    for name in reports.stems:
        for file in report_names(reports.kinds, name):
            if (folder / file).resolve() in used:
                raise InputError(
                    f"{reports.folder / file}: the report would replace a file of this command; "
                    "name another folder with --report_dir"
                )
    is_below = source.is_dir() and folder.is_relative_to(source)
    if is_below and any(kind in _READ_AGAIN for kind in reports.kinds):
        raise InputError(
            f"{reports.folder}: this folder lies in the input {values.input}, so that the next "
            "command would read the reports as radiographs; name another with --report_dir"
        )
