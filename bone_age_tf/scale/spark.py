"""Reads radiographs in Apache Spark: `score` for DataFrames, and the parts of a folder.

Rows pass between Spark and Python as Arrow tables (`mapInArrow`), without pandas, of whose version
3 Spark 4 supports only a part. The model is loaded once in each Python worker.
"""

import os
import sys
import warnings
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from bone_age_tf import schema
from bone_age_tf.errors import EngineError, InputError
from bone_age_tf.inference.cases import COLUMNS, parse_sex_option, parse_table
from bone_age_tf.scale.items import Item
from bone_age_tf.scale.parts import Output, Part, score_part
from bone_age_tf.scale.scoring import PLACE, Settings, arrow_schema, score_item
from bone_age_tf.scale.scoring import score as scored

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

PATH, CONTENT = "path", "content"
"""Columns of Spark's data source `binaryFile`."""
_FACTS = tuple(name for name in COLUMNS if name not in (schema.IMAGE, schema.AGE_MONTHS))
_LOOPBACK = ("local", "spark://127.0.0.1", "spark://localhost")


def score(df: "DataFrame", settings: Settings | None = None, sex: str | None = None) -> "DataFrame":
    """Reads the radiographs of a DataFrame.

    Args:
        df: a column `path` (or `image`) with locations that each worker can open; or `path` and
            `content` (bytes), as `spark.read.format("binaryFile")` returns them. Optional columns:
            `sex`, `chronological_age_months`, `height_cm`; and `row`, an integer, which is taken
            over.
        settings: the model and its options, None for the shipped model; the package has to be
            installed on the workers.
        sex: for rows without one; None if unknown.

    Returns:
        A DataFrame with a row for each row, with the columns `scoring.NAMES`.

    Raises:
        InputError: there is no column `path` or `image`.
    """
    from pyspark.sql.pandas.types import from_arrow_schema

    name = next((name for name in (PATH, schema.IMAGE) if name in df.columns), None)
    if name is None:
        raise InputError(f"columns {', '.join(df.columns)}: none is {PATH!r} or {schema.IMAGE!r}")
    given = settings or Settings()
    wanted = [column for column in (PLACE, CONTENT, *_FACTS) if column in df.columns]

    def read(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            rows = [_row(values, name, given, sex) for values in batch.to_pylist()]
            yield from pa.Table.from_pylist(rows, arrow_schema()).to_batches()

    return df.select(name, *wanted).mapInArrow(read, from_arrow_schema(arrow_schema()))


def _row(values: dict[str, Any], name: str, settings: Settings, sex: str | None) -> dict[str, Any]:
    """Returns the result of a row of a DataFrame."""
    location = str(values[name])
    facts = [key for key in _FACTS if values.get(key) is not None]
    header = [schema.IMAGE, *facts]
    cells = [location, *(str(values[key]) for key in facts)]
    (case,) = parse_table("the DataFrame", [header, cells], parse_sex_option(sex))
    place = values.get(PLACE)
    item = Item.of_case(-1 if place is None else int(place), case, _without_scheme(location))
    data = values.get(CONTENT)
    row = score_item(item, settings) if data is None else scored(item, bytes(data), settings)
    return row if place is not None else {**row, PLACE: None}


def _without_scheme(location: str) -> str:
    """Returns the path of a location `file:/...`, as Spark writes paths; others as they are."""
    return (
        "/" + location.removeprefix("file:").lstrip("/")
        if location.startswith("file:")
        else (location)
    )


def open_session(master: str, workers: int | None = None) -> "SparkSession":
    """Returns a Spark session for a master, with this Python for the workers of this machine.

    Args:
        master: such as `local[2]` or `spark://HOST:7077`.
        workers: largest number of cores; None for all.

    Raises:
        InputError: there is no Java, or the master cannot be reached.
    """
    from pyspark.errors import PySparkException
    from pyspark.sql import SparkSession

    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    builder = (
        SparkSession.builder.master(master)
        .appName("bone-age")
        .config("spark.ui.enabled", "false")
        .config("spark.ui.showConsoleProgress", "false")
        .config("spark.log.level", "ERROR")
        .config("spark.task.maxFailures", "8")
    )
    if master.startswith(_LOOPBACK):
        builder = builder.config("spark.driver.host", "127.0.0.1")
        builder = builder.config("spark.driver.bindAddress", "127.0.0.1")
    if workers is not None:
        builder = builder.config("spark.cores.max", str(workers))
    warnings.filterwarnings("ignore", "PySpark does not yet fully support pandas", FutureWarning)
    try:
        return builder.getOrCreate()
    except (PySparkException, OSError) as error:
        raise InputError(
            f"--master={master}: Spark cannot be started ({error}); it needs Java 17 or newer"
        ) from None


def run(session: "SparkSession", parts: Sequence[Part], settings: Settings, output: Output) -> None:
    """Reads parts in Spark, each as one task, and waits for the end.

    Raises:
        EngineError: a task failed, more often than Spark repeats it.
    """
    from py4j.protocol import Py4JError

    def read(part: Part) -> int:
        return score_part(part, settings, output)

    try:
        session.sparkContext.parallelize(parts, len(parts)).map(read).sum()
    except Py4JError as error:
        raise EngineError(f"Spark: {str(error).strip().splitlines()[-1]}") from error
