"""Fits a site calibration to the predictions for a site's cases."""

import dataclasses
import hashlib
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

import numpy as np

from bone_age_tf import schema
from bone_age_tf.bundle import Bundle
from bone_age_tf.errors import RadiographError
from bone_age_tf.evaluation.site_calibration import (
    DEFAULT_SCATTER_MONTHS,
    ENOUGH_CASES,
    MIN_CASES,
    SiteCalibration,
    fit_site_calibration,
    largest_correction_months,
)
from bone_age_tf.images import dicom
from bone_age_tf.inference.cases import Case
from bone_age_tf.progress import shown
from bone_age_tf.reader import Reader

LEFT_OUT_SHOWN = 5


@dataclass(frozen=True)
class SiteCases:
    """Cases of a site with the ages predicted by the model and determined by the readers.

    Attributes:
        by_sex_months: [2, N] the model's ages, each case as female and as male.
        age_months: [N] the readers' ages.
        sex: [N] codes of `schema.SEX_NAMES`.
        left_out: a line for each case that cannot be used.
        copies: number of rows that repeat the radiograph of another row, not included in the cases.
    """

    by_sex_months: np.ndarray
    age_months: np.ndarray
    sex: np.ndarray
    left_out: tuple[str, ...]
    copies: int = 0

    @property
    def predicted_months(self) -> np.ndarray:
        """[N] the model's ages, each case as its own sex."""
        return np.take_along_axis(self.by_sex_months, self.sex[np.newaxis], axis=0)[0]


def predict_site(reader: Reader, cases: Sequence[Case]) -> SiteCases:
    """Predicts each case that has a sex and an age, for both sexes.

    A sex that the table does not state is that of the DICOM file. Other cases are left out with a
    reason. Of several rows with the same file, the first is used.
    """
    cases = [_with_sex(case) for case in cases]
    known = [case for case in cases if case.sex is not None and case.age_months is not None]
    left_out = [
        f"{case.image}: {case.problem or 'no sex or no age_months'}"
        for case in cases
        if case.sex is None or case.age_months is None
    ]
    digests = [_digest(case) for case in known]
    first = [place for place, digest in enumerate(digests) if digest not in digests[:place]]
    used = [known[place] for place in first]
    table = []
    both = reader.read_all(used, both_sexes=True)
    results = shown(both, len(used), "images read", sys.stderr)
    for case, (_, result) in zip(used, results, strict=True):
        if result.by_sex:
            months = [result.by_sex[sex].age_months for sex in schema.SEX_NAMES]
            table.append((*months, case.age_months, case.sex))
        else:
            left_out.append(f"{case.image}: {result.note}")
    columns = np.array(table, float).reshape(-1, 4).T
    sexes = columns[3].astype(int)
    return SiteCases(columns[:2], columns[2], sexes, tuple(left_out), len(known) - len(used))


def _with_sex(case: Case) -> Case:
    """Returns a case with the sex of its DICOM file, unless the table states one."""
    if case.sex is not None or case.age_months is None or case.problem is not None:
        return case
    try:
        data = case.read_bytes()
        suffix = PurePosixPath(case.member or case.path.name).suffix
        if not dicom.is_dicom(data, suffix):
            return case
        sex = dicom.read_dicom(data, case.image).facts.sex
    except RadiographError as error:
        return dataclasses.replace(case, problem=error.reason)
    if sex is None:
        return case
    code = schema.SEX_NAMES.index(sex)
    return dataclasses.replace(case, sex=code, sex_source=schema.FROM_FILE)


def _digest(case: Case) -> str:
    """Returns a digest of a file's content, or its name if it cannot be read."""
    try:
        return hashlib.sha256(case.read_bytes()).hexdigest()
    except RadiographError:
        return case.image


def expected_scatter_months(bundle: Bundle) -> float:
    """Returns the root mean squared error in months that a model is expected to have."""
    return bundle.scatter_months or DEFAULT_SCATTER_MONTHS


def calibrate(bundle: Bundle, site: SiteCases) -> tuple[SiteCalibration, str]:
    """Fits the calibration and describes its effect.

    The error with the calibration is cross-validated: each case is corrected with a calibration
    fitted to the other cases.

    Raises:
        CalibrationError: there are too few cases.
    """
    expected = expected_scatter_months(bundle)

    def fit(chosen: np.ndarray) -> SiteCalibration:
        return fit_site_calibration(
            site.predicted_months[chosen],
            site.age_months[chosen],
            site.sex[chosen],
            expected,
            bundle.name,
            bundle.version,
        )

    everyone = np.ones(site.sex.size, bool)
    calibration = fit(everyone)
    after = site.predicted_months.copy()
    if site.sex.size > MIN_CASES:
        for case in range(site.sex.size):
            others = everyone.copy()
            others[case] = False
            after[case] = fit(others).apply(site.predicted_months[case], site.sex[case])
    return calibration, _describe(calibration, site, after)


def _describe(calibration: SiteCalibration, site: SiteCases, after: np.ndarray) -> str:
    copies = f", {site.copies} repeated rows not used" if site.copies else ""
    lines = [f"{site.sex.size} cases used, {len(site.left_out)} left out{copies}"]
    lines += [f"  {line}" for line in site.left_out[:LEFT_OUT_SHOWN]]
    if len(site.left_out) > LEFT_OUT_SHOWN:
        lines.append(f"  and {len(site.left_out) - LEFT_OUT_SHOWN} more")
    head = f"{'MAE':>8}{'bias':>8}"
    lines.append(f"{'':10}{'n':>5}{head}   with the calibration{head}")
    groups = [("all", np.ones(site.sex.size, bool))]
    groups += [(name, site.sex == code) for code, name in enumerate(schema.SEX_NAMES)]
    for name, chosen in groups:
        if chosen.any():
            now, then = (
                months[chosen] - site.age_months[chosen]
                for months in (site.predicted_months, after)
            )
            lines.append(
                f"{name:10}{chosen.sum():5}{np.abs(now).mean():8.1f}{now.mean():+8.1f}{'':23}"
                f"{np.abs(then).mean():8.1f}{then.mean():+8.1f}"
            )
    for sex, name in enumerate(schema.SEX_NAMES):
        offset, slope = calibration.offset_months[sex], calibration.slope[sex]
        lines.append(f"{name}: calibrated age = {offset:+.2f} + {slope:.3f} x age")
    unchanged = calibration.details["probabilities"]["none"]
    lines.append(f"Probability that no calibration is needed: {100 * unchanged:.0f} %")
    if site.sex.size < ENOUGH_CASES:
        most = largest_correction_months(site.sex.size)
        lines.append(
            f"With this number of cases, ages change by at most {most:.1f} months; "
            f"{ENOUGH_CASES} or more cases are needed to detect a shift"
        )
    return "\n".join(lines)
