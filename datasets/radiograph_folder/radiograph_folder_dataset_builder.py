"""Prepares a user's own radiographs: a CSV table beside PNG, JPEG or DICOM files."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import tensorflow_datasets as tfds
from etils import epath

from bone_age_tf.data import builders, file_names, png_store, rows
from bone_age_tf.errors import DataError, MissingFilesError
from bone_age_tf.images import dicom, reading

_COLUMNS = rows.Columns("image", "sex", "age_months", "chronological_age_months", "split")
_TABLE = "radiographs.csv"


class Builder(builders.TableBuilder):
    """Radiographs with sex and age, named by a CSV table in the manual directory.

    Attributes:
        notes: notes about the last preparation: counts, images without a row, skipped rows. Also
            printed, and stored in `info.metadata["notes"]`.
    """

    # TFDS looks for these under the top-level package, which an editable install does not have.
    code_path = epath.Path(__file__)
    pkg_dir_path = code_path.parent

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "First version."}  # noqa: RUF012, the way of TFDS
    BUILDER_CONFIGS = builders.size_configs()
    DEFAULT_BUILDER_CONFIG_NAME = "px256"
    MANUAL_DOWNLOAD_INSTRUCTIONS = """\
Put a CSV table into the manual directory: its only .csv file, or radiographs.csv where there are
several. Its first line names the columns:

  image                     path of a PNG, JPEG or DICOM file, from the folder of the table
  sex                       female or male (f or m)
  age_months                bone age in months
  chronological_age_months  age by birth date in months (the column or a cell may be absent)
  split                     train, validation or test (may be absent: train)
"""

    def _split_generators(
        self, dl_manager: tfds.download.DownloadManager
    ) -> dict[str, Iterator[tuple[str, dict[str, Any]]]]:
        """Checks every row and image, then returns the generators of the splits with rows.

        Raises:
            FileNotFoundError: there is no table; holds the instructions.
            rows.BadRowsError: rows cannot be used and are not to be skipped.
            ValueError: the table cannot be read, there are several, or it has no good row.
        """
        root = self._manual_folder(dl_manager)
        self.notes = []
        path = self._find_table(root)
        table = rows.read_csv(path.read_bytes(), path.name)

        files = file_names.NamedFiles(root)
        good_cells, problems = rows.check_cells(
            table, _COLUMNS, files.find, "the folder of the table", files.similar
        )
        named = [row.image_id for row in good_cells] + [problem.image for problem in problems]
        self._note_unused(root, {path for path in map(files.find, named) if path is not None})
        store = png_store.PngStore(self.data_path)
        contradictions: list[str] = []
        good, bad_images = rows.check_images(
            good_cells,
            store,
            self.builder_config.longer_side_px,
            path.name,
            notes=contradictions,
        )
        problems = sorted(problems + bad_images, key=lambda problem: problem.line)
        self._stop_or_skip(problems)
        for note in contradictions:
            self._add_note(note)
        self._require_rows(path.name, good)
        splits: dict[str, list[builders.Example]] = {}
        for split in ("train", "validation", "test"):
            examples = [(row, key) for row, key in good if row.split == split]
            if examples:
                splits[split] = examples
                self._add_note(f"{split}: {len(examples):,} images")
        return self._generators(splits, store, len(problems))

    def _find_table(self, root: Path) -> Path:
        tables = sorted(
            path
            for path in root.iterdir()
            if path.suffix.lower() == ".csv" and path.is_file() and not path.name.startswith(".")
        )
        if not tables:
            raise MissingFilesError(
                f"no .csv table in {root}\n\n{self.MANUAL_DOWNLOAD_INSTRUCTIONS}"
            )
        named = [path for path in tables if path.name == _TABLE]
        if len(tables) > 1 and not named:
            raise DataError(
                f"{len(tables)} .csv files in {root}: {', '.join(path.name for path in tables)}; "
                f"rename the one to read {_TABLE}, or leave only one there"
            )
        return (named or tables)[0]

    def _note_unused(self, root: Path, named: set[Path]) -> None:
        files = {path.resolve() for path in named}
        unused = sum(
            path.is_file() and path.resolve() not in files and _is_radiograph(path)
            for path in root.rglob("*")
        )
        if unused:
            self._add_note(
                f"{unused:,} images in the folder have no row in the table and are unused"
            )


def _is_radiograph(path: Path) -> bool:
    """Returns whether a file is an image by its name, or DICOM by its content."""
    suffix = path.suffix.lower()
    if suffix in reading.SUFFIXES:
        return True
    with path.open("rb") as file:
        return dicom.is_dicom(file.read(dicom.HEAD_BYTES), suffix)
