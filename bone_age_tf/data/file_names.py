"""Files by the names that tables give them, which need not be spelled as on the disk."""

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
        """Takes the folder that names are relative to."""
        self._folder = folder
        self._listed: dict[Path, dict[str, str]] = {}

    def find(self, name: str) -> Path | None:
        """Returns the file, None where there is none.

        Backslashes are separators, and names are the same in any Unicode normalisation: macOS
        writes decomposed names, tables hold composed ones.

        Args:
            name: path from the folder, or an absolute one.
        """
        for text in (name, name.replace("\\", "/")):
            path = self._folder / text
            try:
                if path.is_file():
                    return path
            except (OSError, ValueError):  # too long, or a NUL in it
                return None
            spelled = self._names(path.parent).get(_normal(path.name))
            if spelled is not None and (path.parent / spelled).is_file():
                return path.parent / spelled
        return None

    def similar(self, name: str) -> str | None:
        """Returns the name of a file that may be meant, None where none is similar."""
        path = self._folder / name.replace("\\", "/")
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
    """Returns the known name that is most similar; that without its ending counts as the same."""
    names = list(known)[:_MOST_LISTED]
    wanted = _stem(name)
    for candidate in names:
        if _stem(candidate) == wanted:
            return candidate
    return next(iter(difflib.get_close_matches(name, names, n=1, cutoff=0.8)), None)


def _normal(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def _stem(name: str) -> str:
    """Returns a name without its ending, and without the decimals of a number."""
    stem = re.sub(r"\.(png|jpe?g|dcm|tiff?|bmp)$", "", _normal(name).casefold())
    return re.sub(r"^(\d+)\.0+$", r"\1", stem)
