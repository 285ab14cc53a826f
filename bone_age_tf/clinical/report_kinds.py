"""Kinds of reports, the names of their files and the packages that they need.

Apart from `report_files`, which writes them, so that the command starts without what it needs for
that.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from bone_age_tf.errors import require_known
from bone_age_tf.extras import require_packages
from bone_age_tf.images import dicom, reading

REPORT_KINDS: Final = {
    "sr": "DICOM Structured Report (TID 1500)",
    "sc": "DICOM Secondary Capture of the picture, or of the page without one",
    "pdf": "page as a PDF file, and as an Encapsulated PDF if the source is DICOM",
    "fhir": "FHIR R4 transaction Bundle with DiagnosticReport and Observations",
    "json": "JSON object by result.schema.json",
    "png": "the picture, or the page without one",
}
"""What each kind of report writes."""
NEED_DICOM: Final = ("sr", "sc")
"""Kinds that refer to the DICOM object of the radiograph and cannot be without one."""
SHOW_RADIOGRAPH: Final = ("sc", "pdf", "png")
"""Kinds that show the radiograph where it is given."""
ENDINGS: Final = {
    "sr": (".sr.dcm",),
    "sc": (".sc.dcm",),
    "pdf": (".pdf", ".pdf.dcm"),
    "fhir": (".fhir.json",),
    "json": (".json",),
    "png": (".png",),
}
"""Endings of the files of each kind; the second one of a PDF is for DICOM sources alone."""
_PACKAGES: Final = {
    "sr": ("pydicom", "highdicom"),
    "sc": ("pydicom", "highdicom", "matplotlib"),
    "pdf": ("matplotlib",),
    "png": ("matplotlib",),
}
"""Packages of extras that each kind needs; DICOM sources need pydicom too."""


def file_stem(source: str) -> str:
    """Returns the name of a radiograph's reports: its file's without the extension of an image.

    Files of a PACS are often named by a UID, whose last number is no extension.
    """
    name = Path(source).name
    suffix = Path(name).suffix
    is_known = suffix.lower() in (*reading.SUFFIXES, *dicom.SUFFIXES)
    return name.removesuffix(suffix) if is_known else name


def report_names(kinds: Sequence[str], name: str) -> list[str]:
    """Returns the names of all files that kinds of reports may have.

    Args:
        kinds: some of `REPORT_KINDS`.
        name: the name without an ending.
    """
    return [f"{name}{ending}" for kind in kinds for ending in ENDINGS[kind]]


def require_report_packages(kinds: Sequence[str]) -> None:
    """Checks that the packages are installed that kinds of reports need.

    Raises:
        MissingExtraError: a package is not installed; the message names all extras that are needed.
    """
    for kind in kinds:
        require_known("kind of report", kind, REPORT_KINDS)
    packages = [package for kind in kinds for package in _PACKAGES.get(kind, ())]
    require_packages(f"a report of the kind {', '.join(kinds)}", packages)
