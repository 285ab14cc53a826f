"""Base classes of the TFDS builders: features of the schema, and builders of checked tables."""

import dataclasses
import functools
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import tensorflow_datasets as tfds

from bone_age_tf import schema
from bone_age_tf.data import png_store, rows
from bone_age_tf.errors import DataError, MissingFilesError

Example = tuple[rows.Row, tuple[int, int]]
"""A valid row and the key of its image in the store."""


def radiograph_features() -> tfds.features.FeaturesDict:
    """Returns the features of every dataset, see `schema.FEATURES`."""
    return tfds.features.FeaturesDict(
        {
            schema.IMAGE: tfds.features.Image(
                shape=(None, None, 1), dtype=np.uint8, encoding_format="png"
            ),
            schema.IMAGE_ID: tfds.features.Text(),
            schema.SEX: tfds.features.ClassLabel(names=schema.SEX_NAMES),
            schema.AGE_MONTHS: tfds.features.Scalar(np.float32),
            schema.CHRONOLOGICAL_AGE_MONTHS: tfds.features.Scalar(np.float32),
        }
    )


@dataclasses.dataclass(eq=False)
class SizeConfig(tfds.core.BuilderConfig):
    """Builder config of the size of the stored images.

    Attributes:
        longer_side_px: maximum longer side in pixels, to which larger images are shrunk; None
            keeps all sizes.
    """

    longer_side_px: int | None = None


def size_configs() -> list[SizeConfig]:
    """Returns the configs px256 (the default), px512 and full."""
    return [
        SizeConfig(name="px256", description="Longer side at most 256 px.", longer_side_px=256),
        SizeConfig(name="px512", description="Longer side at most 512 px.", longer_side_px=512),
        SizeConfig(name="full", description="Sizes as in the files."),
    ]


class TableBuilder(tfds.core.GeneratorBasedBuilder, skip_registration=True):  # type: ignore[call-arg]
    """Builder of a dataset from the user's files, with a table that is checked before use.

    Attributes:
        notes: notes about the last preparation. They are also printed, and stored in
            `info.metadata["notes"]`.
    """

    HOMEPAGE: ClassVar[str | None] = None

    def __init__(
        self,
        *,
        skip_bad_rows: bool = False,
        skipped_csv: str | Path | None = None,
        with_beam: bool = False,
        **kwargs: Any,
    ):
        """Creates the builder.

        Args:
            skip_bad_rows: skip rows that cannot be used, instead of raising an error.
            skipped_csv: file that lists the skipped rows; `<data_dir>/<name>/skipped.csv` by
                default.
            with_beam: write the examples with Apache Beam, on `DownloadConfig.beam_runner`; they
                and their order are the same.
            **kwargs: see `tfds.core.GeneratorBasedBuilder`.
        """
        super().__init__(**kwargs)
        options = {
            "skip_bad_rows": skip_bad_rows,
            "skipped_csv": skipped_csv,
            "with_beam": with_beam,
        }
        self._original_state.update(options)  # for pickling
        self._with_beam = with_beam
        self._skip_bad_rows = skip_bad_rows
        self._skipped_csv = Path(skipped_csv or Path(self._data_dir_root, self.name, "skipped.csv"))
        self.notes: list[str] = []

    def _info(self) -> tfds.core.DatasetInfo:
        return self.dataset_info_from_configs(
            features=radiograph_features(),
            homepage=self.HOMEPAGE,
            metadata=tfds.core.MetadataDict(),
        )

    def _manual_folder(self, dl_manager: tfds.download.DownloadManager) -> Path:
        """Returns the user's folder; raises FileNotFoundError with the instructions."""
        try:
            return Path(dl_manager.manual_dir)
        except (
            AssertionError
        ) as error:  # the folder is missing or empty; the message has the instructions
            raise MissingFilesError(str(error)) from None

    def _stop_or_skip(self, problems: Sequence[rows.Problem]) -> None:
        """Raises BadRowsError if there are bad rows, or writes the list of skipped rows."""
        if problems and not self._skip_bad_rows:
            raise rows.BadRowsError(problems)
        if self._skip_bad_rows:
            path = rows.write_skipped(self._skipped_csv, problems)
            self._add_note(f"{len(problems):,} rows skipped, listed in {path}")

    def _require_rows(self, name: str, good: Sequence[Example]) -> None:
        if not good:
            raise DataError(f"{name}: no row can be used; {self._skipped_csv} lists the reasons")

    def _generators(
        self, splits: dict[str, list[Example]], store: png_store.PngStore, skipped: int
    ) -> dict[str, Any]:
        self.info.metadata.update(notes=self.notes, skipped_rows=skipped)
        if self._with_beam:
            make = functools.partial(_make_example, store=store)
            return {split: in_beam(good, make) for split, good in splits.items()}
        return {split: self._generate_examples(good, store) for split, good in splits.items()}

    def _generate_examples(
        self, examples: list[Example], store: png_store.PngStore
    ) -> Iterator[tuple[str, dict[str, Any]]]:
        return (_make_example(example, store) for example in examples)

    def _add_note(self, note: str) -> None:
        self.notes.append(note)
        print(f"{self.name}: {note}", file=sys.stderr)


def in_beam(descriptions: Sequence[Any], make_fn: Callable[[Any], tuple[str, dict]]) -> Any:
    """Returns a transform of Apache Beam that makes the examples of a split.

    Args:
        descriptions: what `make_fn` takes, one for each example; can be pickled.
        make_fn: returns the key and the features of an example.
    """
    import apache_beam as beam

    return beam.Create(descriptions) | beam.Reshuffle() | beam.Map(make_fn)


def _make_example(example: Example, store: png_store.PngStore) -> tuple[str, dict[str, Any]]:
    row, key = example
    return (
        row.image_id,
        {
            schema.IMAGE: store.read(key),
            schema.IMAGE_ID: row.image_id,
            schema.SEX: row.sex,
            schema.AGE_MONTHS: row.age_months,
            schema.CHRONOLOGICAL_AGE_MONTHS: row.chronological_age_months,
        },
    )
