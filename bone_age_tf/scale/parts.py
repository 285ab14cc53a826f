"""Divides an archive into parts, each read by one worker and written as one file.

A part's file is moved into place when it is complete, and it depends on nothing but its
radiographs, the model and the options. So a part that is read twice, because a worker or the whole
process died, has the same bytes, and a second call reads only the parts that have no file yet.
"""

import dataclasses
import gzip
import hashlib
import io
import itertools
import json
import re
import uuid
from collections.abc import Iterator, Sequence
from typing import Any, Final

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from bone_age_tf.errors import InputError
from bone_age_tf.scale import storage
from bone_age_tf.scale.items import Item
from bone_age_tf.scale.scoring import Settings, arrow_schema, reader_of, score_item

PLAN_FILE: Final = "plan.json"
PARQUET, CSV = "parquet", "csv"
FORMATS: Final = (PARQUET, CSV)
PART_ROWS: Final = 256
"""Default number of radiographs of a part: a few seconds of work, which is lost when a worker
dies."""
_LIST_PREFIX, _LIST_SUFFIX = "unread-", ".json.gz"
_PART_NAME = re.compile(r"part-(\d{6})\.parquet")


@dataclasses.dataclass(frozen=True)
class Part:
    """Consecutive radiographs of an archive.

    Attributes:
        number: position among the parts, from 0.
        items: the radiographs.
    """

    number: int
    items: tuple[Item, ...]

    def to_bytes(self) -> bytes:
        """Returns compressed JSON, which `from_bytes` takes."""
        rows = [list(vars(item).values()) for item in self.items]
        return gzip.compress(json.dumps([self.number, rows]).encode(), mtime=0)

    @classmethod
    def from_bytes(cls, content: bytes) -> "Part":
        """Returns the part of `to_bytes`."""
        number, rows = json.loads(gzip.decompress(content))
        return cls(number, tuple(Item.of_values(values) for values in rows))


@dataclasses.dataclass(frozen=True)
class PartList:
    """A file that holds parts, each of which can be read alone.

    Attributes:
        location: the file.
        places: offset of each part in the file and its length, in bytes.
    """

    location: str
    places: tuple[tuple[int, int], ...]


@dataclasses.dataclass(frozen=True)
class Output:
    """Where the rows of an archive are written.

    Attributes:
        folder: path or URL.
        formats: of `FORMATS`; Parquet is always written, last, and tells that a part is complete.
    """

    folder: str
    formats: tuple[str, ...] = (PARQUET,)

    def location(self, number: int, suffix: str = PARQUET) -> str:
        """Returns the location of a part's file."""
        return storage.join(self.folder, f"part-{number:06d}.{suffix}")

    def finished(self) -> set[int]:
        """Returns the numbers of the parts that are complete."""
        matches = map(_PART_NAME.fullmatch, storage.names_in(self.folder))
        return {int(match[1]) for match in matches if match is not None}

    def write_list(self, parts: Sequence[Part]) -> PartList:
        """Writes parts to a file of a name of its own, for workers.

        Raises:
            OSError: the file cannot be written.
        """
        location = storage.join(self.folder, f"{_LIST_PREFIX}{uuid.uuid4().hex}{_LIST_SUFFIX}")
        contents = [part.to_bytes() for part in parts]
        sizes = [len(content) for content in contents]
        offsets = itertools.accumulate(sizes, initial=0)
        storage.write_file(location, b"".join(contents))
        return PartList(location, tuple(zip(offsets, sizes, strict=False)))

    def remove_lists(self) -> None:
        """Removes what `write_list` wrote for pipelines that have been killed since.

        For when all parts are complete, so that no machine needs them.
        """
        for name in list(storage.names_in(self.folder)):
            if name.startswith(_LIST_PREFIX) and name.endswith(_LIST_SUFFIX):
                storage.remove(storage.join(self.folder, name))

    def tables(self) -> Iterator[pa.Table]:
        """Yields the rows of each complete part, in order."""
        for number in sorted(self.finished()):
            yield pq.read_table(io.BytesIO(storage.read_file(self.location(number))))


@dataclasses.dataclass(frozen=True)
class Plan:
    """Everything that determines the rows of an archive.

    Attributes:
        source: the input as the user wrote it.
        items: number of radiographs.
        items_sha256: SHA-256 of all of them and what is known about them.
        part_rows: radiographs of a part.
        model: name, version and variant of the model.
        settings: the options.
    """

    source: str
    items: int
    items_sha256: str
    part_rows: int
    model: str
    settings: dict[str, Any]

    @classmethod
    def of(cls, source: str, items: Sequence[Item], part_rows: int, settings: Settings) -> "Plan":
        """Returns the plan for an archive; loads the model.

        Raises:
            ModelError: there is no such export, or it cannot be used.
        """
        digest = hashlib.sha256()
        for item in items:
            digest.update(repr(item).encode("utf-8", "backslashreplace"))
        options = dataclasses.asdict(settings)
        model = reader_of(settings).model
        return cls(source, len(items), digest.hexdigest(), part_rows, model, options)


def make_parts(items: Sequence[Item], part_rows: int) -> list[Part]:
    """Returns the parts of an archive, each with `part_rows` radiographs, the last with fewer."""
    starts = range(0, len(items), part_rows)
    return [
        Part(number, tuple(items[start : start + part_rows])) for number, start in enumerate(starts)
    ]


def read_part(location: str, offset: int, size: int) -> Part:
    """Returns one part of a file that `Output.write_list` wrote.

    Raises:
        OSError: the file cannot be read.
    """
    with storage.open_file(location) as file:
        file.seek(offset)
        return Part.from_bytes(file.read(size))


def begin_or_continue(plan: Plan, output: Output) -> set[int]:
    """Records the plan in the folder, or checks that the folder was begun with the same plan.

    Returns:
        The numbers of the parts that are already complete.

    Raises:
        InputError: the folder contains results of another plan.
        OSError: the folder cannot be written.
    """
    location = storage.join(output.folder, PLAN_FILE)
    content = dataclasses.asdict(plan)
    if not storage.exists(location):
        if output.finished():
            raise InputError(
                f"{output.folder}: parts without a {PLAN_FILE}; give another folder as --output"
            )
        storage.write_file(location, json.dumps(content, indent=2).encode())
        return set()
    try:
        before = json.loads(storage.read_file(location))
    except ValueError:
        raise InputError(f"{location}: damaged; give another folder as --output") from None
    changed = [name for name in content if before.get(name) != content[name]]
    if changed:
        name = changed[0]
        raise InputError(
            f"{output.folder}: begun with {name} {before.get(name)!r}, now it is "
            f"{content[name]!r}; repeat the same command, or give another folder as --output"
        )
    return output.finished()


def score_part(part: Part, settings: Settings, output: Output) -> int:
    """Reads the radiographs of a part and writes its files; returns the number of rows.

    Raises:
        ModelError: the model cannot be used.
        OSError: a file cannot be written.
    """
    rows = [score_item(item, settings) for item in part.items]
    write_part(part.number, pa.Table.from_pylist(rows, arrow_schema()), output)
    return len(rows)


def write_part(number: int, table: pa.Table, output: Output) -> None:
    """Writes the rows of a part; its Parquet file last.

    Raises:
        OSError: a file cannot be written.
    """
    if CSV in output.formats:
        buffer = io.BytesIO()
        pa_csv.write_csv(table, buffer)
        storage.write_file(output.location(number, CSV), buffer.getvalue())
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd")
    storage.write_file(output.location(number), buffer.getvalue())
