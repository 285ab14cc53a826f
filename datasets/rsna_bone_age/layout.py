"""Finds the images and tables of RSNA 2017 in the layouts that RSNA and Kaggle hand out."""

import contextlib
import dataclasses
import io
import re
import zipfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path, PurePosixPath

from bone_age_tf import schema
from bone_age_tf.data import file_names, rows
from bone_age_tf.errors import DataError
from bone_age_tf.images import reading


def parse_male(text: str) -> int:
    """Returns the code of a sex written as True (male) or False (female), in any case.

    Raises:
        ValueError: the text is something else.
    """
    codes = {"true": schema.MALE, "false": schema.FEMALE}
    if text.strip().lower() not in codes:
        raise ValueError(f"male is {text!r}; write True or False")
    return codes[text.strip().lower()]


def parse_id(text: str) -> str:
    """Returns an image's id, without the decimals that pandas writes where a cell is empty."""
    return re.sub(r"^(\d+)\.0+$", r"\1", text)


@dataclasses.dataclass(frozen=True)
class SplitFiles:
    """Files of a split.

    Attributes:
        split: name of the split.
        images: alternative lists of folders, or of archives with that name and `.zip`; all existing
            ones of a list are read together.
        tables: names of the table; the first existing one is read.
        columns: columns of the table.
        published: number of images that RSNA published.
    """

    split: str
    images: tuple[tuple[str, ...], ...]
    tables: tuple[str, ...]
    columns: rows.Columns
    published: int


SPLITS = (
    SplitFiles(
        "train",
        (("boneage-training-dataset",),),
        ("boneage-training-dataset.csv", "train.csv"),
        rows.Columns("id", "male", "boneage", parse_sex=parse_male, parse_image=parse_id),
        12_611,
    ),
    SplitFiles(
        "validation",
        (
            ("boneage-validation-dataset",),
            ("boneage-validation-dataset-1", "boneage-validation-dataset-2"),
        ),
        ("Validation Dataset.csv",),
        rows.Columns(
            "image id", "male", "bone age (months)", parse_sex=parse_male, parse_image=parse_id
        ),
        1_425,
    ),
    SplitFiles(
        "test",
        (("boneage-test-dataset",), ("Test Set Images",), ("Bone Age Test Set",)),
        ("Bone age ground truth.xlsx", "Bone age ground truth.csv"),
        rows.Columns("case id", "sex", "ground truth bone age (months)", parse_image=parse_id),
        200,
    ),
)
"""Counts: Halabi et al., Radiology 290 (2019) 498-503, doi:10.1148/radiol.2018180736."""

# Folders in RSNA's unpacked archives, searched after the folder itself.
_PARTS = ("Bone Age Training Set", "Bone Age Validation Set", "Bone Age Test Set")


@dataclasses.dataclass(frozen=True)
class Images:
    """Image files by the name that tables use, which is the file's name without its ending.

    Attributes:
        place: location of the files, for messages; empty if there are none.
        sources: the files.
        repeated: number of further files with the same names.
    """

    place: str
    sources: dict[str, rows.Source]
    repeated: int

    def similar(self, name: str) -> str | None:
        """Returns the most similar name of an image, None if no name is similar."""
        return file_names.similar_name(name, self.sources)


class ManualFolder:
    """A folder with the downloaded files; as a context manager it closes opened archives."""

    def __init__(self, root: Path):
        self.root = root
        self._opened = contextlib.ExitStack()
        self._archive_of: dict[Path, zipfile.ZipFile] = {}

    def __enter__(self) -> "ManualFolder":
        return self

    def __exit__(self, *_: object) -> None:
        self._opened.close()

    def find_images(self, files: SplitFiles) -> Images:
        """Returns the images of a split, from the first alternative with any images.

        Raises:
            ValueError: an archive cannot be opened; the message names it.
        """
        for names in files.images:
            images = [
                (place, self._list_images(place)) for name in names for place in self._places(name)
            ]
            images = [(place, sources) for place, sources in images if sources]
            if not images:
                continue
            by_name: dict[str, rows.Source] = {}
            for _, sources in images:
                for path, source in sources:
                    by_name.setdefault(path.stem, source)
            places = " and ".join(self._name(place) for place, _ in images)
            return Images(places, by_name, sum(len(s) for _, s in images) - len(by_name))
        return Images("", {}, 0)

    def read_table(self, files: SplitFiles) -> rows.Table | None:
        """Reads the table of a split; None if there is none.

        Raises:
            ValueError: the table cannot be read; the message names it.
        """
        for name in files.tables:
            for path, display, read in self._table_files(name):
                reader = read_xlsx if path.suffix.lower() == ".xlsx" else rows.read_csv
                return reader(read(), display)
        return None

    def _table_files(self, name: str) -> Iterator[tuple[PurePosixPath, str, Callable[[], bytes]]]:
        for folder in self._folders():
            for file in _children(folder, name):
                if file.is_file():
                    yield PurePosixPath(file.name), self._name(file), file.read_bytes
        for part in _PARTS:
            for archive in self._archives(part):
                for member in self._members(archive):
                    path = PurePosixPath(member)
                    if path.name.lower() == name.lower():
                        source = rows.ZipMember(self._open(archive), member)
                        yield path, f"{self._name(archive)}/{member}", source.read_bytes

    def _folders(self) -> Iterator[Path]:
        yield self.root
        for part in _PARTS:
            yield from (path for path in _children(self.root, part) if path.is_dir())

    def _archives(self, name: str) -> Iterator[Path]:
        for folder in self._folders():
            yield from (path for path in _children(folder, f"{name}.zip") if path.is_file())

    def _places(self, name: str) -> list[Path]:
        """Returns the folder with images of this name or, without it, the archive."""
        for folder in self._folders():
            for path in _children(folder, name):
                if path.is_dir() and self._list_images(path):
                    return [path]
        return list(self._archives(name))[:1]

    def _list_images(self, place: Path) -> Sequence[tuple[PurePosixPath, rows.Source]]:
        if place.is_dir():
            paths = (path for path in sorted(place.rglob("*")) if path.is_file())
            files = ((PurePosixPath(path.relative_to(place)), path) for path in paths)
            return [(name, path) for name, path in files if _is_image(name)]
        archive = self._open(place)
        members = ((PurePosixPath(text), text) for text in self._members(place))
        return [(name, rows.ZipMember(archive, text)) for name, text in members if _is_image(name)]

    def _members(self, archive: Path) -> list[str]:
        return sorted(self._open(archive).namelist())

    def _open(self, path: Path) -> zipfile.ZipFile:
        if path not in self._archive_of:
            try:
                self._archive_of[path] = self._opened.enter_context(zipfile.ZipFile(path))
            except zipfile.BadZipFile as error:
                raise DataError(
                    f"{self._name(path)}: cannot be opened ({error}); download it again"
                ) from None
        return self._archive_of[path]

    def _name(self, path: Path) -> str:
        return path.relative_to(self.root).as_posix()


def read_xlsx(data: bytes, name: str) -> rows.Table:
    """Reads the first sheet of an Excel file's bytes; line numbers are its row numbers.

    Raises:
        DataError: not such a file, or see `rows.make_table`; the message names the file.
    """
    import openpyxl  # imported only for the table of the test split, since the import takes time
    from openpyxl.utils.exceptions import InvalidFileException

    try:
        book = openpyxl.load_workbook(io.BytesIO(data), read_only=True, data_only=True)
    except (zipfile.BadZipFile, InvalidFileException, KeyError, OSError) as error:
        raise DataError(f"{name}: not an Excel table ({error}); download it again") from None
    with contextlib.closing(book):
        cells = book.worksheets[0].iter_rows(values_only=True)
        records = [(line, [_cell_text(cell) for cell in row]) for line, row in enumerate(cells, 1)]
    return rows.make_table(name, records)


def _cell_text(cell: object) -> str:
    if cell is None:
        return ""
    if isinstance(cell, float) and cell.is_integer():
        return str(int(cell))
    return str(cell)


def _children(folder: Path, name: str) -> list[Path]:
    """Returns the entries of a folder with this name, in upper or lower case."""
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if path.name.lower() == name.lower())


def _is_image(path: PurePosixPath) -> bool:
    hidden = any(part.startswith((".", "__MACOSX")) for part in path.parts)
    return path.suffix.lower() in reading.SUFFIXES and not hidden
