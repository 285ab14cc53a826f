"""Finds files by their names in tables, which may be spelled differently than on the disk."""

import difflib
import re
import unicodedata
from collections.abc import Iterable
from pathlib import Path

_MOST_LISTED = 20_000
"""Maximum number of names among which a similar one is searched."""


class NamedFiles:
    """Finds the files of a folder by name; each folder is listed once."""

    def __init__(self, folder: Path):
        """Creates a finder of files with names relative to a folder."""
        self.folder = folder
        self._listed: dict[Path, dict[str, str]] = {}

    def find(self, name: str) -> Path | None:
        """Returns the path of a file, None if there is none.

        Backslashes are separators. Names are compared in a Unicode normal form, since macOS writes
        decomposed names and tables contain composed names.

        Args:
            name: path relative to the folder, or an absolute path.
        """
        for text in (name, name.replace("\\", "/")):
            path = self.folder / text
            try:
                if path.is_file():
                    return path
            except (OSError, ValueError):  # the name is too long or contains NUL
                return None
            spelled = self._names(path.parent).get(_normal(path.name))
            if spelled is not None and (path.parent / spelled).is_file():
                return path.parent / spelled
        return None

    def similar(self, name: str) -> str | None:
        """Returns the most similar name of a file, None if no name is similar."""
        path = self.folder / name.replace("\\", "/")
        return similar_name(path.name, self._names(path.parent).values())

    def _names(self, folder: Path) -> dict[str, str]:
        if folder not in self._listed:
            try:
                names = [path.name for path in folder.iterdir()]
            except (OSError, ValueError):
                names = []
            self._listed[folder] = {_normal(name): name for name in names}
        return self._listed[folder]


def similar_name(name: str, known: Iterable[str]) -> str | None:
    """Returns the most similar known name; names that differ only in the extension are equal."""
    names = list(known)[:_MOST_LISTED]
    stem = _stem(name)
    for candidate in names:
        if _stem(candidate) == stem:
            return candidate
    return next(iter(difflib.get_close_matches(name, names, n=1, cutoff=0.8)), None)


def _normal(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def _stem(name: str) -> str:
    """Returns a name without its extension, and a number without zero decimals."""
    stem = re.sub(r"\.(png|jpe?g|dcm|tiff?|bmp)$", "", _normal(name).casefold())
    return re.sub(r"^(\d+)\.0+$", r"\1", stem)
