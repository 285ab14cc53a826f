"""A table of results with its summary, and its export to CSV, JSON and pandas."""

import dataclasses
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np

from bone_age_tf import schema
from bone_age_tf.clinical.result_columns import COLUMNS, RESULT_COLUMNS, rows_of
from bone_age_tf.clinical.result_json import to_json_object
from bone_age_tf.csv_text import format_csv
from bone_age_tf.errors import MissingExtraError
from bone_age_tf.files import replace_file
from bone_age_tf.inference.cases import Case
from bone_age_tf.inference.result import FAILED, REJECTED, Result

if TYPE_CHECKING:
    import pandas as pd

JSON_SUFFIX, JSON_LINES_SUFFIX = ".json", ".jsonl"
"""File name extensions of a JSON array, and of a file with a JSON object a line."""

CLOSE_MONTHS = 12.0
"""A prediction at most this far from the known bone age, in months, counts as close."""


@dataclasses.dataclass(frozen=True)
class ResultTable(Sequence[Result]):
    """Results in the order of the radiographs.

    Attributes:
        results: one for each radiograph.
        known_months: the known bone age of each in months, None where unknown.
    """

    results: tuple[Result, ...]
    known_months: tuple[float | None, ...]

    @classmethod
    def of(cls, pairs: Iterable[tuple[Any, Result]]) -> "ResultTable":
        """Collects what `Reader.read_all` yields."""
        results, known = [], []
        for source, result in pairs:
            results.append(result)
            known.append(source.age_months if isinstance(source, Case) else None)
        return cls(tuple(results), tuple(known))

    @overload
    def __getitem__(self, place: int) -> Result: ...
    @overload
    def __getitem__(self, place: slice) -> tuple[Result, ...]: ...
    def __getitem__(self, place: int | slice) -> Result | tuple[Result, ...]:
        return self.results[place]

    def __len__(self) -> int:
        return len(self.results)

    @property
    def failed(self) -> int:
        """Number of radiographs that could not be read."""
        return sum(result.status == FAILED for result in self.results)

    @property
    def rejected(self) -> int:
        """Number of radiographs that a check rejected."""
        return sum(result.status == REJECTED for result in self.results)

    @property
    def without_sex(self) -> int:
        """Number of radiographs with a result for both sexes."""
        return sum(bool(result.by_sex) and result.sex is None for result in self.results)

    @property
    def errors_months(self) -> np.ndarray:
        """[N] predicted minus known bone age in months, where the sex and the age are known."""
        return np.array([result.age_months - known for result, known in self._compared()])

    @property
    def compared_months(self) -> np.ndarray:
        """[N] known bone ages in months of the same radiographs."""
        return np.array([known for _, known in self._compared()])

    def _compared(self) -> Iterator[tuple[Any, float]]:
        for result, known in zip(self.results, self.known_months, strict=True):
            if known is not None and result.age_months is not None:
                yield result, known

    def rows(self, sds_reference: str = schema.BRUSH_FOUNDATION) -> list[tuple[str, ...]]:
        """Returns the rows as texts in the order of `clinical.result_columns.RESULT_COLUMNS`.

        A radiograph without a sex has two rows, one for each.

        Args:
            sds_reference: reference of the column sds, see `clinical.score_result`.
        """
        return [
            tuple(column.text(row) for column in COLUMNS)
            for result in self.results
            for row in rows_of(result, sds_reference)
        ]

    def write(self, path: str | Path, sds_reference: str = schema.BRUSH_FOUNDATION) -> None:
        """Writes JSON to a file that ends in .json or .jsonl, and CSV to every other.

        Raises:
            OSError: the folder or the file cannot be written.
        """
        is_json = Path(path).suffix.lower() in (JSON_SUFFIX, JSON_LINES_SUFFIX)
        (self.to_json if is_json else self.to_csv)(path, sds_reference)

    def to_csv(self, path: str | Path, sds_reference: str = schema.BRUSH_FOUNDATION) -> None:
        """Writes the table as CSV; an existing file is replaced as a whole.

        Args:
            path: the file.
            sds_reference: reference of the column sds, see `clinical.score_result`.

        Raises:
            OSError: the folder or the file cannot be written.
        """
        rows = self.rows(sds_reference)
        replace_file(Path(path), format_csv([RESULT_COLUMNS, *rows]).encode())

    def to_json(self, path: str | Path, sds_reference: str = schema.BRUSH_FOUNDATION) -> None:
        """Writes an object for each radiograph, as `clinical/result.schema.json` describes it.

        A file that ends in .jsonl has an object a line; every other file has an array. An existing
        file is replaced as a whole.

        Args:
            path: the file.
            sds_reference: reference of `sds`; the scores by all references are written too.

        Raises:
            OSError: the folder or the file cannot be written.
        """
        objects = [to_json_object(result, sds_reference) for result in self.results]
        if Path(path).suffix.lower() == JSON_LINES_SUFFIX:
            text = "".join(json.dumps(each, ensure_ascii=False) + "\n" for each in objects)
        else:
            text = json.dumps(objects, indent=2, ensure_ascii=False) + "\n"
        replace_file(Path(path), text.encode())

    def to_pandas(self, sds_reference: str = schema.BRUSH_FOUNDATION) -> "pd.DataFrame":
        """Returns a data frame with the columns of `to_csv`, numbers as float64.

        Args:
            sds_reference: reference of the column sds, see `clinical.score_result`.

        Raises:
            MissingExtraError: pandas is not installed.
        """
        try:
            import pandas as pd
        except ImportError:
            raise MissingExtraError("a data frame", "pandas") from None
        frame = pd.DataFrame(self.rows(sds_reference), columns=list(RESULT_COLUMNS))
        numbers = [column.name for column in COLUMNS if column.decimals is not None]
        frame[numbers] = frame[numbers].apply(pd.to_numeric)
        return frame
