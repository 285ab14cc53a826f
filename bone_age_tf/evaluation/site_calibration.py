"""A correction of bone ages for one site, from a few of its own cases.

Sites differ in films and in readers, and a model that was trained elsewhere may be off by months in
all of their cases. A line for each sex puts that right (Deeplasia's external error falls from 6.57
to 5.69 months so; Rassmann et al. 2023). A line through five cases does harm, though, where there
is nothing to correct. So four corrections are weighed against each other by how well they
explain the cases: none, one offset, an offset for each sex, a line for each sex. Each is a linear
regression of the error with a normal prior, which shrinks it by its own standard error; the answer
is the mean over all, weighted by their posterior probabilities (Bayesian model averaging; Hoeting
et al. 1999). Chance alone still deceives the few: no age moves by more than
`largest_correction_months`, which bounds the harm.

NumPy only.
"""

import dataclasses
import json
from pathlib import Path
from typing import Any, Final

import numpy as np

from bone_age_tf import schema
from bone_age_tf.errors import CalibrationError
from bone_age_tf.files import replace_file
from bone_age_tf.program import program

_MIDDLE_MONTHS: Final = 120.0
"""Lines turn about this age."""
_CORRECTIONS: Final = {
    "none": (0.0, 0.0, 0.0, 0.0),
    "offset": (8.0, 0.0, 0.0, 0.0),
    "offset by sex": (8.0, 3.0, 0.0, 0.0),
    "line by sex": (8.0, 3.0, 0.08, 0.04),
}
"""Prior standard deviations of the offset in months, of half the sexes' difference, of the slope,
and of half its difference."""
_PRIOR: Final = {"none": 0.5, "offset": 0.3, "offset by sex": 0.1, "line by sex": 0.1}
"""Probabilities before the cases are seen. With the deviations above they were chosen by what sites
gain and lose (`benchmarks/site_prior.py`): readers 5 months off need 50 cases for most of the gain,
and a site that needs no calibration loses 0.1 months on average."""
_LEAST_OF_EACH_SEX: Final = {"none": 0, "offset": 0, "offset by sex": 5, "line by sex": 10}
"""Cases below which a correction is not considered."""
_BELIEF_CASES: Final = 15
"""The scatter that is expected beforehand counts as much as that of so many cases."""
_OUTLIER_SD: Final = 2.5
"""Errors further than this from their median are pulled in: one wrong label moves no site."""
ENOUGH_CASES: Final = 50
"""So many tell a shift of a year, and may move an age by as many months as they are."""
_AGES_MONTHS: Final = (12.0, 228.0)
"""The ages between which the bound holds."""
MIN_CASES: Final = 3
DEFAULT_SCATTER_MONTHS: Final = 12.0


@dataclasses.dataclass(frozen=True)
class SiteCalibration:
    """Calibrated age = offset + slope * age, for each sex.

    Attributes:
        offset_months: of female and male.
        slope: of female and male.
        model: name of the model that it was made for.
        version: of that model's export.
        cases: how many it was made from, of female and male.
        details: what else is known, ready for JSON.
    """

    offset_months: tuple[float, ...]
    slope: tuple[float, ...]
    model: str
    version: int
    cases: tuple[int, ...]
    details: dict[str, Any] = dataclasses.field(default_factory=dict)

    def apply(self, months: np.ndarray | float, sex: np.ndarray | int) -> np.ndarray:
        """Returns calibrated ages in months, within the possible range.

        Args:
            months: of any shape.
            sex: codes of `schema.SEX_NAMES`, of a shape that fits.
        """
        offset, slope = np.array(self.offset_months)[sex], np.array(self.slope)[sex]
        return np.clip(offset + slope * months, schema.MIN_AGE_MONTHS, schema.MAX_AGE_MONTHS)

    def as_json(self) -> dict[str, Any]:
        """Returns it for a file, with what belongs to a sex by its name."""
        content = dataclasses.asdict(self)
        for name in ("offset_months", "slope", "cases"):
            content[name] = dict(zip(schema.SEX_NAMES, content[name], strict=True))
        return content


def largest_correction_months(cases: int) -> float:
    """Returns by how many months so many cases may move an age: 0.5 by 5, 8 by 20, 50 by 50.

    Of ages between 12 and 228 months; so their mean absolute error cannot become worse by more
    than that, whatever the cases are.
    """
    return cases**2 / ENOUGH_CASES


def fit_site_calibration(
    predicted_months: np.ndarray,
    age_months: np.ndarray,
    sex: np.ndarray,
    expected_scatter_months: float = DEFAULT_SCATTER_MONTHS,
    model: str = "",
    version: int = 0,
) -> SiteCalibration:
    """Makes a calibration from cases whose bone age is known.

    Args:
        predicted_months: [N] ages that the model gives.
        age_months: [N] ages that the site's readers give.
        sex: [N] codes of `schema.SEX_NAMES`.
        expected_scatter_months: SD of the model's errors where it was tested.
        model: name of the model.
        version: of its export.

    Raises:
        CalibrationError: fewer than `MIN_CASES` cases.
    """
    predicted, sex = np.asarray(predicted_months, float), np.asarray(sex, int)
    error = np.asarray(age_months, float) - predicted
    if error.size < MIN_CASES:
        raise CalibrationError(
            f"{error.size} cases with a known age and sex; give at least {MIN_CASES}, better 50"
        )
    limit = _OUTLIER_SD * expected_scatter_months
    middle = float(np.median(error))
    error = np.clip(error, middle - limit, middle + limit)
    features = _features(predicted, sex)
    scatter = _scatter(features, error, expected_scatter_months)
    cases = (int((sex == schema.FEMALE).sum()), int((sex == schema.MALE).sum()))
    logs, means = {}, {}
    for name, deviations in _CORRECTIONS.items():
        if min(cases) >= _LEAST_OF_EACH_SEX[name]:
            evidence, means[name] = _regress(features, error, np.array(deviations), scatter)
            logs[name] = evidence + np.log(_PRIOR[name])
    highest = max(logs.values())
    weights = {name: float(np.exp(log - highest)) for name, log in logs.items()}
    total = sum(weights.values())
    probabilities = {name: weight / total for name, weight in weights.items()}
    mean = np.sum([share * means[name] for name, share in probabilities.items()], axis=0)
    ends = _features(np.repeat(_AGES_MONTHS, 2), np.array([0, 1, 0, 1]))
    largest = float(np.abs(ends @ mean).max())
    mean *= min(1.0, largest_correction_months(error.size) / max(largest, 1e-9))
    offset, by_sex, slope, slope_by_sex = (float(value) for value in mean)
    slopes = (1 + slope - slope_by_sex, 1 + slope + slope_by_sex)
    at_middle = (offset - by_sex, offset + by_sex)
    return SiteCalibration(
        tuple(
            shift - (turn - 1) * _MIDDLE_MONTHS
            for shift, turn in zip(at_middle, slopes, strict=True)
        ),
        slopes,
        model,
        version,
        cases,
        {
            "scatter_months": scatter,
            "probabilities": {name: round(value, 4) for name, value in probabilities.items()},
        },
    )


def _features(predicted: np.ndarray, sex: np.ndarray) -> np.ndarray:
    """Returns [N, 4]: what each coefficient is multiplied by."""
    side = 2.0 * sex - 1.0
    turn = predicted - _MIDDLE_MONTHS
    return np.stack([np.ones_like(predicted), side, turn, side * turn], axis=1)


def _scatter(features: np.ndarray, error: np.ndarray, expected: float) -> float:
    """Returns the SD of single cases about a line for each sex, in months, few cases believed less.

    The mean of a scaled inverse chi-squared prior and what is seen (Gelman et al., Bayesian Data
    Analysis, 3rd ed., section 3.3).
    """
    _, unexplained, rank, _ = np.linalg.lstsq(features, error, rcond=None)
    free = error.size - int(rank)
    seen = float(unexplained.sum()) if unexplained.size else 0.0
    if not unexplained.size:  # one sex alone, or as many coefficients as cases
        free, seen = error.size - 1, float(((error - error.mean()) ** 2).sum())
    return float(np.sqrt((_BELIEF_CASES * expected**2 + seen) / (_BELIEF_CASES + free)))


def _regress(
    features: np.ndarray, error: np.ndarray, deviations: np.ndarray, scatter: float
) -> tuple[float, np.ndarray]:
    """Returns the log evidence and the posterior mean of four coefficients (Bishop 2006, 3.3)."""
    used = deviations > 0
    mean = np.zeros(deviations.size)
    normal = -0.5 * error.size * np.log(2 * np.pi * scatter**2)
    if not used.any():
        return float(normal - 0.5 * (error**2).sum() / scatter**2), mean
    x, prior = features[:, used], np.diag(deviations[used] ** -2.0)
    precision = prior + x.T @ x / scatter**2
    mean[used] = np.linalg.solve(precision, x.T @ error / scatter**2)
    unexplained = ((error - x @ mean[used]) ** 2).sum() / scatter**2
    unexplained += mean[used] @ prior @ mean[used]
    determinants = np.linalg.slogdet(prior)[1] - np.linalg.slogdet(precision)[1]
    return float(normal - 0.5 * unexplained + 0.5 * determinants), mean


def save_site_calibration(calibration: SiteCalibration, path: Path) -> None:
    """Writes a calibration as JSON, whole or not at all."""
    replace_file(path, (json.dumps(calibration.as_json(), indent=2) + "\n").encode())


def read_site_calibration(path: Path) -> SiteCalibration:
    """Reads what `save_site_calibration` wrote.

    Raises:
        CalibrationError: no such file, or not a calibration; the message names it.
    """
    remedy = f"make one with: {program()} --mode=calibrate --input=site.csv"
    try:
        content = json.loads(Path(path).read_text("utf-8"))
        offset_months, slope, cases = (
            tuple(float(content[name][sex]) for sex in schema.SEX_NAMES)
            for name in ("offset_months", "slope", "cases")
        )
        if not np.isfinite([*offset_months, *slope]).all() or min(slope) <= 0:
            raise ValueError(f"offsets {offset_months}, slopes {slope}; slopes must be above 0")
        return SiteCalibration(
            offset_months,
            slope,
            cases=tuple(int(count) for count in cases),
            model=str(content["model"]),
            version=int(content["version"]),
            details=dict(content["details"]),
        )
    except FileNotFoundError:
        raise CalibrationError(f"{path}: no such file; {remedy}") from None
    except OSError as error:
        raise CalibrationError(f"{path}: cannot be read ({error.strerror})") from None
    except KeyError as error:
        raise CalibrationError(f"{path}: lacks the entry {error}; {remedy}") from None
    except (AttributeError, TypeError, ValueError) as error:
        raise CalibrationError(f"{path}: not a site calibration ({error}); {remedy}") from None
