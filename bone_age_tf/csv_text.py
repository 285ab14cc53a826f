"""Tables as CSV text whose cells no spreadsheet runs as a formula. Standard library only."""

import csv
import io
from collections.abc import Iterable, Sequence

_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")
"""First characters of a cell that spreadsheets may run as a formula (OWASP, CSV injection)."""


def format_csv(rows: Iterable[Sequence[object]]) -> str:
    """Returns rows as CSV text, with an apostrophe before texts that look like a formula.

    Numbers, also those that come as text, stay as they are. `unescape` undoes it.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows([_escape(cell) for cell in row] for row in rows)
    return text.getvalue()


def unescape(cell: str) -> str:
    """Returns a cell that was read from a table without the apostrophe of `format_csv`."""
    return cell[1:] if cell.startswith("'") and cell[1:].startswith(_FORMULA_STARTS) else cell


def _escape(cell: object) -> object:
    if not isinstance(cell, str) or not cell.startswith(_FORMULA_STARTS):
        return cell
    try:
        float(cell)
    except ValueError:
        return f"'{cell}"
    return cell
