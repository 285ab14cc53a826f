"""Prepares the RSNA Pediatric Bone Age Challenge 2017."""

import dataclasses
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from etils import epath

from bone_age_tf import schema
from bone_age_tf.data import rows

from . import layout


@dataclasses.dataclass(eq=False)
class Config(tfds.core.BuilderConfig):
    """Sizes of the stored images.

    Attributes:
        longer_side_px: larger images are shrunk to this longer side; None keeps every size.
    """

    longer_side_px: int | None = None


class Builder(tfds.core.GeneratorBasedBuilder):
    """Hand radiographs with sex and bone age, from files that the user downloads.

    Attributes:
        notes: what the last preparation had to say: partial copies, splits left out, images
            without a row, skipped rows. Also printed, and kept in `info.metadata["notes"]`.
    """

    # TFDS looks for these under the top-level package, which an editable install does not have.
    code_path = epath.Path(__file__)
    pkg_dir_path = code_path.parent

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "First version."}  # noqa: RUF012, the way of TFDS
    BUILDER_CONFIGS = [  # noqa: RUF012
        Config(name="px256", description="Longer side at most 256 px.", longer_side_px=256),
        Config(name="px512", description="Longer side at most 512 px.", longer_side_px=512),
        Config(name="full", description="Sizes as published."),
    ]
    DEFAULT_BUILDER_CONFIG_NAME = "px256"
    MANUAL_DOWNLOAD_INSTRUCTIONS = """\
Put these files into the manual directory, zipped as downloaded or unpacked:

  train (required)
    boneage-training-dataset.zip, or the folder boneage-training-dataset
    boneage-training-dataset.csv, or train.csv
  validation (optional)
    boneage-validation-dataset.zip, or boneage-validation-dataset-1.zip and
      boneage-validation-dataset-2.zip, or folders of these names
    Validation Dataset.csv
  test (optional)
    Bone Age Test Set.zip, or one of the folders Bone Age Test Set,
      Test Set Images and boneage-test-dataset
    Bone age ground truth.xlsx, or Bone age ground truth.csv

RSNA has all of them, after its terms of use are accepted:
  https://www.rsna.org/rsnai/ai-image-challenge/rsna-pediatric-bone-age-challenge-2017
  (unpack its archives "Bone Age Training Set" and "Bone Age Validation Set" once, since they
  hold the archives named above)
Kaggle has the training images and table, and the test images without their ages:
  https://www.kaggle.com/datasets/kmader/rsna-bone-age
  (unpack its one archive)
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
            skipped_csv: where to list them; `<data_dir>/rsna_bone_age/skipped.csv` by default.
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
            homepage="https://www.rsna.org/rsnai/ai-image-challenge/"
            "rsna-pediatric-bone-age-challenge-2017",
            metadata=tfds.core.MetadataDict(),
        )

    def _split_generators(
        self, dl_manager: tfds.download.DownloadManager
    ) -> dict[str, Iterator[tuple[str, dict[str, Any]]]]:
        """Checks every row and image of every split, then hands out the generators.

        Raises:
            FileNotFoundError: files of the training split are missing; holds the instructions.
            rows.BadRowsError: rows cannot be used and are not to be skipped.
            ValueError: a table or an archive cannot be read, or a split has no good row.
        """
        try:
            root = Path(dl_manager.manual_dir)
        except AssertionError as error:  # missing or empty; the message has the instructions
            raise FileNotFoundError(str(error)) from None
        self.notes = []
        store = rows.PngStore(self.data_path)
        splits: dict[str, list[tuple[rows.Row, tuple[int, int]]]] = {}
        problems: list[rows.Problem] = []
        with layout.ManualFolder(root) as folder:
            for files in layout.SPLITS:
                cells = self._check_cells(folder, files)
                if cells is None:
                    continue
                good, bad_images = rows.check_images(
                    cells[0], store, self.builder_config.longer_side_px, files.split
                )
                bad = sorted(cells[1] + bad_images, key=lambda problem: problem.line)
                problems += bad
                splits[files.split] = good
                self._note_counts(files, len(good), len(bad))
        if problems and not self._skip_bad_rows:
            raise rows.BadRowsError(problems)
        if self._skip_bad_rows:
            path = rows.write_skipped(self._skipped_csv, problems)
            self._say(f"{len(problems):,} rows skipped, listed in {path}")
            for split, good in splits.items():
                if not good:
                    raise ValueError(f"{split}: no row can be used; {path} says why")
        self.info.metadata.update(notes=self.notes, skipped_rows=len(problems))
        return {split: self._generate_examples(good, store) for split, good in splits.items()}

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

    def _check_cells(
        self, folder: layout.ManualFolder, files: layout.SplitFiles
    ) -> tuple[list[rows.Row], list[rows.Problem]] | None:
        """Returns a split's good rows and problems, or None where its files are absent."""
        images, table = folder.find_images(files), folder.read_table(files)
        if not images.sources or table is None:
            self._leave_out(folder, files, images, table)
            return None
        good, bad = rows.check_cells(table, files.columns, images.sources.get, images.place)
        if images.repeated:
            self._say(
                f"{files.split}: {images.repeated:,} images of {images.place} are there more than "
                "once; the first of each is used"
            )
        named = {row.image_id for row in good} | {problem.image for problem in bad}
        unused = len(images.sources.keys() - named)
        if unused:
            self._say(
                f"{files.split}: {unused:,} images of {images.place} have no row in {table.name} "
                "and are unused"
            )
        return good, bad

    def _leave_out(
        self,
        folder: layout.ManualFolder,
        files: layout.SplitFiles,
        images: layout.Images,
        table: rows.Table | None,
    ) -> None:
        """Says why a split is left out; raises FileNotFoundError for the training split."""
        names = " or ".join(" and ".join(f"{name}[.zip]" for name in n) for n in files.images)
        missing = []
        if not images.sources:
            missing.append(f"images ({names})")
        if table is None:
            missing.append(f"table ({' or '.join(files.tables)})")
        text = f"no {' and no '.join(missing)}"
        if files.split == "train":
            raise FileNotFoundError(
                f"train: {text} in {folder.root}\n\n{self.MANUAL_DOWNLOAD_INSTRUCTIONS}"
            )
        self._say(f"{files.split}: left out: {text} in the manual directory")

    def _note_counts(self, files: layout.SplitFiles, good: int, bad: int) -> None:
        text = f"{files.split}: {good:,} of {files.published:,} published images"
        if good < files.published:
            text += ": a partial copy"
        elif good > files.published:
            text += ": more than were published"
        self._say(text + (f" ({bad:,} rows cannot be used)" if bad else ""))

    def _say(self, note: str) -> None:
        self.notes.append(note)
        print(f"{self.name}: {note}", file=sys.stderr)
