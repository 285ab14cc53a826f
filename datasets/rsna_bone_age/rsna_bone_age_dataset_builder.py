"""Prepares the RSNA Pediatric Bone Age Challenge 2017."""

from collections.abc import Iterator
from typing import Any

import tensorflow_datasets as tfds
from etils import epath

from bone_age_tf.data import builders, png_store, rows
from bone_age_tf.errors import MissingFilesError

from . import layout


class Builder(builders.TableBuilder):
    """Hand radiographs with sex and bone age, from files that the user downloads.

    Attributes:
        notes: notes about the last preparation: partial copies, missing splits, images without a
            row, skipped rows. Also printed, and stored in `info.metadata["notes"]`.
    """

    # TFDS looks for these under the top-level package, which an editable install does not have.
    code_path = epath.Path(__file__)
    pkg_dir_path = code_path.parent

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "First version."}  # noqa: RUF012, the way of TFDS
    BUILDER_CONFIGS = builders.size_configs()
    DEFAULT_BUILDER_CONFIG_NAME = "px256"
    HOMEPAGE = (
        "https://www.rsna.org/rsnai/ai-image-challenge/rsna-pediatric-bone-age-challenge-2017"
    )
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

    def _split_generators(
        self, dl_manager: tfds.download.DownloadManager
    ) -> dict[str, Iterator[tuple[str, dict[str, Any]]]]:
        """Checks every row and image of every split, then returns the generators.

        Raises:
            FileNotFoundError: files of the training split are missing; holds the instructions.
            rows.BadRowsError: rows cannot be used and are not to be skipped.
            ValueError: a table or an archive cannot be read, or a split has no good row.
        """
        root = self._manual_folder(dl_manager)
        self.notes = []
        store = png_store.PngStore(self.data_path)
        splits: dict[str, list[builders.Example]] = {}
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
        self._stop_or_skip(problems)
        for split, good in splits.items():
            self._require_rows(split, good)
        return self._generators(splits, store, len(problems))

    def _check_cells(
        self, folder: layout.ManualFolder, files: layout.SplitFiles
    ) -> tuple[list[rows.Row], list[rows.Problem]] | None:
        """Returns a split's valid rows and problems, or None if its files are missing."""
        images, table = folder.find_images(files), folder.read_table(files)
        if not images.sources or table is None:
            self._leave_out(folder, files, images, table)
            return None
        good, bad = rows.check_cells(
            table, files.columns, images.sources.get, images.place, images.similar
        )
        if images.repeated:
            self._add_note(
                f"{files.split}: {images.repeated:,} images of {images.place} are there more than "
                "once; the first of each is used"
            )
        named = {row.image_id for row in good} | {problem.image for problem in bad}
        unused = len(images.sources.keys() - named)
        if unused:
            self._add_note(
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
        """Adds a note about a missing split; raises FileNotFoundError for the training split."""
        names = " or ".join(" and ".join(f"{name}[.zip]" for name in n) for n in files.images)
        missing = []
        if not images.sources:
            missing.append(f"images ({names})")
        if table is None:
            missing.append(f"table ({' or '.join(files.tables)})")
        text = f"no {' and no '.join(missing)}"
        if files.split == "train":
            raise MissingFilesError(
                f"train: {text} in {folder.root}\n\n{self.MANUAL_DOWNLOAD_INSTRUCTIONS}"
            )
        self._add_note(f"{files.split}: left out: {text} in the manual directory")

    def _note_counts(self, files: layout.SplitFiles, good: int, bad: int) -> None:
        text = f"{files.split}: {good:,} of {files.published:,} published images"
        if good < files.published:
            text += ": a partial copy"
        elif good > files.published:
            text += ": more than were published"
        self._add_note(text + (f" ({bad:,} rows cannot be used)" if bad else ""))
