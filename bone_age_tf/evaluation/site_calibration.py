"""Calibration of bone ages for one site, fitted to a few of its own cases.

Sites differ in their radiographs and readers, so that a model that was trained elsewhere may be
biased by months at a site. A line for each sex corrects the bias (the external error of Deeplasia
falls from 6.57 to 5.69 months; Rassmann et al. 2023). A line that is fitted to five cases, however,
increases the error of a site that needs no correction. Four corrections are therefore compared by
how well they explain the cases: none, one offset, an offset for each sex, and a line for each sex.
Each is a linear regression of the error with a normal prior, which shrinks the coefficients
according to their standard errors. The result is the mean over all corrections, weighted by their
posterior probabilities (Bayesian model averaging; Hoeting et al. 1999). Since a few cases can
mislead by chance, no age changes by more than `largest_correction_months`.

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
"""Age in months at which the offset of a line is defined (its pivot)."""
_CORRECTIONS: Final = {
    "none": (0.0, 0.0, 0.0, 0.0),
    "offset": (8.0, 0.0, 0.0, 0.0),
    "offset by sex": (8.0, 3.0, 0.0, 0.0),
    "line by sex": (8.0, 3.0, 0.08, 0.04),
}
"""Prior SDs of four coefficients of each correction: the offset in months, half the difference of
the offset between the sexes, the slope, and half the difference of the slope."""
_PRIOR: Final = {"none": 0.5, "offset": 0.3, "offset by sex": 0.1, "line by sex": 0.1}
"""Prior probabilities of the corrections. They and the SDs above were chosen by simulating sites
(`benchmarks/site_prior.py`): with readers who differ by 5 months, 50 cases give most of the
improvement, and a site that needs no calibration loses 0.1 months on average."""
_LEAST_OF_EACH_SEX: Final = {"none": 0, "offset": 0, "offset by sex": 5, "line by sex": 10}
"""Minimum number of cases of each sex for each correction."""
_BELIEF_CASES: Final = 15
"""Number of cases that the expected scatter is worth in the estimate of the scatter."""
_OUTLIER_SD: Final = 2.5
"""Distance of an error from the median, in expected SDs, to which larger distances are clipped, so
that one wrong label has little influence."""
ENOUGH_CASES: Final = 50
"""Number of cases that are enough to detect a shift of a year; the largest correction in months
equals the number of cases there, see `largest_correction_months`."""
_AGES_MONTHS: Final = (12.0, 228.0)
"""Range of ages in months within which the largest correction is limited."""
MIN_CASES: Final = 3
"""Minimum number of cases for a calibration."""
DEFAULT_SCATTER_MONTHS: Final = 12.0
"""Expected SD of the model's errors in months where none was measured."""


@dataclasses.dataclass(frozen=True)
class SiteCalibration:
    """Calibrated age = offset + slope * age, for each sex.

    Attributes:
        offset_months: offsets for female and male.
        slope: slopes for female and male.
        model: name of the model for which the calibration was made.
        version: number of that model's export.
        cases: number of female and male cases to which it was fitted.
        details: further entries for the JSON file.
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
            months: ages in months, of any shape.
            sex: codes of `schema.SEX_NAMES`, of the same shape or one that broadcasts.
        """
        offset, slope = np.array(self.offset_months)[sex], np.array(self.slope)[sex]
        return np.clip(offset + slope * months, schema.MIN_AGE_MONTHS, schema.MAX_AGE_MONTHS)

    def as_json(self) -> dict[str, Any]:
        """Returns the JSON representation, with per-sex values keyed by sex."""
        content = dataclasses.asdict(self)
        for name in ("offset_months", "slope", "cases"):
            content[name] = dict(zip(schema.SEX_NAMES, content[name], strict=True))
        return content


def largest_correction_months(cases: int) -> float:
    """Returns the largest correction in months: 0.5 for 5 cases, 8 for 20, 50 for 50.

    It holds for ages between 12 and 228 months, so that their mean absolute error cannot increase
    by more than that for any set of cases.
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
    """Fits a calibration to cases whose bone age is known.

    Args:
        predicted_months: [N] ages predicted by the model.
        age_months: [N] ages determined by the site's readers.
        sex: [N] codes of `schema.SEX_NAMES`.
        expected_scatter_months: SD of the model's errors on its test data.
        model: name of the model.
        version: number of its export.

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
    """Returns the design matrix [N, 4] of the four coefficients."""
    side = 2.0 * sex - 1.0
    turn = predicted - _MIDDLE_MONTHS
    return np.stack([np.ones_like(predicted), side, turn, side * turn], axis=1)


def _scatter(features: np.ndarray, error: np.ndarray, expected: float) -> float:
    """Returns the SD in months of single cases about a line for each sex.

    The posterior mean with a scaled inverse chi-squared prior (Gelman et al., Bayesian Data
    Analysis, 3rd ed., section 3.3), so that few cases change the expected scatter little.
    """
    _, unexplained, rank, _ = np.linalg.lstsq(features, error, rcond=None)
    free = error.size - int(rank)
    squares = float(unexplained.sum()) if unexplained.size else 0.0
    if not unexplained.size:  # only one sex, or as many coefficients as cases
        free, squares = error.size - 1, float(((error - error.mean()) ** 2).sum())
    return float(np.sqrt((_BELIEF_CASES * expected**2 + squares) / (_BELIEF_CASES + free)))


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
    """Writes a calibration as a JSON file, whole or not at all."""
    replace_file(path, (json.dumps(calibration.as_json(), indent=2) + "\n").encode())


def read_site_calibration(path: Path) -> SiteCalibration:
    """Reads a file that `save_site_calibration` wrote.

    Raises:
        CalibrationError: the file is missing or not a calibration; the message names the file.
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
