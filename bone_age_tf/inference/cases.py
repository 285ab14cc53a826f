"""Collects prediction cases: an image, a folder, a ZIP file, a DICOMDIR, a CSV file, a study."""

import collections
import csv
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from bone_age_tf import schema
from bone_age_tf.csv_text import unescape
from bone_age_tf.data.file_names import NamedFiles
from bone_age_tf.errors import InputError
from bone_age_tf.images import dicom, reading
from bone_age_tf.inference import containers, dicomweb_study

COLUMNS = (
    schema.IMAGE,
    schema.SEX,
    schema.AGE_MONTHS,
    schema.CHRONOLOGICAL_AGE_MONTHS,
    schema.HEIGHT_CM,
)
"""Columns of an input table; only the first is required."""

_TABLE_SUFFIX = ".csv"
_KINDS_LISTED = 6
_SEX_WORD_COLUMNS = ("sex", "gender", "patient_sex", "patientsex", "patient's_sex")
"""Names of columns that hold the sex as a word."""
_SEX_FLAG_COLUMNS = {"male": schema.MALE, "is_male": schema.MALE, "female": schema.FEMALE}
"""Names of columns that hold true or false, and the sex for which they are true."""
_NUMBERS: dict[str, Callable[[str], float]] = {
    schema.AGE_MONTHS: schema.parse_age_months,
    schema.CHRONOLOGICAL_AGE_MONTHS: schema.parse_chronological_age_months,
    schema.HEIGHT_CM: schema.parse_height_cm,
}
"""Columns that hold numbers, with the function that reads a cell."""
_FLAGS = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}


@dataclass(frozen=True)
class Case:
    """One radiograph to predict.

    Attributes:
        image: the file as the user wrote it.
        path: path of the file, or of the ZIP file that contains it.
        sex: `schema.FEMALE`, `schema.MALE`, or None if not given.
        age_months: the known bone age in months, or None.
        problem: reason for which the case cannot be predicted, or None.
        member: name of the file in the ZIP file, or None.
        sex_source: where the sex is from, one of `schema.SEX_SOURCES`.
        chronological_age_months: the child's age in months when the radiograph was taken, or None.
        height_cm: the child's height in cm when the radiograph was taken, or None.
    """

    image: str
    path: Path
    sex: int | None = None
    age_months: float | None = None
    problem: str | None = None
    member: str | None = None
    sex_source: str = schema.FROM_FLAG
    chronological_age_months: float | None = None
    height_cm: float | None = None

    def read_bytes(self) -> bytes:
        """Returns the bytes of the file.

        Raises:
            RadiographError: the file is missing or cannot be read.
        """
        if self.member is None:
            return reading.read_file(self.path, self.image)
        return containers.read_member(self.path, self.member, self.image)


def collect_cases(input_path: str | Path, sex: str | None = None) -> list[Case]:
    """Lists the radiographs of an image file, a folder, a ZIP file, a DICOMDIR or a CSV table.

    A folder is searched with its subfolders. DICOM files are recognised by their content, whatever
    their names.

    A table has the columns image, sex, age_months (the known bone age), chronological_age_months
    and height_cm in any order and in upper or lower case. Only image is required; paths are
    relative to the table's folder. The sex may also be in a column gender, or in a column male with
    true and false, as in RSNA's tables. A row with a cell that cannot be parsed becomes a case with
    a problem.

    Args:
        input_path: an image, a folder, a file ending in .zip or .csv, a DICOMDIR, or the address of
            a study on a DICOMweb server, see `dicomweb_study.retrieve`.
        sex: female, male, f or m, for images without a sex in the table; None if unknown.

    Raises:
        InputError: the input does not exist, has an unknown file extension, is a folder without
            radiographs, or is a table without rows or without an image column.
        MissingExtraError: the input is a DICOMDIR or a study, and a package is not installed.
    """
    code = parse_sex_option(sex)
    if dicomweb_study.is_url(input_path):
        files = dicomweb_study.retrieve(str(input_path))
        return [Case(name, file, code) for name, file in files.items()]
    path = Path(input_path)
    if path.is_dir():
        return [Case(_printable(image), image, code) for image in _images_below(path)]
    if not path.exists():
        raise InputError(f"{path}: no such file or folder; give an image, a folder or a CSV table")
    suffix = path.suffix.lower()
    if suffix == _TABLE_SUFFIX:
        return _read_table(path, code)
    if suffix == containers.ZIP_SUFFIX:
        members = containers.list_zip(path)
        return [Case(_printable(path / name), path, code, member=name) for name in members]
    if containers.is_directory(path.name):
        return [Case(_printable(image), image, code) for image in containers.list_dicomdir(path)]
    if containers.is_radiograph_file(path):
        return [Case(_printable(path), path, code)]
    known = (*reading.SUFFIXES, dicom.SUFFIXES[0], containers.ZIP_SUFFIX, _TABLE_SUFFIX)
    raise InputError(
        f"{path}: cannot read files ending in {path.suffix!r}; give {', '.join(known)} or a folder"
    )


def parse_sex_option(sex: str | None) -> int | None:
    """Returns the code of the sex that `--sex` gives, None without one.

    Raises:
        InputError: the sex is unknown.
    """
    if not sex:
        return None
    try:
        return schema.parse_sex(sex)
    except ValueError as error:
        raise InputError(f"--sex: {error}") from None


def _printable(path: Path) -> str:
    """Returns a path as a text; bytes that are not UTF-8 are escaped."""
    return str(path).encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _images_below(folder: Path) -> list[Path]:
    """Returns the radiographs of a folder; a log message lists the types of its other files.

    Hidden files are ignored, since copies from macOS contain files `._name.png` without images, and
    a DICOMDIR, since the files that it lists are in the folder.
    """
    files = [
        path
        for path in sorted(folder.rglob("*"))
        if path.is_file()
        and not containers.is_hidden(path.relative_to(folder).as_posix())
        and not containers.is_directory(path.name)
    ]
    images = [path for path in files if containers.is_radiograph_file(path)]
    kinds = collections.Counter(
        path.suffix.lower() or "no ending" for path in sorted(set(files) - set(images))
    )
    others = [f"{count} {ending}" for ending, count in kinds.most_common()]
    if not images:
        there = f"; it holds {', '.join(others[:_KINDS_LISTED])}" if others else ""
        raise InputError(
            f"{folder}: no radiographs in this folder; it needs files ending in "
            f"{', '.join(reading.SUFFIXES)}, or DICOM files{there}"
        )
    if others:
        logging.getLogger(__name__).warning(
            "%s: %d files are not read: %s",
            folder,
            len(files) - len(images),
            ", ".join(others[:_KINDS_LISTED]) + (", ..." if len(others) > _KINDS_LISTED else ""),
        )
    return images


def _read_table(path: Path, sex: int | None) -> list[Case]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = list(csv.reader(file))
    except UnicodeDecodeError:
        raise InputError(f"{path}: not UTF-8 text; save the table as CSV UTF-8") from None
    except csv.Error as error:
        raise InputError(f"{path}: not a CSV table ({error})") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    return parse_table(path, rows, sex, NamedFiles(path.parent))


def parse_table(
    name: str | Path, rows: Sequence[list[str]], sex: int | None, files: NamedFiles | None = None
) -> list[Case]:
    """Returns a case for each row of a table; see `collect_cases`.

    Args:
        name: the table's path or URL, for messages.
        rows: the cells of the header and of the rows; empty rows are left out.
        sex: code of the sex for rows without one; None if unknown.
        files: finds the files that the rows name; None to take the names as they are.

    Raises:
        InputError: there is no row or no image column, or a column is there twice.
    """
    rows = [row for row in rows if any(cell.strip() for cell in row)]
    if not rows:
        raise InputError(f"{name}: the table is empty; its first row is {','.join(COLUMNS)}")
    columns = _find_columns(name, rows[0])
    if len(rows) == 1:
        raise InputError(f"{name}: the table has a header and no rows; write one row per image")
    return [_parse_row(files, row, columns, sex) for row in rows[1:]]


def _find_columns(path: str | Path, header: list[str]) -> dict[str, int]:
    """Returns the position of each known column."""
    names = ["_".join(cell.lower().split()) for cell in header]
    if schema.IMAGE not in names:
        raise InputError(
            f"{path}: no column {schema.IMAGE!r}; the first row is {','.join(header)!r} and should "
            f"be like {','.join(COLUMNS)!r}, separated by commas"
        )
    repeated = [name for name in COLUMNS if names.count(name) > 1]
    if repeated:
        raise InputError(f"{path}: column {repeated[0]!r} is there twice; keep one")
    columns = {name: names.index(name) for name in COLUMNS if name in names}
    sexes = [name for name in names if name in (*_SEX_WORD_COLUMNS, *_SEX_FLAG_COLUMNS)]
    if len(sexes) > 1:
        raise InputError(
            f"{path}: columns {sexes[0]!r} and {sexes[1]!r} both look like the sex; keep one"
        )
    if sexes and sexes[0] in _SEX_FLAG_COLUMNS:
        columns[sexes[0]] = names.index(sexes[0])
    elif sexes:
        columns[schema.SEX] = names.index(sexes[0])
    unused = [
        name
        for place, name in enumerate(names)
        if name and not name.startswith("unnamed:") and place not in columns.values()
    ]
    if unused:
        logging.getLogger(__name__).warning(
            "%s: columns not used: %s (used: %s)", path, ", ".join(unused), ", ".join(COLUMNS)
        )
    return columns


def _parse_flag(column: str, text: str) -> int:
    """Returns the code of a sex from a column such as male.

    Raises:
        ValueError: the text is neither true nor false.
    """
    flag = _FLAGS.get(text.lower())
    if flag is None:
        raise ValueError(f"{column} is {text!r}; write true or false")
    sex = _SEX_FLAG_COLUMNS[column]
    return sex if flag else 1 - sex


def _parse_row(
    files: NamedFiles | None, row: list[str], columns: dict[str, int], sex: int | None
) -> Case:
    cells = {
        name: unescape(row[at].strip()) if at < len(row) else "" for name, at in columns.items()
    }
    image, problems = cells[schema.IMAGE], []
    if not image:
        problems.append(f"no image named in the row {','.join(row)!r}")
    sex_source = schema.FROM_FLAG
    for column in (schema.SEX, *_SEX_FLAG_COLUMNS):
        if not cells.get(column):
            continue
        sex_source = schema.FROM_TABLE
        try:
            is_word = column == schema.SEX
            sex = schema.parse_sex(cells[column]) if is_word else _parse_flag(column, cells[column])
        except ValueError as error:
            sex = None
            problems.append(str(error))
    numbers: dict[str, float] = {}
    for column, parse in _NUMBERS.items():
        try:
            if cells.get(column):
                numbers[column] = parse(cells[column])
        except ValueError as error:
            problems.append(str(error))
    path = Path(image)
    if image and files is not None:
        found = files.find(image)
        path = found or files.folder / image
        if found is None and (name := files.similar(image)) is not None:
            problems.append(f"no such file; did you mean {name}?")
    return Case(
        image,
        path,
        sex,
        numbers.get(schema.AGE_MONTHS),
        "; ".join(problems) or None,
        sex_source=sex_source,
        chronological_age_months=numbers.get(schema.CHRONOLOGICAL_AGE_MONTHS),
        height_cm=numbers.get(schema.HEIGHT_CM),
    )
