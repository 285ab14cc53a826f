"""Lists the radiographs of an archive: of manifests, folders, patterns, ZIP and TAR files."""

import csv
import dataclasses
import functools
import io
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from bone_age_tf import schema
from bone_age_tf.data.file_names import NamedFiles
from bone_age_tf.errors import InputError, RadiographError
from bone_age_tf.images import dicom
from bone_age_tf.inference import containers
from bone_age_tf.inference.cases import Case, collect_cases, parse_sex_option, parse_table
from bone_age_tf.scale import storage

TAR_SUFFIX: Final = ".tar"
PARQUET_SUFFIX: Final = ".parquet"
CSV_SUFFIX: Final = ".csv"
_COMPRESSED_TARS = (".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")


@dataclasses.dataclass(frozen=True)
class Item:
    """One radiograph of an archive.

    Attributes:
        place: position in the input, from 0.
        image: the file as the manifest names it, or its location.
        location: path or URL of the file, or of the archive that contains it.
        member: name of the file in a ZIP file, or None.
        span: offset and length in bytes of the file in a TAR file, or None.
        sex: `schema.FEMALE`, `schema.MALE`, or None if not given.
        sex_source: where the sex is from, one of `schema.SEX_SOURCES`.
        chronological_age_months: the child's age in months when the radiograph was taken, or None.
        height_cm: the child's height in cm when the radiograph was taken, or None.
        problem: reason for which the radiograph cannot be read, or None.
    """

    place: int
    image: str
    location: str
    member: str | None = None
    span: tuple[int, int] | None = None
    sex: int | None = None
    sex_source: str = schema.FROM_FLAG
    chronological_age_months: float | None = None
    height_cm: float | None = None
    problem: str | None = None

    @classmethod
    def of_case(cls, place: int, case: Case, location: str | None = None) -> "Item":
        """Returns the item of a prediction case, at another location if one is given."""
        return cls(
            place,
            case.image,
            str(case.path) if location is None else location,
            case.member,
            None,
            case.sex,
            case.sex_source,
            case.chronological_age_months,
            case.height_cm,
            case.problem,
        )

    @classmethod
    def of_values(cls, values: list) -> "Item":
        """Returns the item of the values of all attributes in their order, as JSON keeps them."""
        item = cls(*values)
        if item.span is None:
            return item
        offset, length = item.span
        return dataclasses.replace(item, span=(offset, length))

    def as_path(self) -> Path:
        """Returns the location as a path, of which only the name counts."""
        return Path(self.location)


def list_items(source: str, sex: str | None = None) -> list[Item]:
    """Lists the radiographs of an archive, in a fixed order.

    Args:
        source: a manifest (CSV with the columns of `inference.cases.collect_cases`, or Parquet with
            the same columns), a folder, a ZIP or TAR file, a DICOMDIR or an image; or a pattern
            such as `shards/*.tar`; several are separated by commas. Paths, or URLs that Beam can
            open.
        sex: female, male, f or m, for radiographs without a sex in the manifest; None if unknown.

    Raises:
        InputError: there is nothing to read, or a manifest is malformed.
        MissingExtraError: a package for URLs or Parquet is not installed.
    """
    items: list[Item] = []
    for location in filter(None, (part.strip() for part in source.split(","))):
        for item in _of_location(location, sex):
            items.append(dataclasses.replace(item, place=len(items)))
    if not items:
        raise InputError(f"{source}: no radiographs")
    return items


def read_item(item: Item) -> bytes:
    """Returns the bytes of a radiograph's file.

    Raises:
        RadiographError: it is missing, damaged or cannot be read.
    """
    try:
        if item.span is not None:
            return _read_span(item.location, *item.span)
        if item.member is None:
            return storage.read_file(item.location)
        return _archive(item.location).read(item.member)
    except FileNotFoundError:
        raise RadiographError(item.image, "no such file") from None
    except KeyError:
        raise RadiographError(item.image, "no such file in the archive") from None
    except RuntimeError:  # of zipfile
        raise RadiographError(item.image, "encrypted in the ZIP file; unpack it first") from None
    except (zipfile.BadZipFile, NotImplementedError, OSError, zlib.error, EOFError) as error:
        raise RadiographError(item.image, f"cannot be read ({error})") from None


def _of_location(location: str, sex: str | None) -> Iterator[Item]:
    lower = location.lower()
    if storage.is_pattern(location):
        found = storage.matching(location)
        if not found:
            raise InputError(f"{location}: no file matches this pattern")
        for name in found:
            yield from _of_location(name, sex)
    elif lower.endswith(_COMPRESSED_TARS):
        raise InputError(
            f"{location}: members of a compressed TAR file cannot be read one by one; unpack it to "
            "a .tar, or write a ZIP file"
        )
    elif lower.endswith(TAR_SUFFIX):
        yield from _of_tar(location, sex)
    elif lower.endswith(PARQUET_SUFFIX):
        yield from _of_rows(location, _parquet_rows(location), sex)
    elif not storage.is_url(location):
        cases = collect_cases(location, sex)
        yield from (Item.of_case(place, case) for place, case in enumerate(cases))
    elif lower.endswith(CSV_SUFFIX):
        text = storage.read_file(location).decode("utf-8-sig")
        yield from _of_rows(location, list(csv.reader(io.StringIO(text))), sex)
    elif lower.endswith(containers.ZIP_SUFFIX):
        yield from _of_remote_zip(location, sex)
    elif storage.is_folder(location):
        yield from _of_location(location.rstrip("/") + "/**", sex)
    else:
        yield Item(0, location, location, sex=parse_sex_option(sex))


def _of_rows(location: str, rows: list[list[str]], sex: str | None) -> Iterator[Item]:
    """Yields the items of a manifest's rows, whose paths are relative to its folder."""
    folder = storage.folder_of(location)
    files = None if storage.is_url(location) else NamedFiles(Path(folder))
    for place, case in enumerate(parse_table(location, rows, parse_sex_option(sex), files)):
        is_remote = files is None or storage.is_url(case.image)
        yield Item.of_case(place, case, storage.join(folder, case.image) if is_remote else None)


def _parquet_rows(location: str) -> list[list[str]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with storage.open_file(location) as file:
            table = pq.read_table(storage.as_seekable(file))
    except FileNotFoundError:
        raise InputError(f"{location}: no such file") from None
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{location}: not a readable Parquet file ({error})") from None
    columns = [
        ["" if value is None else str(value) for value in column.to_pylist()]
        for column in table.columns
    ]
    return [list(table.column_names), *(list(row) for row in zip(*columns, strict=True))]


def _of_tar(location: str, sex: str | None) -> Iterator[Item]:
    """Yields the radiographs of a TAR file, with their places in it."""
    code, count = parse_sex_option(sex), 0
    try:
        with storage.open_file(location) as file, tarfile.open(fileobj=file, mode="r:") as archive:
            for member in archive:
                if not member.isfile() or containers.is_hidden(member.name):
                    continue
                head = functools.partial(_head_in_tar, archive, member)
                if containers.is_radiograph(member.name, head):
                    span = member.offset_data, member.size
                    name = storage.join(location, member.name)
                    yield Item(count, name, location, span=span, sex=code)
                    count += 1
    except FileNotFoundError:
        raise InputError(f"{location}: no such file") from None
    except (tarfile.TarError, OSError) as error:
        raise InputError(f"{location}: not a readable TAR file ({error})") from None
    if not count:
        raise InputError(f"{location}: no radiographs in this TAR file")


def _head_in_tar(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = archive.extractfile(member)
    return b"" if file is None else file.read(dicom.HEAD_BYTES)


def _of_remote_zip(location: str, sex: str | None) -> Iterator[Item]:
    for place, name in enumerate(containers.radiographs_in(_archive(location))):
        yield Item(place, storage.join(location, name), location, name, sex=parse_sex_option(sex))


@functools.lru_cache(maxsize=4)
def _archive(location: str) -> zipfile.ZipFile:
    """Returns an open ZIP file; the next items are usually in the same one."""
    return zipfile.ZipFile(storage.as_seekable(storage.open_file(location)))


def _read_span(location: str, offset: int, length: int) -> bytes:
    with storage.open_file(location) as file:
        file.seek(offset)
        data = file.read(length)
    if len(data) < length:
        raise EOFError("the TAR file ends too early")
    return data
