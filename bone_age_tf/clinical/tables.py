"""The published tables of this package, and interpolation between their rows.

The tables are CSV files in the folder `tables`; the first lines of each name its source. A table is
read when it is first used. Nothing is extrapolated: outside a curve there is no value.
"""

import csv
import dataclasses
import functools
import importlib.resources
from collections.abc import Mapping
from types import MappingProxyType

import numpy as np


@dataclasses.dataclass(frozen=True, eq=False)
class Curve:
    """Values at increasing places, with straight lines between them.

    Attributes:
        places: [N] increasing places, such as ages in months.
        values: [N] the values at these places.
    """

    places: np.ndarray
    values: np.ndarray

    @property
    def first(self) -> float:
        """The first place of the table."""
        return float(self.places[0])

    @property
    def last(self) -> float:
        """The last place of the table."""
        return float(self.places[-1])

    def at(self, place: float) -> float | None:
        """Returns the interpolated value; None outside the table."""
        if not self.first <= place <= self.last:
            return None
        return float(np.interp(place, self.places, self.values))


@functools.cache
def read_rows(name: str) -> tuple[Mapping[str, str], ...]:
    """Returns the rows of a table as texts by column.

    Args:
        name: file name without `.csv`.
    """
    file = importlib.resources.files("bone_age_tf.clinical") / "tables" / f"{name}.csv"
    lines = file.read_text(encoding="utf-8").splitlines()
    rows = csv.DictReader(line for line in lines if not line.startswith("#"))
    return tuple(MappingProxyType(row) for row in rows)


@functools.cache
def read_curve(name: str, place: str, value: str, **keys: str) -> Curve:
    """Returns one column of a table as a curve.

    Rows without a value are left out. Where several rows have the same place, the curve has the
    mean of their values, as for the scores that two ages share.

    Args:
        name: file name without `.csv`.
        place: column of the places.
        value: column of the values.
        **keys: columns with the text that a row must have, such as `sex="female"`.
    """
    rows = [
        row
        for row in read_rows(name)
        if row[value] and all(row[column] == text for column, text in keys.items())
    ]
    places = np.array([float(row[place]) for row in rows])
    values = np.array([float(row[value]) for row in rows])
    unique, owner = np.unique(places, return_inverse=True)
    means = np.bincount(owner, values) / np.bincount(owner)
    for array in (unique, means):
        array.setflags(write=False)  # cached and shared
    return Curve(unique, means)
