"""Stores the results of an interrupted prediction beside its table, for `--resume`."""

import contextlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from bone_age_tf.errors import InputError
from bone_age_tf.files import is_standard_output, replace_file
from bone_age_tf.inference.cases import Case
from bone_age_tf.inference.result import Result

Results = Iterator[tuple[Case, Result]]


def journal_path(output_csv: Path) -> Path:
    """Returns the file of the results until the table `output_csv` is written."""
    return output_csv.with_name(f"{output_csv.name}.part")


class Journal:
    """A file of results with a line of JSON for each case.

    Attributes:
        kept: number of cases whose results are in the file.
    """

    def __init__(self, path: Path | None, reader: str, results: dict[tuple, Result]):
        """See `open_journal`."""
        self._path, self._reader, self._results = path, reader, results
        self.kept = len(results)

    def read(self, cases: Sequence[Case], read: Callable[[Sequence[Case]], Results]) -> Results:
        """Yields each case with its result, in order; cases in the file are not read again.

        Args:
            cases: all cases.
            read: function that yields the given cases with their results, in order.
        """
        results = read([case for case in cases if _key(case) not in self._results])
        with self._opened() as write:
            for case in cases:
                known = self._results.get(_key(case))
                if known is not None:
                    yield case, known
                    continue
                _, result = next(results)
                write(_entry(_key(case), result))
                self.kept += 1
                yield case, result

    def close(self) -> None:
        """Removes the file after the table has been written."""
        if self._path is not None:
            self._path.unlink(missing_ok=True)

    @contextlib.contextmanager
    def _opened(self) -> Iterator[Callable[[dict], None]]:
        """Opens the file with line buffering."""
        if self._path is None:
            yield lambda content: None
            return
        # The file is rewritten without an incomplete last line.
        known = [_entry(key, result) for key, result in self._results.items()]
        lines = [json.dumps(content) + "\n" for content in ({"reader": self._reader}, *known)]
        replace_file(self._path, "".join(lines).encode())
        with self._path.open("a", encoding="utf-8") as file:

            def write(content: dict) -> None:
                file.write(json.dumps(content) + "\n")
                file.flush()

            yield write


def open_journal(output_csv: str | Path | None, reader: str, resume: bool) -> Journal:
    """Opens the journal of a table; returns None if the table is not a regular file.

    Args:
        output_csv: the table.
        reader: description of the model and the options; results with another description are
            not reused.
        resume: whether to continue with the results of an interrupted prediction.

    Raises:
        InputError: with `resume`, there are no results to continue, or results of another reader.
    """
    path = None
    if output_csv is not None and not is_standard_output(output_csv):
        output = Path(os.path.realpath(output_csv))
        if not output.exists() or output.is_file():
            path = journal_path(output)
    if not resume:
        return Journal(path, reader, {})
    if path is None or not path.exists():
        raise InputError(
            f"--resume: no interrupted prediction of {output_csv} (it would be in {path})"
        )
    return Journal(path, reader, _read(path, reader))


def _read(path: Path, reader: str) -> dict[tuple, Result]:
    lines = path.read_text(encoding="utf-8").splitlines()
    results: dict[tuple, Result] = {}
    for number, line in enumerate(lines):
        try:
            content = json.loads(line)
        except json.JSONDecodeError:
            if number == len(lines) - 1:  # the process ended while the line was being written
                break
            raise InputError(f"{path}: line {number + 1} is damaged; delete the file") from None
        if number == 0:
            before = content.get("reader")
            if before != reader:
                raise InputError(
                    f"{path}: these results are of {before}, not of {reader}; "
                    "repeat that command, or leave --resume out to begin anew"
                )
            continue
        try:
            results[tuple(content["case"])] = Result.from_dict(content["result"])
        except (KeyError, TypeError):  # written by another version
            raise InputError(f"{path}: line {number + 1} is damaged; delete the file") from None
    return results


def _key(case: Case) -> tuple:
    """Returns a key that identifies a case and changes with its file."""
    try:
        state = case.path.stat()
        changed: Iterable = (state.st_size, state.st_mtime_ns)
    except (OSError, ValueError):
        changed = (None, None)
    given = (case.sex, case.sex_source, case.chronological_age_months, case.height_cm)
    return (case.image, *given, case.problem, *changed)


def _entry(key: tuple, result: Result) -> dict:
    return {"case": key, "result": result.to_dict()}
