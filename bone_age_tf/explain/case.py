"""One radiograph with its answer and its maps: what pictures, galleries and tables are made of."""

import dataclasses

import numpy as np

from bone_age_tf import schema
from bone_age_tf.explain.methods import importance
from bone_age_tf.explain.regions import region_shares

OK = "ok"


@dataclasses.dataclass(frozen=True)
class ExplainedCase:
    """One case.

    Attributes:
        image_id: its name.
        image: [S, S] float32, 0 to 255, as the network takes it; None where it cannot be read.
        sex: 0 female, 1 male; None where unknown.
        age_months: the label; None where unknown.
        predicted_months: the answer; None where there is none.
        lower_90: end of the 90 % interval in months, or None.
        upper_90: the other end.
        distribution: [K] probability an age bin; None from a regression.
        status: `OK`, or why there is no answer: `failed`, `rejected`.
        reason: more of it, or what else to know; may be empty.
        boxes: [17, 4] regions as fractions of the image, NaN for none; None without a detector.
        maps: [S, S] by method.
        aspect: width over height of what the square image shows.
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
        """Returns `female`, `male` or nothing."""
        return "" if self.sex is None else schema.SEX_NAMES[self.sex]

    @property
    def error_months(self) -> float | None:
        """Returns the answer less the label, None where one is unknown."""
        if self.predicted_months is None or self.age_months is None:
            return None
        return self.predicted_months - self.age_months

    def shares(self, method: str) -> dict[str, float] | None:
        """Returns the shares of a map by region, see `region_shares`; None without boxes."""
        if self.boxes is None or method not in self.maps:
            return None
        return region_shares(importance(method, self.maps[method]), self.boxes)


def choose_cases(sex: np.ndarray, age_months: np.ndarray, count: int = 8) -> list[int]:
    """Chooses cases that span the ages of both sexes.

    Args:
        sex: [N] codes.
        age_months: [N].
        count: how many, fewer if there are not so many.

    Returns:
        Indices, females first, each sex by age.
    """
    females, males = (
        sorted(np.flatnonzero(sex == code), key=lambda i: (age_months[i], i))
        for code in (schema.FEMALE, schema.MALE)
    )
    # Half of each, and more of one where the other has too few.
    wanted = min(len(females), max(count // 2, count - len(males)))
    chosen: list[int] = []
    for by_age, number in ((females, wanted), (males, count - wanted)):
        places = np.linspace(0, len(by_age) - 1, min(number, len(by_age))).round().astype(int)
        chosen += [int(by_age[place]) for place in places]
    return chosen


def years_and_months(months: float) -> str:
    """Returns an age as people say it, such as `7 y 4 m`."""
    years, rest = divmod(max(0, round(months)), 12)
    return f"{years} y {rest} m"
