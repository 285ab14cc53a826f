"""Weights of training images, from tables of excluded images and trusted labels and from ages."""

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
"""Maximum weight of an image, so that no label of a rare age dominates."""


def read_label_trust(config: Config) -> dict[str, float]:
    """Reads the tables that `leave_out` and `trust` name; `--mode=audit` writes such tables.

    Args:
        config: config of a run. `leave_out`: a CSV with the column image_id. `trust`: a CSV with
            the columns image_id and trust, from 0 to 1. Either may be empty.

    Returns:
        Weights by image id, 0 for excluded images; images that are not in a table are omitted and
        have the weight 1.

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
    """Returns weights of training images by image id; an id that is omitted has the weight 1.

    Args:
        config: config with `leave_out`, `trust` and `balance`.
        image_ids: ids of the N training images.
        sex: [N] codes of `schema.SEX_NAMES`.
        age_months: [N] ages in months.

    Raises:
        ConfigError: see `read_label_trust`; or the tables contain none of the images.
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
    """Returns weights by image id that are higher for rare ages of a sex.

    A weight is the inverse of the number of images of the sex in the same age band of
    `_BAND_MONTHS`, to the power of `strength`. The mean weight is 1 before weights are limited to
    `_MOST_WEIGHT`.

    Args:
        image_ids: ids of the N images.
        sex: [N] codes of `schema.SEX_NAMES`.
        age_months: [N] ages in months.
        strength: 0 for equal weights of images, 1 for equal weights of age bands.
    """
    bands = (np.asarray(age_months) // _BAND_MONTHS).astype(int) * len(schema.SEX_NAMES) + sex
    _, place, counts = np.unique(bands, return_inverse=True, return_counts=True)
    weights = counts[place] ** -float(strength)
    weights = np.minimum(weights / weights.mean(), _MOST_WEIGHT)
    return dict(zip(image_ids, weights.tolist(), strict=True))


def require_named(trust: dict[str, float], image_ids: Iterable[str]) -> None:
    """Raises a `ConfigError` if the tables contain none of the training images."""
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
