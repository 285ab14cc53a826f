"""The table of refusals, and a summary of the rows of an archive."""

import collections
import csv
import io
import json
import math
from typing import Any, Final

import numpy as np

from bone_age_tf import reasons, schema
from bone_age_tf.inference.result import OK
from bone_age_tf.scale import storage
from bone_age_tf.scale.parts import Output
from bone_age_tf.scale.scoring import FOR_SEX, PLACE

REFUSALS_FILE: Final = "refusals.csv"
SUMMARY_FILE: Final = "summary.json"
_REFUSAL_COLUMNS = (PLACE, "image", "status", "reason")
_BAND_MONTHS: Final = 24
_DETAIL = ":"
"""What follows it in a reason concerns one radiograph, such as its size."""


def write_summary(output: Output, seconds: float, newly_read: int) -> dict[str, Any]:
    """Writes `refusals.csv` and `summary.json` from the parts; one part at a time is in memory.

    Args:
        output: the folder with the parts.
        seconds: duration of the reading, without the start of the engine where it is known.
        newly_read: number of radiographs that were read in this time.

    Returns:
        The content of `summary.json`: number of radiographs by status, by reason, with a corrected
        radiograph; by sex the number, the mean bone age in months and the number in each two-year
        band; and the radiographs a second.

    Raises:
        OSError: a file cannot be written.
    """
    statuses: collections.Counter[str] = collections.Counter()
    why: collections.Counter[str] = collections.Counter()
    bands: dict[str, collections.Counter[str]] = {sex: collections.Counter() for sex in FOR_SEX}
    sums = dict.fromkeys(FOR_SEX, 0.0)
    refusals = io.StringIO()
    writer = csv.writer(refusals, lineterminator="\n")
    writer.writerow(_REFUSAL_COLUMNS)
    for table in output.tables():
        columns = {name: table.column(name).to_pylist() for name in _REFUSAL_COLUMNS}
        statuses.update(columns["status"])
        for cells in zip(*columns.values(), strict=True):
            if cells[2] != OK:
                writer.writerow(cells)
                why[kind_of(cells[3])] += 1
        ages = np.array(table.column("bone_age_months").to_pylist(), float)
        sexes = np.array(table.column(schema.SEX).to_pylist(), object)
        for sex in FOR_SEX:
            months = ages[(sexes == sex) & np.isfinite(ages)]
            sums[sex] += float(months.sum())
            bands[sex].update(_band(age) for age in months)
    counts = {sex: sum(bands[sex].values()) for sex in FOR_SEX}
    content = {
        "radiographs": sum(statuses.values()),
        "by_status": dict(sorted(statuses.items())),
        "reasons": dict(why.most_common()),
        "by_sex": {
            sex: {
                "n": counts[sex],
                "mean_bone_age_months": sums[sex] / counts[sex] if counts[sex] else None,
                "by_bone_age_months": dict(sorted(bands[sex].items())),
            }
            for sex in FOR_SEX
        },
        "newly_read": newly_read,
        "radiographs_per_second": newly_read / seconds if newly_read and seconds else None,
    }
    storage.write_file(storage.join(output.folder, REFUSALS_FILE), refusals.getvalue().encode())
    text = json.dumps(content, indent=2, ensure_ascii=False)
    storage.write_file(storage.join(output.folder, SUMMARY_FILE), text.encode())
    return content


def kind_of(reason: str) -> str:
    """Returns the kind of a reason, without what concerns one radiograph."""
    for text in filter(None, reasons.TEXTS.values()):
        if reason.startswith(text):
            return text
    return reason.split(_DETAIL)[0].split(" (")[0]


def _band(age_months: float) -> str:
    low = math.floor(age_months / _BAND_MONTHS) * _BAND_MONTHS
    return f"{low:03d} to {low + _BAND_MONTHS:03d}"
