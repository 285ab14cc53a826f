"""Tables of radiographs checked row by row before anything is written; no TensorFlow.

A bad row (missing or undecodable image, impossible age or sex, repeated id) stops everything with
one `BadRowsError` that lists them, or is skipped on request and listed in a file. No row is ever
dropped silently.
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
from bone_age_tf.progress import shown

_MOST_LISTED = 10
_SKIPPED_HEADER = ("file", "line", "image", "reason")


class Source(Protocol):
    """Where the bytes of an image file are; a `pathlib.Path` is one."""

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
            OSError: the archive is damaged there, encrypted or compressed in an unknown way.
        """
        try:
            return self.archive.read(self.name)
        except (zipfile.BadZipFile, zlib.error, EOFError) as error:
            raise OSError(None, f"the archive is damaged there: {error}") from None
        except (RuntimeError, NotImplementedError) as error:
            raise OSError(None, str(error)) from None


@dataclasses.dataclass(frozen=True)
class Table:
    """A table as text.

    Attributes:
        name: the file's name, for messages.
        header: names of the columns, in lower case.
        rows: each row's line number (the header of a CSV is line 1) and cells.
    """

    name: str
    header: tuple[str, ...]
    rows: tuple[tuple[int, tuple[str, ...]], ...]


@dataclasses.dataclass(frozen=True)
class Columns:
    """Which columns hold what, and how sex is written.

    Attributes:
        image: the image's name or id.
        sex: the sex.
        age: the bone age in months.
        chronological_age: the age in months by birth date; the column may be absent.
        split: the split; the column may be absent.
        parse_sex: text to a code of `schema.SEX_NAMES`; raises ValueError.
        parse_image: text to the image's name or id.
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
    """A row whose every cell is good; `image_id` is the name in the table as written."""

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
    """A row that cannot be used, and all that is wrong with it."""

    file: str
    line: int
    image: str
    reason: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.reason}"


class BadRowsError(DataError):
    """Rows that cannot be used; the message gives their count, the first ten and the remedy.

    Attributes:
        problems: all of them, one a row.
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
    """Makes a table of numbered records, the first of which with any text is the header.

    Records without any text are no rows. Column names lose case and spaces at their ends; cells
    under no name (pandas writes its index so) belong to no column.

    Raises:
        DataError: there is no header or no row, or two columns have one name.
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
    """Reads a CSV file's bytes: UTF-8 with or without a byte order mark, separated by commas.

    Raises:
        DataError: not such a file, or see `make_table`; the message names the file.
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
    """Checks every cell of every row, and that each image exists; opens no image.

    Args:
        table: the table.
        columns: names of its columns, in lower case.
        find: the source of an image named in the table, or None where there is none.
        place: where the images are, for messages.
        similar: the name of an image that may be meant by one that is not there, or None.

    Returns:
        The good rows and the problems, one for each other row; both in the table's order. Of rows
        that repeat an id, the first is good.

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
        key = PurePosixPath(image).as_posix()  # "./a.png" is "a.png"
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
) -> tuple[list[tuple[Row, tuple[int, int]]], list[Problem]]:
    """Decodes every image once, in threads, and keeps it as an 8-bit grey PNG.

    Args:
        rows: rows whose images to decode.
        store: receives the encoded images.
        longer_side_px: shrink images whose longer side is more; None leaves sizes as they are.
        name: what the progress is called.
        threads: how many; by default one for each processor, at most 8.

    Returns:
        Good rows with their images' keys in `store`, and the problems; both in the order of rows.
    """
    good: list[tuple[Row, tuple[int, int]]] = []
    problems: list[Problem] = []

    def encode(row: Row) -> bytes | str:
        try:
            return png_store.encode_png(row.source.read_bytes(), longer_side_px)
        except RadiographError as error:
            return error.reason
        except FileNotFoundError:
            return "no such file"
        except OSError as error:
            return f"cannot be read ({error.strerror})"

    with multiprocessing.pool.ThreadPool(threads or min(8, os.cpu_count() or 1)) as pool:
        results = pool.imap(encode, rows, chunksize=4)
        # On standard error: TFDS' own words on standard output are held back meanwhile.
        progress = shown(results, len(rows), f"{name}: reading images", sys.stderr)
        for row, result in zip(rows, progress, strict=True):
            if isinstance(result, bytes):
                good.append((row, store.add(result)))
            else:
                reason = f"image {row.image_id!r}: {result}"
                problems.append(Problem(row.file, row.line, row.image_id, reason))
    return good, problems


def write_skipped(path: str | Path, problems: Iterable[Problem]) -> Path:
    """Writes the skipped rows as CSV (file, line, image, reason) and returns the file's path.

    Args:
        path: the file, or an existing folder in which it becomes `skipped.csv`.
        problems: the skipped rows; without any, the file holds the header alone.
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
    """Parses the cells; adds what is wrong to `reasons` and returns None when there is any."""

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
