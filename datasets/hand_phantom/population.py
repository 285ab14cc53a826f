"""A population of phantoms: the settings of a dataset, and the subject of each film."""

import dataclasses
import functools
import math
import numbers
from typing import Final

import numpy as np

from bone_age_tf import schema

SPLITS: Final = ("train", "validation", "test")
"""Order matters: a split's position is part of the seed of its examples."""

AGE_DISTRIBUTIONS: Final = ("uniform", "rsna_like", "skewed")

MIN_AGE_MONTHS: Final = 1.0
"""Lowest age of any kind: that of the youngest RSNA 2017 label."""

CHRONOLOGICAL_SD_MONTHS: Final = 10.0
"""SD of chronological minus bone age. About the mean SD of the Brush Foundation standards over
school ages (Greulich and Pyle 1959), here the same at every age."""

FIXED_OSSIFICATION_MONTHS: Final = 120.0
"""Age at which all centres are drawn without `PhantomSettings.ossification`."""

RSNA_MEAN_MONTHS: Final = 127.0
RSNA_SD_MONTHS: Final = 41.0
RSNA_RANGE_MONTHS: Final = (1.0, 228.0)
"""Mean, SD and range of the bone ages of the RSNA 2017 training images (Halabi et al. 2019,
Radiology 290:498), computed from the labels of 11,611 of the 12,611 by
`benchmarks/phantom_proportions.py`."""

SKEWED_BETA: Final = (2.0, 5.0)
"""Shape of `skewed`, mostly young children: a Beta distribution over the range of ages."""

LABELS: Final = 0
PICTURE: Final = 1
"""Streams of random numbers of one example."""


@dataclasses.dataclass(frozen=True)
class PhantomSettings:
    """All settings of a dataset; equal settings give equal datasets.

    Attributes:
        train: number of training examples.
        validation: number of validation examples.
        test: number of test examples.
        image_size_px: height and width of the images, 32 to 2048.
        min_age_months: lower end of the bone ages, 1 to 240.
        max_age_months: upper end of them, `min_age_months` to 240.
        age_distribution: one of `AGE_DISTRIBUTIONS`; `age_quantile` says what they are.
        female_fraction: share of girls, 0 to 1.
        maturity_shift_months: how much more mature the hands are than their label says, -120 to
            120: the label is read by this population's own standard.
        label_noise_months: SD of the error of the label, 0 to 60. The hand does not follow it.
        ossification: False draws every centre at `FIXED_OSSIFICATION_MONTHS`, while the size of
            the hand follows the age.
        random_size: True draws the age that the hand's size and build follow anew, from the same
            distribution, so that only ossification tells the age.
        variety: how different films, postures and the looks of bones are, from 0, all alike, to 1,
            as different as real ones.
        seed: seed of everything random, 0 or more.

    Raises:
        ValueError: a value is not allowed; the message names the field, the value and the allowed
            values.
    """

    train: int = 1200
    validation: int = 200
    test: int = 400
    image_size_px: int = 128
    min_age_months: float = 3.0
    max_age_months: float = 228.0
    age_distribution: str = "uniform"
    female_fraction: float = 0.5
    maturity_shift_months: float = 0.0
    label_noise_months: float = 0.0
    ossification: bool = True
    random_size: bool = False
    variety: float = 1.0
    seed: int = 20171125

    def __post_init__(self) -> None:
        for name in SPLITS:
            self._require_number(name, 0, math.inf, numbers.Integral)
        if not any(map(self.count, SPLITS)):
            raise ValueError("train, validation and test are 0; at least one must be more")
        self._require_number("image_size_px", 32, 2048, numbers.Integral)
        self._require_number("min_age_months", MIN_AGE_MONTHS, schema.MAX_AGE_MONTHS)
        self._require_number("max_age_months", self.min_age_months, schema.MAX_AGE_MONTHS)
        self._require_number("female_fraction", 0, 1)
        self._require_number("maturity_shift_months", -120, 120)
        self._require_number("label_noise_months", 0, 60)
        self._require_number("variety", 0, 1)
        self._require_number("seed", 0, math.inf, numbers.Integral)
        if self.age_distribution not in AGE_DISTRIBUTIONS:
            raise ValueError(
                f"age_distribution is {self.age_distribution!r}; "
                f"allowed are {', '.join(AGE_DISTRIBUTIONS)}"
            )
        for name in ("ossification", "random_size"):
            if not isinstance(getattr(self, name), bool):
                raise ValueError(f"{name} is {getattr(self, name)!r}; allowed are True and False")

    def _require_number(
        self, name: str, low: float, high: float, kind: type = numbers.Real
    ) -> None:
        value = getattr(self, name)
        good = isinstance(value, kind) and not isinstance(value, bool)
        if not (good and low <= value <= high):  # NaN fails too
            what = "whole numbers" if kind is numbers.Integral else "numbers"
            span = f"from {low:g} on" if math.isinf(high) else f"from {low:g} to {high:g}"
            raise ValueError(f"{name} is {value!r}; allowed are {what} {span}")
        # NumPy's numbers are welcome, but have no place in a JSON file.
        object.__setattr__(self, name, (int if kind is numbers.Integral else float)(value))

    def count(self, split: str) -> int:
        """Returns the number of examples of a split.

        Raises:
            ValueError: no such split.
        """
        if split not in SPLITS:
            raise ValueError(f"split is {split!r}; allowed are {', '.join(SPLITS)}")
        return getattr(self, split)


@functools.cache
def _age_table(distribution: str, low: float, high: float) -> tuple[np.ndarray, np.ndarray]:
    """Returns cumulative probabilities, rising from 0 to 1, and the ages they belong to."""
    place = (np.arange(4000) + 0.5) / 4000
    ages = low + place * (high - low)
    if distribution == "rsna_like":
        first, last = RSNA_RANGE_MONTHS
        # The Beta distribution over the whole range with this mean and SD.
        mean = (RSNA_MEAN_MONTHS - first) / (last - first)
        total = mean * (1.0 - mean) / (RSNA_SD_MONTHS / (last - first)) ** 2 - 1.0
        shape, place = (mean * total, (1.0 - mean) * total), (ages - first) / (last - first)
    else:
        shape = SKEWED_BETA if distribution == "skewed" else (1.0, 1.0)
    place = np.clip(place, 1e-9, 1.0 - 1e-9)
    logarithm = (shape[0] - 1.0) * np.log(place) + (shape[1] - 1.0) * np.log1p(-place)
    density = np.exp(logarithm - logarithm.max())
    cumulative = np.concatenate([[0.0], np.cumsum(density)])
    return cumulative / cumulative[-1], np.linspace(low, high, 4001)


def age_quantile(settings: PhantomSettings, probability: float) -> float:
    """Returns the age in months below which a share of a population's labels lies.

    `uniform`: every age alike. `rsna_like`: the Beta distribution over 1 to 228 months with the
    published mean and SD of the RSNA 2017 training images, 127 and 41 months; only these two
    figures are theirs, the form is an approximation, slightly skewed to the left. `skewed`: mostly
    young, Beta(2, 5) over the range of ages. The latter two are cut off at the range of ages.

    Args:
        settings: the distribution and its range.
        probability: the share, 0 to 1.
    """
    table = _age_table(settings.age_distribution, settings.min_age_months, settings.max_age_months)
    return float(np.interp(probability, *table))


def sex_at(settings: PhantomSettings, index: int) -> int:
    """Returns the sex at a position: girls are spread evenly, even positions at one half."""
    girls = [math.floor(i * settings.female_fraction + 0.5) for i in (index, index + 1)]
    return schema.FEMALE if girls[1] > girls[0] else schema.MALE


@dataclasses.dataclass(frozen=True)
class Subject:
    """The subject of a film: sex and ages in months.

    Attributes:
        sex: `schema.FEMALE` or `schema.MALE`.
        age_months: the label, with its error.
        chronological_age_months: about the label without its error.
        hand_age_months: age at which the hand is drawn.
        skeletal_age_months: the same for its ossification centres.
        size_age_months: the same for its size and build.
    """

    sex: int
    age_months: float
    chronological_age_months: float
    hand_age_months: float
    skeletal_age_months: float
    size_age_months: float


def draw_subject(settings: PhantomSettings, split: str, index: int) -> Subject:
    """Draws the subject of the film at a position; depends only on the arguments.

    Raises:
        ValueError: no such split.
    """
    rng = random_stream(settings, split, index, LABELS)
    age = age_quantile(settings, rng.random())
    deviation, error = rng.standard_normal(2)
    other_age = age_quantile(settings, rng.random())
    hand_age = _possible(age + settings.maturity_shift_months)
    return Subject(
        sex=sex_at(settings, index),
        age_months=_possible(age + settings.label_noise_months * error),
        chronological_age_months=max(MIN_AGE_MONTHS, age + CHRONOLOGICAL_SD_MONTHS * deviation),
        hand_age_months=hand_age,
        skeletal_age_months=hand_age if settings.ossification else FIXED_OSSIFICATION_MONTHS,
        size_age_months=other_age if settings.random_size else hand_age,
    )


def random_stream(
    settings: PhantomSettings, split: str, index: int, stream: int
) -> np.random.Generator:
    """Returns a stream of random numbers of one example.

    Args:
        settings: whose seed counts.
        split: one of `SPLITS`.
        index: position in the split.
        stream: `LABELS` or `PICTURE`; neither depends on how much is drawn from the other.

    Raises:
        ValueError: no such split.
    """
    settings.count(split)
    return np.random.default_rng([settings.seed, SPLITS.index(split), index, stream])


def _possible(age_months: float) -> float:
    return min(max(age_months, MIN_AGE_MONTHS), schema.MAX_AGE_MONTHS)
