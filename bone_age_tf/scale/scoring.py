"""From the bytes of one radiograph, and what is known about it, to one row of results.

`score` is a pure function: the same bytes, facts and model give the same row, and a radiograph that
cannot be read gives a row with its reason instead of an exception. It runs on LiteRT with one
thread, so that a process takes one core.
"""

import dataclasses
import functools
import hashlib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from bone_age_tf import schema
from bone_age_tf.clinical.result_columns import COLUMNS, Column
from bone_age_tf.clinical.result_columns import Row as ResultRow
from bone_age_tf.errors import RadiographError
from bone_age_tf.inference.cases import Case
from bone_age_tf.inference.result import FAILED, Result
from bone_age_tf.reader import Reader, load
from bone_age_tf.scale.items import Item, read_item

if TYPE_CHECKING:
    import pyarrow as pa

Row = dict[str, Any]
PLACE: Final = "row"
"""Column of the position in the input, from 0."""
CONTENT: Final = "content_sha256"
"""Column of the SHA-256 of the file's bytes."""
MODEL: Final = "model"
FOR_SEX: Final = {sex: f"bone_age_months_if_{sex}" for sex in schema.SEX_NAMES}
"""Columns of the bone ages of a radiograph whose sex is not known."""
NAMES: Final = (
    PLACE,
    *(column.name for column in COLUMNS),
    *FOR_SEX.values(),
    CONTENT,
    MODEL,
)
"""Names of the columns of a row."""
UNEXPECTED: Final = "not read because of an unexpected error"


@dataclasses.dataclass(frozen=True)
class Settings:
    """What determines the rows beside the radiographs; see `reader.load`.

    Attributes:
        model: name of the export; None for the shipped model.
        exports_dir: folder of exports, on each worker; None for those of the package.
        variant: the LiteRT file; None for the most exact.
        calibration: file of a site calibration, on each worker, or None.
        quality_check: whether radiographs are checked before they are read.
        sds_reference: reference of the standard deviation scores.
    """

    model: str | None = None
    exports_dir: str | None = None
    variant: str | None = None
    calibration: str | None = None
    quality_check: bool = True
    sds_reference: str = schema.BRUSH_FOUNDATION


@dataclasses.dataclass(frozen=True)
class _LoadedCase(Case):
    """A case whose bytes are already in memory."""

    data: bytes = b""

    def read_bytes(self) -> bytes:
        return self.data


@functools.lru_cache(maxsize=2)
def reader_of(settings: Settings) -> Reader:
    """Returns the reader of radiographs, which is loaded once a process.

    Raises:
        ModelError: there is no such export, or it cannot be used.
        CalibrationError: the calibration cannot be read.
    """
    import cv2

    cv2.setNumThreads(1)
    return load(
        settings.model,
        variant=settings.variant,
        exports_dir=settings.exports_dir,
        calibration=settings.calibration,
        quality_check=settings.quality_check,
    )


def score_item(item: Item, settings: Settings, read: Callable[[Item], bytes] = read_item) -> Row:
    """Reads one radiograph from where it lies; see `score`.

    Args:
        item: the radiograph.
        settings: the model and its options.
        read: returns the bytes of the file.
    """
    try:
        data = b"" if item.problem else read(item)
    except RadiographError as error:
        item, data = dataclasses.replace(item, problem=error.reason), b""
    return score(item, data, settings)


def score(item: Item, data: bytes, settings: Settings) -> Row:
    """Returns the row of one radiograph, by the names in `NAMES`.

    Args:
        item: the radiograph and what is known about the child.
        data: bytes of its PNG, JPEG or DICOM file.
        settings: the model and its options.

    Returns:
        Values by column; None where they are unknown. A radiograph without a sex has the bone ages
        for both in the columns `FOR_SEX`. A radiograph that cannot be read, and one that is
        rejected, has its status and reason.

    Raises:
        ModelError: see `reader_of`.
    """
    reader = reader_of(settings)
    case = _LoadedCase(
        item.image,
        item.as_path(),
        item.sex,
        None,
        item.problem,
        item.image,
        item.sex_source,
        item.chronological_age_months,
        item.height_cm,
        data,
    )
    try:
        result = reader.read(case)
    except Exception as error:  # one radiograph must not stop an archive
        text = f"{UNEXPECTED}: {type(error).__name__}: {error}"
        result = Result(item.image, None, {}, FAILED, (text,), model=reader.model)
    row = ResultRow(result, result.sex, settings.sds_reference)
    values: Row = {PLACE: item.place}
    values |= {column.name: column.value_fn(row) for column in COLUMNS}
    for sex, name in FOR_SEX.items():
        prediction = None if result.sex is not None else result.by_sex.get(sex)
        values[name] = None if prediction is None else prediction.age_months
    values[CONTENT] = hashlib.sha256(data).hexdigest() if data else None
    values[MODEL] = result.model or reader.model
    return values


def arrow_schema() -> "pa.Schema":
    """Returns the types of the columns, for Parquet and Spark."""
    import pyarrow as pa

    types: Mapping[str, Any] = {PLACE: pa.int64(), CONTENT: pa.string(), MODEL: pa.string()}
    types = {**types, **dict.fromkeys(FOR_SEX.values(), pa.float64())}
    columns: dict[str, Column] = {column.name: column for column in COLUMNS}
    return pa.schema(
        [
            (
                name,
                types[name]
                if name in types
                else pa.string()
                if columns[name].decimals is None
                else pa.float64(),
            )
            for name in NAMES
        ]
    )
