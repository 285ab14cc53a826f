"""Which DICOM files are read, and why the others are not.

python benchmarks/dicom.py
python benchmarks/dicom.py --input=FOLDER

Reads the test files that pydicom is installed with, or those of a folder. For each file the table
has the transfer syntax, the modality, and whether it is read as a radiograph or the reason why not.
Most of these files are of other modalities; the last column says whether the pixel data of such a
file can be decoded.
"""

import argparse
import collections
import warnings
from pathlib import Path

from bone_age_tf.errors import RadiographError
from bone_age_tf.images import dicom
from bone_age_tf.images.dicom_tags import Tags

READ = "read"


def outcome(path: Path, modalities: tuple[str, ...]) -> str:
    """Returns `READ` with the size in pixels, or the reason why a file is not read."""
    try:
        height, width = dicom.read_dicom(path, modalities=modalities).pixels.shape
    except RadiographError as error:
        return error.reason
    return f"{READ}, {width} x {height}"


def describe(path: Path) -> list[str]:
    """Returns the row of a file."""
    import pydicom

    dataset = pydicom.dcmread(path, force=True, stop_before_pixels=True)
    syntax = getattr(dataset, "file_meta", {}).get("TransferSyntaxUID")
    modality = Tags(dataset).text("Modality")
    as_radiograph = outcome(path, dicom.MODALITIES)
    is_other = modality and modality not in dicom.MODALITIES
    decoded = outcome(path, (modality,)) if is_other else ""
    return [path.name, syntax.name if syntax else "", modality, as_radiograph, decoded]


def main() -> None:
    """Prints the table and the number of files with each outcome."""
    import pydicom

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    of_pydicom = Path(pydicom.__file__).parent / "data" / "test_files"
    parser.add_argument("--input", type=Path, default=of_pydicom, help="default: pydicom's files")
    options = parser.parse_args()
    warnings.simplefilter("ignore")  # some of the files are malformed on purpose
    rows = [
        describe(path)
        for path in sorted(options.input.glob("*"))
        if path.is_file() and dicom.is_dicom(path.read_bytes(), path.suffix)
    ]
    print("| file | transfer syntax | modality | as a radiograph | pixel data |")
    print("|---|---|---|---|---|")
    for row in rows:
        print(f"| {' | '.join(row)} |")
    counts = collections.Counter(row[3].startswith(READ) for row in rows)
    decoded = sum(row[3].startswith(READ) or row[4].startswith(READ) for row in rows)
    print(f"\n{len(rows)} files: {counts[True]} read, {counts[False]} not; {decoded} decoded")


if __name__ == "__main__":
    main()
