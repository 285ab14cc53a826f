"""The calibration command: from a site's own cases to a correction of its bone ages."""

import dataclasses
import hashlib
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bone_age_tf import schema
from bone_age_tf.errors import CalibrationError, InputError, ModelError
from bone_age_tf.evaluation.site_calibration import (
    DEFAULT_SCATTER_MONTHS,
    ENOUGH_CASES,
    MIN_CASES,
    SiteCalibration,
    fit_site_calibration,
    largest_correction_months,
    save_site_calibration,
)
from bone_age_tf.evaluation.site_doubts import find_doubts
from bone_age_tf.files import is_standard_output, require_writable_file
from bone_age_tf.inference.cases import Case, collect_cases
from bone_age_tf.inference.command import EXIT_OK, EXIT_SOME_FAILED, EXIT_USAGE, RESEARCH_USE
from bone_age_tf.inference.prediction_table import answer_cases
from bone_age_tf.inference.predictor import Predictor, choose_version
from bone_age_tf.progress import shown
from bone_age_tf.quality.checker import FilmChecker, load_checker

_LEFT_OUT_SHOWN = 5


@dataclass(frozen=True)
class SiteCases:
    """Cases of a site with the ages of the model and of the readers.

    Attributes:
        by_sex_months: [2, N] the model's ages, each case as female and as male.
        age_months: [N] the readers' ages.
        sex: [N] codes of `schema.SEX_NAMES`.
        left_out: a line for each case that cannot be used.
        copies: number of rows that repeat the radiograph of another row; they are not among the
            cases.
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


def calibrate_command(
    input_path: str | Path,
    exports_dir: str | Path,
    model: str | None,
    variant: str | None = None,
    output_json: str | Path = "site_calibration.json",
    check_films: bool = True,
    accept_doubts: bool = False,
) -> int:
    """Predicts a site's cases, fits the correction, says what it changes and writes it.

    Args:
        input_path: a CSV with the columns image, sex and age_months; see `collect_cases`.
        exports_dir: the folder with `<model>/<version>/`; the highest version is taken.
        model: the model's name; None for the one that is shipped, or else the newest.
        variant: which LiteRT file of the export; None for the most exact.
        output_json: the file to write.
        check_films: as of `predict_command`.
        accept_doubts: whether to calibrate in spite of what `find_doubts` finds.

    Returns:
        The exit code, as of `predict_command`: `EXIT_SOME_FAILED` where doubts were accepted.
    """
    try:
        require_writable_file(output_json)
        cases = collect_cases(input_path)
        predictor = Predictor.load(choose_version(exports_dir, model), variant)
        if predictor.site_calibrated:
            raise ModelError(
                f"{predictor.name} version {predictor.version} holds a site's calibration already; "
                "export the run again without --calibration, then calibrate that"
            )
        checker = load_checker(exports_dir) if check_films else None
        site = predict_site(predictor, cases, checker, check_films)
        scatter = predictor.scatter_months or DEFAULT_SCATTER_MONTHS
        doubts = find_doubts(
            site.by_sex_months,
            site.age_months,
            site.sex,
            scatter,
            site.copies,
            len(site.left_out),
        )
        if doubts and not accept_doubts and site.sex.size >= MIN_CASES:
            raise CalibrationError(_refusal(input_path, doubts, site.left_out))
        calibration, text = calibrate(predictor, site)
        calibration.details["doubts"] = doubts
        save_site_calibration(calibration, Path(output_json))
    except (InputError, ModelError, CalibrationError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_USAGE
    written = f"Written to {output_json}"
    if is_standard_output(output_json):
        words = sys.stderr
    else:
        words = sys.stdout
        written += f"; use it with --calibration={output_json} in --mode=predict or --mode=export"
    accepted = [f"ACCEPTED DOUBT: {doubt}" for doubt in doubts]
    print("\n".join([text, *accepted, written, RESEARCH_USE]), file=words)
    return EXIT_SOME_FAILED if doubts else EXIT_OK


def _refusal(input_path: str | Path, doubts: Sequence[str], left_out: Sequence[str]) -> str:
    lines = [f"{input_path} is not calibrated with:", *(f"  {doubt}" for doubt in doubts)]
    if left_out:
        lines += [
            "rows that cannot be used:",
            *(f"  {line}" for line in left_out[:_LEFT_OUT_SHOWN]),
        ]
        if len(left_out) > _LEFT_OUT_SHOWN:
            lines.append(f"  and {len(left_out) - _LEFT_OUT_SHOWN} more")
    lines.append("correct the table, or calibrate in spite of that with --accept_doubts")
    return "\n".join(lines)


def predict_site(
    predictor: Predictor,
    cases: Sequence[Case],
    checker: FilmChecker | None = None,
    refuse_unfamiliar: bool = False,
) -> SiteCases:
    """Predicts each case that has a sex and an age, as either sex.

    The others are left out, with the reason; of rows with the same file, the first is used.
    """
    known = [case for case in cases if case.sex is not None and case.age_months is not None]
    left_out = [
        f"{case.image}: {case.problem or 'no sex or no age_months'}"
        for case in cases
        if case.sex is None or case.age_months is None
    ]
    digests = [_digest(case.path) for case in known]
    first = [place for place, digest in enumerate(digests) if digest not in digests[:place]]
    used = [known[place] for place in first]
    as_both = [dataclasses.replace(case, sex=None) for case in used]
    answers = answer_cases(predictor, as_both, checker, refuse_unfamiliar)
    table = []
    shown_answers = shown(answers, len(used), "images read", sys.stderr)
    for case, (_, rows) in zip(used, shown_answers, strict=True):
        months = [row.prediction.age_months for row in rows if row.prediction is not None]
        if len(months) == len(schema.SEX_NAMES):
            table.append((*months, case.age_months, case.sex))
        else:
            left_out.append(f"{case.image}: {rows[0].reason}")
    columns = np.array(table, float).reshape(-1, 4).T
    sexes = columns[3].astype(int)
    return SiteCases(columns[:2], columns[2], sexes, tuple(left_out), len(known) - len(used))


def _digest(path: Path) -> str:
    """Returns a digest of a file's content; of its path where it cannot be read."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except (OSError, ValueError):
        return str(path)


def calibrate(predictor: Predictor, site: SiteCases) -> tuple[SiteCalibration, str]:
    """Fits the correction and says in words what it changes.

    The error afterwards is of each case under the correction that the other cases give.

    Raises:
        CalibrationError: too few cases.
    """
    expected = predictor.scatter_months or DEFAULT_SCATTER_MONTHS

    def fit(chosen: np.ndarray) -> SiteCalibration:
        return fit_site_calibration(
            site.predicted_months[chosen],
            site.age_months[chosen],
            site.sex[chosen],
            expected,
            predictor.name,
            predictor.version,
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
    lines += [f"  {line}" for line in site.left_out[:_LEFT_OUT_SHOWN]]
    if len(site.left_out) > _LEFT_OUT_SHOWN:
        lines.append(f"  and {len(site.left_out) - _LEFT_OUT_SHOWN} more")
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
    lines.append(f"Probability that this site needs none: {unchanged:.0%}")
    if site.sex.size < ENOUGH_CASES:
        most = largest_correction_months(site.sex.size)
        lines.append(
            f"So few cases move an age by at most {most:.1f} months, so that they do no harm; "
            f"{ENOUGH_CASES} or more tell a shift"
        )
    return "\n".join(lines)
