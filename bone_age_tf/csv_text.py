"""Writes tables as CSV without cells that spreadsheets run as formulas. Standard library only."""

import csv
import io
from collections.abc import Iterable, Sequence

_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")
"""First characters of a cell that spreadsheets may run as a formula (OWASP, CSV injection)."""


def format_csv(rows: Iterable[Sequence[object]]) -> str:
    """Returns rows as CSV text, with an apostrophe before texts that look like formulas.

    Numbers are not changed, even as texts. `unescape` reverts the change.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows([_escape(cell) for cell in row] for row in rows)
    return text.getvalue()


def unescape(cell: str) -> str:
    """Removes the apostrophe of `format_csv` from a cell."""
    return cell[1:] if cell.startswith("'") and cell[1:].startswith(_FORMULA_STARTS) else cell


def _escape(cell: object) -> object:
    if not isinstance(cell, str) or not cell.startswith(_FORMULA_STARTS):
        return cell
    try:
        float(cell)
    except ValueError:
        return f"'{cell}"
    return cell
