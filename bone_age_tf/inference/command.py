"""The prediction command: from what the user typed to what is printed and the exit code."""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from bone_age_tf.errors import CalibrationError, InputError, ModelError
from bone_age_tf.evaluation.site_calibration import read_site_calibration
from bone_age_tf.evaluation.site_doubts import years_warning
from bone_age_tf.files import is_standard_output, require_writable_file
from bone_age_tf.inference.cases import Case, collect_cases
from bone_age_tf.inference.journal import Answers, open_journal
from bone_age_tf.inference.prediction_table import (
    BOTH_SEXES,
    CLOSE_MONTHS,
    Row,
    Summary,
    answer_cases,
    summarise,
)
from bone_age_tf.inference.predictor import Predictor, choose_version
from bone_age_tf.quality.checker import load_checker

EXIT_OK = 0
EXIT_SOME_FAILED = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130

RESEARCH_USE = "For research use only; not a medical device."

_FAILURES_SHOWN = 5


def predict_command(
    input_path: str | Path,
    sex: str | None,
    exports_dir: str | Path,
    model: str | None,
    variant: str | None = None,
    output_csv: str | Path | None = "predictions.csv",
    calibration: str | Path | None = None,
    check_films: bool = True,
    resume: bool = False,
) -> int:
    """Predicts an image, a folder or a table, prints the answer and writes it as CSV.

    Args:
        input_path: see `collect_cases`.
        sex: female or male for images without one; None or empty for a result for both.
        exports_dir: the folder with `<model>/<version>/`; the highest version is taken.
        model: the model's name; None for the one that is shipped, or else the newest.
        variant: which LiteRT file of the export; None for the most exact.
        output_csv: the table to write, folders made as needed; None for none.
        calibration: file of a site's calibration, made by `--mode=calibrate`; None for none.
        check_films: whether films are refused or put right before they are read, where the exports
            hold the network for it.
        resume: whether to continue with the results of the same command that was interrupted.

    Returns:
        The exit code: `EXIT_OK`, `EXIT_SOME_FAILED` where an image has no result, `EXIT_USAGE`
        where nothing could be predicted, with the reason on standard error, or `EXIT_INTERRUPTED`.
    """
    try:
        cases = collect_cases(input_path, sex)
        site = None if calibration is None else read_site_calibration(Path(calibration))
        folder = choose_version(exports_dir, model)
        predictor = Predictor.load(folder, variant, calibration=site)
        check_output(output_csv, input_path)
        checker = load_checker(exports_dir) if check_films else None
        reader = f"{predictor.name} version {predictor.version}, {predictor.variant}"
        options = f"calibration {calibration}, check_films {check_films}"
        summary = read_and_write(
            cases,
            lambda some: answer_cases(predictor, some, checker, check_films),
            output_csv,
            f"{reader}, {options}",
            resume,
        )
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except (
        InputError,
        ModelError,
        CalibrationError,
        OSError,
    ) as error:  # OSError: the table cannot be written
        print(f"error: {error}", file=sys.stderr)
        return EXIT_USAGE
    by = [f"Read by {reader}"]
    if checker is None:
        why = f"{exports_dir} has no film_check" if check_films else "--nocheck_films"
        by.append(f"Films were not checked: {why}")
    return tell(summary, by, output_csv)


def read_and_write(
    cases: Sequence[Case],
    read: Callable[[Sequence[Case]], Answers],
    output_csv: str | Path | None,
    reader: str,
    resume: bool,
) -> Summary:
    """Reads cases and writes their table; what was read before an interruption is kept.

    Args:
        cases: all cases.
        read: yields cases with their rows.
        output_csv: the table.
        reader: what reads the cases and how.
        resume: whether to continue with what was kept.

    Raises:
        InputError: with `resume`, there is nothing to continue.
        OSError: the table cannot be written.
        KeyboardInterrupt: after a line on standard error that says what is kept.
    """
    journal = open_journal(output_csv, reader, resume)
    try:
        summary = summarise(journal.answer(cases, read), len(cases), output_csv)
    except KeyboardInterrupt:
        kept = f"{journal.kept} of {len(cases)} images are read"
        how = "the same command with --resume continues" if journal.kept else "nothing is kept"
        print(f"\nstopped; {kept}; {how}", file=sys.stderr)
        raise
    journal.close()
    return summary


def tell(summary: Summary, by: Sequence[str], output_csv: str | Path | None) -> int:
    """Prints what came of a prediction and returns the exit code.

    Args:
        summary: of the cases.
        by: lines on what read them.
        output_csv: the table that was written, or None.
    """
    lines = [describe(summary), *by]
    # Where the table itself goes to standard output, nothing else does.
    to_standard_output = output_csv is not None and is_standard_output(output_csv)
    if output_csv is not None and not to_standard_output:
        lines.append(f"Written to {output_csv}")
    print("\n".join([*lines, RESEARCH_USE]), file=sys.stderr if to_standard_output else sys.stdout)
    return EXIT_SOME_FAILED if summary.failed or summary.rejected else EXIT_OK


def describe(summary: Summary) -> str:
    """Returns the answer in words: the result of a single image, or counts for several.

    Where ages were known, a line with the mean absolute error in months follows.
    """
    lines = _answers(summary) if summary.images == 1 else _counts(summary)
    if summary.mae_months is not None and summary.close_share is not None:
        lines.append(
            f"Mean absolute error {summary.mae_months:.1f} months, "
            f"{100 * summary.close_share:.1f} % within {CLOSE_MONTHS:g} months "
            f"(n = {summary.compared} with a known age and sex)"
        )
    if warning := years_warning(np.array(summary.known_months)):
        lines.append(warning)
    return "\n".join(lines)


def _answers(summary: Summary) -> list[str]:
    lines = [_answer(row) for row in summary.rows]
    if summary.without_sex:
        lines.append(f"{BOTH_SEXES}; --sex=female or --sex=male selects one")
    return lines


def _answer(row: Row) -> str:
    if row.prediction is None:
        return f"{row.image}  {row.status}: {row.reason}"
    age, lower = row.prediction.age_months, row.prediction.lower_90
    years, months = divmod(max(0, round(age)), 12)
    text = f"{row.image}  {row.sex}  bone age {age:.1f} months ({years} y {months} m)"
    if lower is not None:
        text += f", 90 % interval {lower:.1f} to {row.prediction.upper_90:.1f}"
    notes = row.reason.removeprefix(BOTH_SEXES).removeprefix("; ")
    return f"{text}; {notes}" if notes else text


def _counts(summary: Summary) -> list[str]:
    done = summary.images - summary.failed - summary.rejected
    counts = f"{done} predicted, {summary.failed} failed, {summary.rejected} rejected"
    lines = [f"{summary.images} images: {counts}"]
    failures = [row for row in summary.rows if row.prediction is None]
    lines += [f"  {row.image}: {row.status}: {row.reason}" for row in failures[:_FAILURES_SHOWN]]
    if len(failures) > _FAILURES_SHOWN:
        lines.append(f"  and {len(failures) - _FAILURES_SHOWN} more, in the table")
    if summary.without_sex:
        lines.append(f"{summary.without_sex} without a sex: the table has a result for both")
    return lines


def check_output(output_csv: str | Path | None, input_path: str | Path) -> None:
    """Checks that the table can be written, before any image is read.

    Raises:
        InputError: the table would take the place of the input or of a folder.
        OutputError: it cannot be written there.
    """
    if output_csv is None or is_standard_output(output_csv):
        return
    output = Path(output_csv)
    if output.is_dir():
        raise InputError(f"{output}: this is a folder; name a CSV file for the predictions")
    if output.exists() and Path(input_path).exists() and output.samefile(input_path):
        raise InputError(f"{output}: this is the input; name another file for the predictions")
    require_writable_file(output)
