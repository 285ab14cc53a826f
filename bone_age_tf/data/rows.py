"""Checks tables of radiographs row by row before a dataset is written; no TensorFlow.

Bad rows (missing or undecodable image, impossible age or sex, repeated id) raise one `BadRowsError`
that lists them, or are skipped on request and listed in a file. No row is dropped silently.
"""

import csv
import dataclasses
import io
import math
import multiprocessing.pool
import os
import sys
import zipfile
import zlib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path, PurePosixPath
from typing import Protocol

from bone_age_tf import schema
from bone_age_tf.csv_text import format_csv, unescape
from bone_age_tf.data import png_store
from bone_age_tf.errors import DataError, RadiographError
from bone_age_tf.files import replace_file
from bone_age_tf.images.dicom_facts import Facts
from bone_age_tf.progress import shown

_MOST_LISTED = 10
_SKIPPED_HEADER = ("file", "line", "image", "reason")


class Source(Protocol):
    """A source of the bytes of an image file, such as a `pathlib.Path`."""

    def read_bytes(self) -> bytes:
        """Returns the file's bytes."""
        ...


@dataclasses.dataclass(frozen=True)
class ZipMember:
    """A file inside an open archive, read without unpacking the archive."""

    archive: zipfile.ZipFile
    name: str

    def read_bytes(self) -> bytes:
        """Returns the member's bytes; safe to call from several threads.

        Raises:
            OSError: the member is damaged, encrypted or compressed with an unknown method.
        """
        try:
            return self.archive.read(self.name)
        except (zipfile.BadZipFile, zlib.error, EOFError) as error:
            raise OSError(None, f"the archive is damaged there: {error}") from None
        except (RuntimeError, NotImplementedError) as error:
            raise OSError(None, str(error)) from None


@dataclasses.dataclass(frozen=True)
class Table:
    """A table of texts.

    Attributes:
        name: name of the file, for messages.
        header: names of the columns, in lower case.
        rows: line number (the header of a CSV is line 1) and cells of each row.
    """

    name: str
    header: tuple[str, ...]
    rows: tuple[tuple[int, tuple[str, ...]], ...]


@dataclasses.dataclass(frozen=True)
class Columns:
    """Names of a table's columns and parsers of its cells.

    Attributes:
        image: column of the image's name or id.
        sex: column of the sex.
        age: column of the bone age in months.
        chronological_age: column of the age in months by birth date; may be absent.
        split: column of the split; may be absent.
        parse_sex: converts a text to a code of `schema.SEX_NAMES`; raises ValueError.
        parse_image: converts a text to the image's name or id.
    """

    image: str
    sex: str
    age: str
    chronological_age: str | None = None
    split: str | None = None
    parse_sex: Callable[[str], int] = schema.parse_sex
    parse_image: Callable[[str], str] = str


@dataclasses.dataclass(frozen=True)
class Row:
    """A valid row; `image_id` is the name as it is written in the table."""

    file: str
    line: int
    image_id: str
    sex: int
    age_months: float
    chronological_age_months: float
    split: str
    source: Source


@dataclasses.dataclass(frozen=True)
class Problem:
    """A row that cannot be used, and the reasons."""

    file: str
    line: int
    image: str
    reason: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.reason}"


class BadRowsError(DataError):
    """Rows that cannot be used; the message gives their number, the first ten and the remedy.

    Attributes:
        problems: the problems of all such rows.
    """

    def __init__(self, problems: Sequence[Problem]):
        count = len(problems)
        lines = [f"{count:,} row{'s' if count > 1 else ''} cannot be used:"]
        lines += [f"  {problem}" for problem in problems[:_MOST_LISTED]]
        if count > _MOST_LISTED:
            lines.append(f"  and {count - _MOST_LISTED:,} more")
        lines.append(
            "Fix the rows, or skip them with --skip_bad_rows (in Python skip_bad_rows=True), "
            "which lists them all in skipped.csv."
        )
        super().__init__("\n".join(lines))
        self.problems = tuple(problems)


def make_table(name: str, records: Iterable[tuple[int, Sequence[str]]]) -> Table:
    """Creates a table from numbered records; the first non-empty record is the header.

    Empty records are ignored. Column names are converted to lower case and stripped. Columns
    without a name, such as the index that pandas writes, are ignored.

    Raises:
        DataError: there is no header or no row, or two columns have the same name.
    """
    filled = [
        (line, tuple(unescape(cell.strip()) for cell in cells))
        for line, cells in records
        if any(cell.strip() for cell in cells)
    ]
    if len(filled) < 2:
        raise DataError(f"{name}: the table has no rows")
    header = tuple(" ".join(cell.lower().split()) for cell in filled[0][1])
    repeated = {cell for cell in header if cell and header.count(cell) > 1}
    if repeated:
        raise DataError(f"{name}: columns repeat: {', '.join(sorted(repeated))}")
    return Table(name, header, tuple(filled[1:]))


def read_csv(data: bytes, name: str) -> Table:
    """Parses the bytes of a CSV file: UTF-8, with or without a byte order mark, with commas.

    Raises:
        DataError: the file is not such a table, or see `make_table`; the message names the file.
    """
    try:
        reader = csv.reader(io.StringIO(data.decode("utf-8-sig"), newline=""))
        return make_table(name, ((reader.line_num, cells) for cells in reader))
    except UnicodeDecodeError:
        raise DataError(f"{name}: not UTF-8 text; save it as CSV in UTF-8") from None
    except csv.Error as error:
        raise DataError(f"{name}: not a CSV table ({error})") from None


def check_cells(
    table: Table,
    columns: Columns,
    find: Callable[[str], Source | None],
    place: str,
    similar: Callable[[str], str | None] = lambda name: None,
) -> tuple[list[Row], list[Problem]]:
    """Checks every cell of every row and the existence of each image, without opening images.

    Args:
        table: the table.
        columns: names of its columns, in lower case.
        find: returns the source of an image that is named in the table, or None.
        place: location of the images, for messages.
        similar: returns a similar name for an image that does not exist, or None.

    Returns:
        The valid rows, and a problem for each other row; both in the table's order. The first of
        several rows with the same id is valid.

    Raises:
        DataError: the table lacks a column; the message names it and the columns it has.
    """
    for column in (columns.image, columns.sex, columns.age):
        if column not in table.header:
            raise DataError(
                f"{table.name}: no column {column!r}; its columns are: {', '.join(table.header)}"
            )
    rows: list[Row] = []
    problems: list[Problem] = []
    first_line: dict[str, int] = {}
    for line, texts in table.rows:
        cells = dict(zip(table.header, texts, strict=False))
        image = columns.parse_image(cells.get(columns.image, ""))
        reasons: list[str] = []
        if any(texts[len(table.header) :]):
            reasons.append(f"{len(texts)} cells under {len(table.header)} columns")
        key = PurePosixPath(image).as_posix()  # "./a.png" and "a.png" are the same
        if image and first_line.setdefault(key, line) != line:
            reasons.append(f"id {image!r} repeats line {first_line[key]}")
        source = find(image) if image else None
        if source is None:
            reasons.append(_missing(image, place, similar))
        row = _parse_row(table.name, line, cells, columns, source, reasons)
        if row is None:
            problems.append(Problem(table.name, line, image, "; ".join(reasons)))
        else:
            rows.append(row)
    return rows, problems


def _missing(image: str, place: str, similar: Callable[[str], str | None]) -> str:
    if not image:
        return "the image has no name"
    name = similar(image)
    return f"no image {image!r} in {place}" + (f"; did you mean {name!r}?" if name else "")


def check_images(
    rows: Sequence[Row],
    store: png_store.PngStore,
    longer_side_px: int | None = None,
    name: str = "images",
    threads: int | None = None,
    notes: list[str] | None = None,
) -> tuple[list[tuple[Row, tuple[int, int]]], list[Problem]]:
    """Decodes every image once, in threads, and stores it as an 8-bit grey PNG.

    The chronological age that a DICOM file states is used where the table has none.

    Args:
        rows: rows whose images are decoded.
        store: store of the encoded images.
        longer_side_px: maximum longer side in pixels; None keeps all sizes.
        name: name of the dataset, shown with the progress.
        threads: number of threads; by default the number of processors, at most 8.
        notes: list to which contradictions between DICOM files and the table are added.

    Returns:
        Valid rows with the keys of their images in `store`, and the problems; both in the order of
        the rows.
    """
    good: list[tuple[Row, tuple[int, int]]] = []
    problems: list[Problem] = []
    contradictory: list[str] = []

    def encode(row: Row) -> png_store.Encoded | str:
        try:
            suffix = PurePosixPath(row.image_id).suffix
            return png_store.encode_png(row.source.read_bytes(), longer_side_px, suffix)
        except RadiographError as error:
            return error.reason
        except FileNotFoundError:
            return "no such file"
        except OSError as error:
            return f"cannot be read ({error.strerror})"

    with multiprocessing.pool.ThreadPool(threads or min(8, os.cpu_count() or 1)) as pool:
        results = pool.imap(encode, rows, chunksize=4)
        # On standard error, since TFDS' messages on standard output are suppressed here.
        progress = shown(results, len(rows), f"{name}: reading images", sys.stderr)
        for row, result in zip(rows, progress, strict=True):
            if isinstance(result, png_store.Encoded):
                facts = result.facts
                if facts is not None and facts.sex not in (None, schema.SEX_NAMES[row.sex]):
                    contradictory.append(row.image_id)
                good.append((_with_age(row, facts), store.add(result.png)))
            else:
                reason = f"image {row.image_id!r}: {result}"
                problems.append(Problem(row.file, row.line, row.image_id, reason))
    if contradictory and notes is not None:
        more = len(contradictory) - _MOST_LISTED
        listed = ", ".join(contradictory[:_MOST_LISTED]) + (f" and {more} more" if more > 0 else "")
        notes.append(f"another sex in the DICOM file than in the table, which is used: {listed}")
    return good, problems


def _with_age(row: Row, facts: Facts | None) -> Row:
    """Returns a row with the chronological age of its DICOM file, unless the table states one."""
    if facts is None or facts.chronological_age_months is None:
        return row
    if not math.isnan(row.chronological_age_months):
        return row
    return dataclasses.replace(row, chronological_age_months=facts.chronological_age_months)


def write_skipped(path: str | Path, problems: Iterable[Problem]) -> Path:
    """Writes the skipped rows as CSV (file, line, image, reason) and returns the file's path.

    Args:
        path: the file, or an existing folder for a file `skipped.csv`.
        problems: the skipped rows; if empty, the file contains only the header.
    """
    path = Path(path)
    if path.is_dir():
        path = path / "skipped.csv"
    table = [_SKIPPED_HEADER, *((p.file, p.line, p.image, p.reason) for p in problems)]
    replace_file(path, format_csv(table).encode())
    return path


def _parse_row(
    file: str,
    line: int,
    cells: dict[str, str],
    columns: Columns,
    source: Source | None,
    reasons: list[str],
) -> Row | None:
    """Parses the cells; returns None and appends to `reasons` if there are problems."""

    def parse(parser: Callable[[str], float], column: str, prefix: str = "") -> float:
        try:
            return parser(cells.get(column, ""))
        except ValueError as error:
            reasons.append(f"{prefix}{error}")
            return math.nan

    sex = parse(columns.parse_sex, columns.sex)
    age = parse(schema.parse_age_months, columns.age)
    chronological_age = math.nan
    birth_column = columns.chronological_age or ""
    if birth_column and cells.get(birth_column, "").lower() not in ("", "nan"):
        chronological_age = parse(schema.parse_age_months, birth_column, "chronological ")
    split = (columns.split and cells.get(columns.split, "").lower()) or "train"
    if split not in ("train", "validation", "test"):
        reasons.append(f"split is {split!r}; write train, validation or test")
    if reasons or source is None:
        return None
    image = columns.parse_image(cells[columns.image])
    return Row(file, line, image, int(sex), age, chronological_age, split, source)
