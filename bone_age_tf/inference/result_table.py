"""A table of results with its summary, and its export to CSV and pandas."""

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np

from bone_age_tf import schema
from bone_age_tf.csv_text import format_csv
from bone_age_tf.errors import MissingExtraError
from bone_age_tf.files import replace_file
from bone_age_tf.inference.cases import Case
from bone_age_tf.inference.result import FAILED, REJECTED, Result

if TYPE_CHECKING:
    import pandas as pd

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

    def rows(self) -> list[tuple[str, ...]]:
        """Returns the rows in the order of `schema.RESULT_COLUMNS`; see `Result.rows`."""
        return [row for result in self.results for row in result.rows()]

    def to_csv(self, path: str | Path) -> None:
        """Writes the table; an existing file is replaced as a whole.

        Raises:
            OSError: the folder or the file cannot be written.
        """
        replace_file(Path(path), format_csv([schema.RESULT_COLUMNS, *self.rows()]).encode())

    def to_pandas(self) -> "pd.DataFrame":
        """Returns a data frame with the columns of `to_csv`, numbers as float64.

        Raises:
            MissingExtraError: pandas is not installed.
        """
        try:
            import pandas as pd
        except ImportError:
            raise MissingExtraError("a data frame", "pandas") from None
        frame = pd.DataFrame(self.rows(), columns=list(schema.RESULT_COLUMNS))
        numbers = ["bone_age_months", "lower_90", "upper_90"]
        frame[numbers] = frame[numbers].apply(pd.to_numeric)
        return frame
