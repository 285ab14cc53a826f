"""Prepares a user's own radiographs: a CSV table beside PNG or JPEG files."""

import dataclasses
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from etils import epath

from bone_age_tf import schema
from bone_age_tf.data import radiograph, rows

_COLUMNS = rows.Columns("image", "sex", "age_months", "chronological_age_months", "split")
_TABLE = "radiographs.csv"


@dataclasses.dataclass(eq=False)
class Config(tfds.core.BuilderConfig):
    """Sizes of the stored images.

    Attributes:
        longer_side_px: larger images are shrunk to this longer side; None keeps every size.
    """

    longer_side_px: int | None = None


class Builder(tfds.core.GeneratorBasedBuilder):
    """Radiographs with sex and age, named by a CSV table in the manual directory.

    Attributes:
        notes: what the last preparation had to say: counts, images without a row, skipped rows.
            Also printed, and kept in `info.metadata["notes"]`.
    """

    # TFDS looks for these under the top-level package, which an editable install does not have.
    code_path = epath.Path(__file__)
    pkg_dir_path = code_path.parent

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "First version."}  # noqa: RUF012, the way of TFDS
    BUILDER_CONFIGS = [  # noqa: RUF012
        Config(name="px256", description="Longer side at most 256 px.", longer_side_px=256),
        Config(name="px512", description="Longer side at most 512 px.", longer_side_px=512),
        Config(name="full", description="Sizes as in the files."),
    ]
    DEFAULT_BUILDER_CONFIG_NAME = "px256"
    MANUAL_DOWNLOAD_INSTRUCTIONS = """\
Put a CSV table into the manual directory: its only .csv file, or radiographs.csv where there are
several. Its first line names the columns:

  image                     path of a PNG or JPEG file, from the folder of the table
  sex                       female or male (f or m)
  age_months                bone age in months
  chronological_age_months  age by birth date in months (the column or a cell may be absent)
  split                     train, validation or test (may be absent: train)
"""

    def __init__(
        self,
        *,
        skip_bad_rows: bool = False,
        skipped_csv: str | Path | None = None,
        **kwargs: Any,
    ):
        """Makes the builder.

        Args:
            skip_bad_rows: leave rows out that cannot be used instead of stopping at them.
            skipped_csv: where to list them; `<data_dir>/radiograph_folder/skipped.csv` by default.
            **kwargs: see `tfds.core.GeneratorBasedBuilder`.
        """
        super().__init__(**kwargs)
        options = {"skip_bad_rows": skip_bad_rows, "skipped_csv": skipped_csv}
        self._original_state.update(options)  # for pickling
        self._skip_bad_rows = skip_bad_rows
        self._skipped_csv = Path(skipped_csv or Path(self._data_dir_root, self.name, "skipped.csv"))
        self.notes: list[str] = []

    def _info(self) -> tfds.core.DatasetInfo:
        return self.dataset_info_from_configs(
            features=tfds.features.FeaturesDict(
                {
                    schema.IMAGE: tfds.features.Image(
                        shape=(None, None, 1), dtype=np.uint8, encoding_format="png"
                    ),
                    schema.IMAGE_ID: tfds.features.Text(),
                    schema.SEX: tfds.features.ClassLabel(names=schema.SEX_NAMES),
                    schema.AGE_MONTHS: tfds.features.Scalar(np.float32),
                    schema.CHRONOLOGICAL_AGE_MONTHS: tfds.features.Scalar(np.float32),
                }
            ),
            metadata=tfds.core.MetadataDict(),
        )

    def _split_generators(
        self, dl_manager: tfds.download.DownloadManager
    ) -> dict[str, Iterator[tuple[str, dict[str, Any]]]]:
        """Checks every row and image, then hands out the generators of splits that have rows.

        Raises:
            FileNotFoundError: there is no table; holds the instructions.
            rows.BadRowsError: rows cannot be used and are not to be skipped.
            ValueError: the table cannot be read, there are several, or it has no good row.
        """
        try:
            root = Path(dl_manager.manual_dir)
        except AssertionError as error:  # missing or empty; the message has the instructions
            raise FileNotFoundError(str(error)) from None
        self.notes = []
        path = self._find_table(root)
        table = rows.read_csv(path.read_bytes(), path.name)

        def find(image: str) -> Path | None:
            file = root / image
            return file if file.is_file() else None

        good_cells, problems = rows.check_cells(table, _COLUMNS, find, "the folder of the table")
        self._note_unused(root, {row.image_id for row in good_cells} | {p.image for p in problems})
        store = rows.PngStore(self.data_path)
        good, bad_images = rows.check_images(
            good_cells, store, self.builder_config.longer_side_px, path.name
        )
        problems = sorted(problems + bad_images, key=lambda problem: problem.line)
        if problems and not self._skip_bad_rows:
            raise rows.BadRowsError(problems)
        if self._skip_bad_rows:
            skipped = rows.write_skipped(self._skipped_csv, problems)
            self._say(f"{len(problems):,} rows skipped, listed in {skipped}")
            if not good:
                raise ValueError(f"{path.name}: no row can be used; {skipped} says why")
        splits: dict[str, list[tuple[rows.Row, tuple[int, int]]]] = {}
        for split in ("train", "validation", "test"):
            examples = [(row, key) for row, key in good if row.split == split]
            if examples:
                splits[split] = examples
                self._say(f"{split}: {len(examples):,} images")
        self.info.metadata.update(notes=self.notes, skipped_rows=len(problems))
        return {split: self._generate_examples(rows_, store) for split, rows_ in splits.items()}

    def _generate_examples(
        self, examples: list[tuple[rows.Row, tuple[int, int]]], store: rows.PngStore
    ) -> Iterator[tuple[str, dict[str, Any]]]:
        for row, key in examples:
            yield (
                row.image_id,
                {
                    schema.IMAGE: store.read(key),
                    schema.IMAGE_ID: row.image_id,
                    schema.SEX: row.sex,
                    schema.AGE_MONTHS: row.age_months,
                    schema.CHRONOLOGICAL_AGE_MONTHS: row.chronological_age_months,
                },
            )

    def _find_table(self, root: Path) -> Path:
        tables = sorted(
            path
            for path in root.iterdir()
            if path.suffix.lower() == ".csv" and path.is_file() and not path.name.startswith(".")
        )
        if not tables:
            raise FileNotFoundError(
                f"no .csv table in {root}\n\n{self.MANUAL_DOWNLOAD_INSTRUCTIONS}"
            )
        named = [path for path in tables if path.name == _TABLE]
        if len(tables) > 1 and not named:
            raise ValueError(
                f"{len(tables)} .csv files in {root}: {', '.join(path.name for path in tables)}; "
                f"rename the one to read {_TABLE}, or leave only one there"
            )
        return (named or tables)[0]

    def _note_unused(self, root: Path, named: set[str]) -> None:
        files = {(root / image).resolve() for image in named}
        unused = sum(
            path.suffix.lower() in radiograph.SUFFIXES
            and path.is_file()
            and path.resolve() not in files
            for path in root.rglob("*")
        )
        if unused:
            self._say(f"{unused:,} images in the folder have no row in the table and are unused")

    def _say(self, note: str) -> None:
        self.notes.append(note)
        print(f"{self.name}: {note}", file=sys.stderr)
