"""A radiograph with its prediction and its explanation maps."""

import dataclasses

import numpy as np

from bone_age_tf import schema
from bone_age_tf.explain.methods import importance
from bone_age_tf.explain.regions import region_shares

OK = "ok"


@dataclasses.dataclass(frozen=True)
class ExplainedCase:
    """An explained case.

    Attributes:
        image_id: name of the radiograph.
        image: [S, S] float32, 0 to 255, the network's input; None if it cannot be read.
        sex: 0 female, 1 male; None if unknown.
        age_months: the label in months; None if unknown.
        predicted_months: the prediction in months; None if there is none.
        lower_90: lower end of the 90 % interval in months, or None.
        upper_90: upper end of the 90 % interval in months, or None.
        distribution: [K] probability of each age bin; None from a regression.
        status: `OK`, or `failed` or `rejected` if there is no prediction.
        reason: reason of the status, or corrections and notes; may be empty.
        boxes: [17, 4] regions as fractions of the image, NaN if absent; None without a detector.
        maps: explanation maps [S, S] by name of the method.
        aspect: width over height of the original image.
    """

    image_id: str
    image: np.ndarray | None
    sex: int | None
    age_months: float | None = None
    predicted_months: float | None = None
    lower_90: float | None = None
    upper_90: float | None = None
    distribution: np.ndarray | None = None
    status: str = OK
    reason: str = ""
    boxes: np.ndarray | None = None
    maps: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)
    aspect: float = 1.0

    @property
    def sex_name(self) -> str:
        """Returns `female`, `male` or an empty text."""
        return "" if self.sex is None else schema.SEX_NAMES[self.sex]

    @property
    def error_months(self) -> float | None:
        """Returns the prediction minus the label, None if either is unknown."""
        if self.predicted_months is None or self.age_months is None:
            return None
        return self.predicted_months - self.age_months

    def shares(self, method: str) -> dict[str, float] | None:
        """Returns the share of a map in each region, see `region_shares`; None without boxes."""
        if self.boxes is None or method not in self.maps:
            return None
        return region_shares(importance(method, self.maps[method]), self.boxes)


def choose_cases(sex: np.ndarray, age_months: np.ndarray, count: int = 8) -> list[int]:
    """Chooses cases that cover the range of ages of both sexes.

    Args:
        sex: [N] codes of `schema.SEX_NAMES`.
        age_months: [N] ages in months.
        count: number of cases; all if there are fewer.

    Returns:
        Indices, females first, in ascending order of age for each sex.
    """
    females, males = (
        sorted(np.flatnonzero(sex == code), key=lambda i: (age_months[i], i))
        for code in (schema.FEMALE, schema.MALE)
    )
    # Half of each, and more of one where the other has too few.
    female_count = min(len(females), max(count // 2, count - len(males)))
    chosen: list[int] = []
    for by_age, number in ((females, female_count), (males, count - female_count)):
        places = np.linspace(0, len(by_age) - 1, min(number, len(by_age))).round().astype(int)
        chosen += [int(by_age[place]) for place in places]
    return chosen


def years_and_months(months: float) -> str:
    """Returns an age in years and months, such as `7 y 4 m`."""
    years, rest = divmod(max(0, round(months)), 12)
    return f"{years} y {rest} m"
