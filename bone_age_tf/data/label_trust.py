"""Which training images are left out, and how much the labels of the others are trusted."""

import math
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from bone_age_tf import schema
from bone_age_tf.data import rows
from bone_age_tf.errors import ConfigError
from bone_age_tf.settings import Config

TRUST = "trust"
_BAND_MONTHS = 24.0
_MOST_WEIGHT = 5.0
"""One label of a rare age must not move the network alone."""


def read_label_trust(config: Config) -> dict[str, float]:
    """Reads the tables that `leave_out` and `trust` name; `--mode=audit` writes such tables.

    Args:
        config: of a run. `leave_out`: a CSV with the column image_id. `trust`: a CSV with the
            columns image_id and trust, from 0 to 1. Either may be empty.

    Returns:
        Weights by image id: 0 for what is left out; an image that no table names has 1.

    Raises:
        ConfigError: a table cannot be read; the message names the file, the line and the value.
    """
    trust = {}
    if config.trust:
        for line, name, text in _cells(Path(config.trust), "trust", (schema.IMAGE_ID, TRUST)):
            try:
                trust[name] = float(text)
            except ValueError:
                trust[name] = math.nan
            if not 0 <= trust[name] <= 1:
                raise ConfigError(f"{config.trust}:{line}: {TRUST} is {text!r}; write 0 to 1")
    if config.leave_out:
        trust |= {
            n: 0.0 for _, n in _cells(Path(config.leave_out), "leave_out", (schema.IMAGE_ID,))
        }
    return trust


def image_weights(
    config: Config,
    image_ids: Sequence[str],
    sex: np.ndarray,
    age_months: np.ndarray,
) -> dict[str, float]:
    """Returns how much each training image counts by its id; an id that is not named counts 1.

    Args:
        config: its `leave_out`, `trust` and `balance`.
        image_ids: N ids of the training images.
        sex: [N] codes.
        age_months: [N].

    Raises:
        ConfigError: see `read_label_trust`; or its tables name none of the images.
    """
    trust = read_label_trust(config)
    require_named(trust, image_ids)
    if not config.balance:
        return trust
    weights = balance_weights(image_ids, sex, age_months, config.balance)
    return {name: weight * trust.get(name, 1.0) for name, weight in weights.items()}


def balance_weights(
    image_ids: Sequence[str], sex: np.ndarray, age_months: np.ndarray, strength: float
) -> dict[str, float]:
    """Returns weights by image id, higher where images of the sex and about the age are rare.

    A weight is the inverse of the number of images of the sex in the same band of
    `_BAND_MONTHS`, to the power of `strength`; the mean over the images is 1 before the
    highest are cut to `_MOST_WEIGHT`.

    Args:
        image_ids: N texts.
        sex: [N] codes.
        age_months: [N].
        strength: 0 for equal weights, 1 for bands that weigh alike.
    """
    bands = (np.asarray(age_months) // _BAND_MONTHS).astype(int) * len(schema.SEX_NAMES) + sex
    _, place, counts = np.unique(bands, return_inverse=True, return_counts=True)
    weights = counts[place] ** -float(strength)
    weights = np.minimum(weights / weights.mean(), _MOST_WEIGHT)
    return dict(zip(image_ids, weights.tolist(), strict=True))


def require_named(trust: dict[str, float], image_ids: Iterable[str]) -> None:
    """Raises a `ConfigError` unless the tables name one of the training images at least."""
    if trust and not trust.keys() & set(image_ids):
        raise ConfigError(
            f"none of the {len(trust)} image ids in --config.leave_out and --config.trust, such as "
            f"{next(iter(trust))!r}, is that of a training image; take the tables that "
            "--mode=audit wrote for this dataset"
        )


def _cells(path: Path, key: str, columns: tuple[str, ...]) -> list[tuple]:
    try:
        table = rows.read_csv(path.read_bytes(), str(path))
    except OSError as error:
        raise ConfigError(f"--config.{key}={path}: {error.strerror}") from None
    missing = [column for column in columns if column not in table.header]
    if missing:
        raise ConfigError(
            f"{path}: no column {missing[0]!r}; its columns are: {', '.join(table.header)}"
        )
    places = [table.header.index(column) for column in columns]
    return [(line, *(cells[place] for place in places)) for line, cells in table.rows]
