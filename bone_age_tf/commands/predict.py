"""`--mode=predict`: reads radiographs with an exported model or on a server; no TensorFlow."""

import dataclasses
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from absl import flags

from bone_age_tf import schema
from bone_age_tf.commands import (
    EXIT_INTERRUPTED,
    EXIT_OK,
    EXIT_SOME_FAILED,
    RESEARCH_USE,
    predict_reports,
    shared_flags,
)
from bone_age_tf.errors import ConfigError, InputError, require_known

if TYPE_CHECKING:
    from bone_age_tf.clinical.result_columns import Row
    from bone_age_tf.commands.predict_reports import CaseReports
    from bone_age_tf.inference.cases import Case
    from bone_age_tf.inference.predictor import Prediction
    from bone_age_tf.inference.result import Result
    from bone_age_tf.result_table import ResultTable

INPUT_FLAG = "input"
DEFAULT_OUTPUT = "predictions.csv"
EXAMPLES = """\
Read a radiograph (PNG, JPEG or DICOM), a folder, a ZIP file, a DICOMDIR, or a table (columns
image,sex and, if known, age_months, the bone age; chronological_age_months; height_cm):
  {command} --mode=predict --input=hand.png --sex=female
  {command} --mode=predict --input=FOLDER --sex=male --output=predictions.csv
  {command} --mode=predict --input=cases.csv --output=predictions.json

Compare the bone age with a child's age, and predict its adult height:
  {command} --mode=predict --input=hand.png --sex=f --chronological_age_months=96 --height_cm=128
  {command} --mode=predict --input=cases.csv --sds_reference=greulich_pyle_v_vi

Read the radiographs of a study on a DICOMweb server (a login is taken from ~/.netrc):
  {command} --mode=predict --input=https://pacs.example/dicom-web/studies/UID

Write reports (DICOM SR and picture, PDF, FHIR, JSON, PNG) to the folder reports:
  {command} --mode=predict --input=IM0001 --report=sr,sc,pdf
  {command} --mode=predict --input=hand.png --sex=female --report=pdf,fhir --report_dir=FOLDER

On a server:
  {command} --mode=predict --input=cases.csv --server=grpc://HOST:8500/MODEL | http://HOST:8501/MODEL

With a site's calibration:
  {command} --mode=predict --input=hand.png --sex=female --calibration=site_calibration.json
"""
_FAILURES_SHOWN = 5


def define_flags(values: flags.FlagValues) -> None:
    """Defines the mode's flags."""
    shared_flags.define_input(values)
    shared_flags.text(
        values,
        "output",
        DEFAULT_OUTPUT,
        "The table to write; - for standard output. A name that ends in .json or .jsonl gives "
        "JSON, an object for each radiograph; every other name gives CSV.",
    )
    _define_clinical_flags(values)
    predict_reports.define_flags(values)
    shared_flags.define_exported_model(values)
    shared_flags.define_variant(values)
    shared_flags.define_quality_check(values)
    shared_flags.text(values, "calibration", None, "A site's calibration, from --mode=calibrate.")
    shared_flags.switch(
        values,
        "resume",
        False,
        "Continue the same command after it was interrupted, without reading images again.",
    )
    shared_flags.text(
        values,
        "server",
        None,
        "A TensorFlow Serving that reads the radiographs, grpc://HOST:PORT/MODEL or "
        "http://HOST:PORT/MODEL (grpcs, https with TLS), followed by /versions/N or /labels/NAME "
        "where wanted.",
    )
    flags.DEFINE_float(
        "timeout_s",
        30.0,
        "Seconds to wait for a response, with --server.",
        lower_bound=0.1,
        flag_values=values,
    )


def _define_clinical_flags(values: flags.FlagValues) -> None:
    flags.DEFINE_float(
        schema.CHRONOLOGICAL_AGE_MONTHS,
        None,
        "The child's age in months when the radiograph was taken, for a single radiograph. Tables "
        "have a column of this name; DICOM files state the age.",
        flag_values=values,
    )
    flags.DEFINE_float(
        schema.HEIGHT_CM,
        None,
        "The child's height in cm at that time, for a single radiograph; the adult height is then "
        "predicted by Bayley and Pinneau. Tables have a column of this name; DICOM files may state "
        "the height of the same day.",
        flag_values=values,
    )
    shared_flags.text(
        values,
        "sds_reference",
        schema.BRUSH_FOUNDATION,
        "The table with the SD of bone age for the standard deviation score, "
        f"{' or '.join(schema.SD_REFERENCES)}. The two can decide differently; JSON has both.",
    )


def run(values: flags.FlagValues, overrides: list[tuple[str, str]]) -> int:
    """Reads radiographs, prints the results and writes the table."""
    from bone_age_tf.inference.cases import collect_cases

    if not values.input:
        raise ConfigError("--mode=predict needs --input=IMAGE, FOLDER or CSV")
    if values.server:
        _refuse_flags_of_the_export(values)
    elif values["timeout_s"].present:
        raise ConfigError("--timeout_s has no effect without --server")
    require_known("sds_reference", values.sds_reference, schema.SD_REFERENCES)
    cases = _with_flags(collect_cases(values.input, values.sex), values)
    output = Path(values.output)
    check_output(output, values.input)
    reports = predict_reports.plan_reports(values, cases)
    if values.server:
        from bone_age_tf.serving.reader import ServerReader

        server = ServerReader(values.server, values.timeout_s)
        return read_and_report(
            cases,
            server.read_all,
            server.model,
            "",
            output,
            values.resume,
            sds_reference=values.sds_reference,
            reports=reports,
        )
    from bone_age_tf.reader import load

    reader = load(
        values.model,
        variant=values.variant,
        exports_dir=values.exports_dir,
        calibration=values.calibration,
        quality_check=values.quality_check,
    )
    predict_reports.explain_pictures(reports, values, reader)
    options = f", calibration {values.calibration}, quality check {values.quality_check}"
    lines = []
    if reader.quality_checker is None:
        why = "there is none among the exports" if values.quality_check else "--noquality_check"
        lines.append(f"Radiographs were not checked: {why}")
    return read_and_report(
        cases,
        reader.read_all,
        reader.model,
        options,
        output,
        values.resume,
        lines,
        values.sds_reference,
        reports,
    )


def _with_flags(cases: "list[Case]", values: flags.FlagValues) -> "list[Case]":
    """Returns the cases with the age and the height that flags give, where a table has none.

    Raises:
        ConfigError: a number is not possible, or there are several radiographs.
    """
    for name, parse in (
        (schema.CHRONOLOGICAL_AGE_MONTHS, schema.parse_chronological_age_months),
        (schema.HEIGHT_CM, schema.parse_height_cm),
    ):
        number = values[name].value
        if number is None:
            continue
        try:
            parse(number)
        except ValueError as error:
            raise ConfigError(f"--{name}: {error}") from None
        if len(cases) != 1:
            raise ConfigError(
                f"--{name} is for a single radiograph, and there are {len(cases)}; write a column "
                f"{name} in a CSV table"
            )
        cases = [
            dataclasses.replace(case, **{name: number}) if getattr(case, name) is None else case
            for case in cases
        ]
    return cases


def _refuse_flags_of_the_export(values: flags.FlagValues) -> None:
    """Raises an error for flags whose values the server determines."""
    for name in ("model", "exports_dir", "variant", "calibration", "quality_check"):
        if values[name].present:
            raise ConfigError(
                f"--{name} has no effect with --server: the model is used as it was exported; the "
                "address names the model"
            )


def read_and_report(
    cases: Sequence["Case"],
    read: Callable[[Sequence["Case"]], Iterator[tuple["Case", "Result"]]],
    model: str,
    options: str,
    output: Path,
    resume: bool,
    lines: Sequence[str] = (),
    sds_reference: str = schema.BRUSH_FOUNDATION,
    reports: "CaseReports | None" = None,
) -> int:
    """Reads cases, writes their table and reports, and prints a summary; interrupted work is kept.

    Args:
        cases: all cases.
        read: yields cases with their results, in order.
        model: name of the model.
        options: other options that affect the results.
        output: the table.
        resume: whether to continue an interrupted run of the same command.
        lines: further lines of the summary.
        sds_reference: reference of the standard deviation scores.
        reports: what writes reports, or None.

    Returns:
        The exit code.

    Raises:
        InputError: with `resume`, there is nothing to continue.
        OSError: the table or a report cannot be written.
    """
    from bone_age_tf.inference.journal import open_journal
    from bone_age_tf.progress import shown
    from bone_age_tf.result_table import ResultTable

    journal = open_journal(output, model + options, resume)
    try:
        pairs = shown(journal.read(cases, read), len(cases), "images read", sys.stderr)
        table = ResultTable.of(pairs)
        table.write(output, sds_reference)
        report_lines, is_complete = ([], True) if reports is None else reports.write(cases, table)
    except KeyboardInterrupt:
        kept = f"{journal.kept} of {len(cases)} images are read"
        hint = "the same command with --resume continues" if journal.kept else "nothing is kept"
        print(f"\nstopped; {kept}; {hint}", file=sys.stderr)
        return EXIT_INTERRUPTED
    journal.close()
    text = [describe(table, sds_reference), f"Read by {model}", *lines, *report_lines]
    code = _print_summary(table, text, output)
    return code if is_complete else EXIT_SOME_FAILED


def _print_summary(table: "ResultTable", lines: Sequence[str], output: Path) -> int:
    from bone_age_tf.files import is_standard_output

    text = list(lines)
    # If the table is written to standard output, nothing else is.
    stream = sys.stderr if is_standard_output(output) else sys.stdout
    if stream is sys.stdout:
        text.append(f"Written to {output}")
    print("\n".join([*text, RESEARCH_USE]), file=stream)
    return EXIT_SOME_FAILED if table.failed or table.rejected else EXIT_OK


def describe(table: "ResultTable", sds_reference: str = schema.BRUSH_FOUNDATION) -> str:
    """Formats results: the result of a single image, or the numbers of several.

    If bone ages are known, a line with the mean absolute error in months follows.

    Args:
        table: the results.
        sds_reference: reference of the standard deviation scores.
    """
    from bone_age_tf.evaluation.site_doubts import years_warning
    from bone_age_tf.result_table import CLOSE_MONTHS

    lines = _single(table[0], sds_reference) if len(table) == 1 else _counts(table)
    errors = np.abs(table.errors_months)
    if errors.size:
        lines.append(
            f"Mean absolute error {errors.mean():.1f} months, "
            f"{100 * (errors <= CLOSE_MONTHS).mean():.1f} % within {CLOSE_MONTHS:g} months "
            f"(n = {errors.size} with a known age and sex)"
        )
    if warning := years_warning(table.compared_months):
        lines.append(warning)
    ages = [result.chronological_age_months for result in table]
    if warning := years_warning(np.array([age for age in ages if age is not None])):
        lines.append(f"{warning} ({schema.CHRONOLOGICAL_AGE_MONTHS})")
    return "\n".join(lines)


def _single(result: "Result", sds_reference: str = schema.BRUSH_FOUNDATION) -> list[str]:
    from bone_age_tf.clinical.result_columns import Row
    from bone_age_tf.inference.result import BOTH_SEXES

    if not result.by_sex:
        return [f"{result.source}  {result.status}: {result.note}"]
    lines = []
    notes = result.note.removeprefix(BOTH_SEXES).removeprefix("; ")
    for sex, prediction in result.by_sex.items():
        years, months = divmod(max(0, round(prediction.age_months)), 12)
        text = f"{result.source}  {sex}  bone age {prediction.age_months:.1f} months "
        text += f"({years} y {months} m)"
        if prediction.interval_90_months is not None:
            lower, upper = prediction.interval_90_months
            text += f", 90 % interval {lower:.1f} to {upper:.1f}"
        lines.append(f"{text}; {notes}" if notes else text)
        lines += _region_lines(prediction)
        lines += _clinical_lines(Row(result, sex, sds_reference))
    if result.sex is None:
        lines.append(f"{BOTH_SEXES}; --sex=female or --sex=male selects one")
    return lines


def _clinical_lines(row: "Row") -> list[str]:
    """Returns a line for the standard deviation score and one for the adult height, where known."""
    lines = []
    if row.score is not None and row.score.sds is not None:
        age = row.result.chronological_age_months
        lines.append(f"  chronological age {age:.1f} months: {row.score.summary}")
    texts = [*row.refusals, row.adult_height_summary]
    return lines + [f"  {text}" for text in dict.fromkeys(filter(None, texts))]


def _region_lines(prediction: "Prediction") -> list[str]:
    """Returns a line for regions that are unusually far ahead of the hand, and one for behind."""
    from bone_age_tf.evaluation.region_norms import MOST_NAMED

    if prediction.regions is None:
        return []
    lines = []
    for words, way in (("ahead of the hand", 1), ("behind the hand", -1)):
        chosen = [pair for pair in prediction.unusual_regions if way * pair[1].deviations > 0]
        texts = [
            f"{name} {one.age_months:.0f} months ({one.difference_months:+.0f} from usual, "
            f"{abs(one.deviations):.1f} SD)"
            for name, one in chosen[:MOST_NAMED]
        ]
        if chosen[MOST_NAMED:]:
            texts.append(f"and {len(chosen) - MOST_NAMED} more")
        if texts:
            lines.append(f"  {words}: {', '.join(texts)}")
    return lines or [
        f"  no region is unusually far ahead or behind (n = {len(prediction.regions)})"
    ]


def _counts(table: "ResultTable") -> list[str]:
    predicted = len(table) - table.failed - table.rejected
    counts = f"{predicted} predicted, {table.failed} failed, {table.rejected} rejected"
    lines = [f"{len(table)} images: {counts}"]
    others = [result for result in table if not result.by_sex]
    lines += [
        f"  {result.source}: {result.status}: {result.note}" for result in others[:_FAILURES_SHOWN]
    ]
    if len(others) > _FAILURES_SHOWN:
        lines.append(f"  and {len(others) - _FAILURES_SHOWN} more, in the table")
    if table.without_sex:
        lines.append(f"{table.without_sex} without a sex: the table has a result for both")
    return lines


def check_output(output: Path, input_path: str | Path) -> None:
    """Checks that the table can be written, before any image is read.

    Raises:
        InputError: the table would replace the input or a folder.
        OutputError: the table cannot be written.
    """
    from bone_age_tf.files import is_standard_output, require_writable_file

    if is_standard_output(output):
        return
    if output.is_dir():
        raise InputError(f"{output}: this is a folder; name a CSV or JSON file")
    if output.exists() and Path(input_path).exists() and output.samefile(input_path):
        raise InputError(f"{output}: this is the input; name another file for the predictions")
    require_writable_file(output)
