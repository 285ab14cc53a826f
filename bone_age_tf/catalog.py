"""Finds exported models and networks in the user's folder and in the package.

Standard library only.
"""

import functools
import importlib.util
import re
from pathlib import Path

from bone_age_tf import schema

SHIPPED_MODEL = "bonewise"
"""Name of the model whose weights come with the package."""
DEFAULT_EXPORTS_DIR = "exports"
"""Folder of the user's exports in the working directory."""
_PACKAGED = "bone_age_exports"
"""Package of data files as which a wheel installs the repository's folder `exports`."""


def find_network(name: str, exports_dir: str | Path | None = None) -> Path | None:
    """Returns the folder of the newest version of a network shared by all models, or None.

    Args:
        name: one of `schema.CHECKERS`.
        exports_dir: folder that is searched first, before the exports of the package.
    """
    for place in dict.fromkeys([*search_path(exports_dir), packaged_exports()]):
        if folders := exported_versions(place).get(name):
            return folders[-1]
    return None


def search_path(exports_dir: str | Path | None) -> list[Path]:
    """Returns the folders of exports in the order in which they are searched."""
    if exports_dir is not None:
        return [Path(exports_dir)]
    return [Path(DEFAULT_EXPORTS_DIR), packaged_exports()]


@functools.cache
def packaged_exports() -> Path:
    """Returns the folder of the package's exports."""
    spec = importlib.util.find_spec(_PACKAGED)
    if spec is not None and spec.submodule_search_locations:
        return Path(next(iter(spec.submodule_search_locations)))
    return Path(__file__).parents[1] / DEFAULT_EXPORTS_DIR  # in a clone that is not installed


def exported_versions(exports_dir: str | Path) -> dict[str, list[Path]]:
    """Returns the version folders of each exported network, the highest version last.

    A version folder has an integer as its name and contains metadata.json.
    """
    versions: dict[str, list[Path]] = {}
    for path in sorted(Path(exports_dir).glob(f"*/*/{schema.METADATA_FILE}")):
        if re.fullmatch(r"[0-9]+", path.parent.name):
            versions.setdefault(path.parent.parent.name, []).append(path.parent)
    return {
        model: sorted(folders, key=lambda folder: int(folder.name))
        for model, folders in versions.items()
    }


def list_exports(exports_dir: str | Path | None = None) -> dict[str, list[int]]:
    """Returns the versions of each exported model by name, the highest last."""
    versions: dict[str, set[int]] = {}
    for place in search_path(exports_dir):
        for name, folders in exported_versions(place).items():
            if name not in schema.CHECKERS:
                versions.setdefault(name, set()).update(int(folder.name) for folder in folders)
    return {name: sorted(numbers) for name, numbers in versions.items()}


def default_model(exports_dir: str | Path | None = None) -> str:
    """Returns the shipped model if it is among the exports, else the model exported last.

    A user's model in the working directory does not replace the shipped model as the default.
    """
    dates: dict[str, float] = {}
    for place in search_path(exports_dir):
        for name, folders in exported_versions(place).items():
            if name not in schema.CHECKERS:
                date = (folders[-1] / schema.METADATA_FILE).stat().st_mtime
                dates[name] = max(date, dates.get(name, date))
    if SHIPPED_MODEL in dates or not dates:
        return SHIPPED_MODEL
    return max(dates, key=dates.__getitem__)
