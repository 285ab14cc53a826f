"""`--mode=calibrate`: corrects an exported model for a site, from its own cases."""

import sys
from collections.abc import Sequence
from pathlib import Path

from absl import flags

from bone_age_tf.commands import EXIT_OK, EXIT_SOME_FAILED, RESEARCH_USE, shared_flags
from bone_age_tf.errors import CalibrationError, ConfigError, ModelError

INPUT_FLAG = "input"
DEFAULT_OUTPUT = "site_calibration.json"
EXAMPLES = """\
From 50 or more cases of your own whose bone age is known (columns image,sex,age_months):
  {command} --mode=calibrate --input=site.csv

Use it in prediction, or put it into exported files:
  {command} --mode=predict --input=hand.png --sex=female --calibration=site_calibration.json
  {command} --mode=export --calibration=site_calibration.json
"""


def define_flags(values: flags.FlagValues) -> None:
    """Defines the mode's flags."""
    shared_flags.text(values, "input", None, "A CSV with the columns image,sex,age_months.")
    shared_flags.text(values, "output", DEFAULT_OUTPUT, "File to write; - for standard output.")
    shared_flags.define_exported_model(values)
    shared_flags.define_variant(values)
    shared_flags.define_quality_check(values)
    shared_flags.switch(
        values,
        "accept_doubts",
        False,
        "Use a table despite doubts, such as ages that look like years.",
    )


def run(values: flags.FlagValues, overrides: list[tuple[str, str]]) -> int:
    """Predicts a site's cases, fits the calibration, reports its effect and writes it.

    Returns:
        The exit code: `EXIT_SOME_FAILED` where doubts were accepted.
    """
    from bone_age_tf.evaluation.site_calibration import MIN_CASES, save_site_calibration
    from bone_age_tf.evaluation.site_doubts import find_doubts
    from bone_age_tf.files import is_standard_output, require_writable_file
    from bone_age_tf.inference.calibrate import calibrate, expected_scatter_months, predict_site
    from bone_age_tf.inference.cases import collect_cases
    from bone_age_tf.reader import load

    if not values.input:
        raise ConfigError("--mode=calibrate needs --input=CSV with columns image,sex,age_months")
    require_writable_file(values.output)
    cases = collect_cases(values.input)
    reader = load(
        values.model,
        variant=values.variant,
        exports_dir=values.exports_dir,
        quality_check=values.quality_check,
    )
    bundle = reader.bundle
    if bundle.site_calibrated:
        raise ModelError(
            f"{bundle.name} version {bundle.version} holds a site's calibration already; "
            "export the run again without --calibration, then calibrate that"
        )
    site = predict_site(reader, cases)
    doubts = find_doubts(
        site.by_sex_months,
        site.age_months,
        site.sex,
        expected_scatter_months(bundle),
        site.copies,
        len(site.left_out),
    )
    if doubts and not values.accept_doubts and site.sex.size >= MIN_CASES:
        raise CalibrationError(_refusal(values.input, doubts, site.left_out))
    calibration, text = calibrate(bundle, site)
    calibration.details["doubts"] = doubts
    save_site_calibration(calibration, Path(values.output))
    lines = [text, *(f"ACCEPTED DOUBT: {doubt}" for doubt in doubts)]
    if is_standard_output(values.output):
        stream = sys.stderr
    else:
        stream = sys.stdout
        lines.append(
            f"Written to {values.output}; use it with --calibration={values.output} in "
            "--mode=predict or --mode=export"
        )
    print("\n".join([*lines, RESEARCH_USE]), file=stream)
    return EXIT_SOME_FAILED if doubts else EXIT_OK


def _refusal(input_path: str, doubts: Sequence[str], left_out: Sequence[str]) -> str:
    from bone_age_tf.inference.calibrate import LEFT_OUT_SHOWN

    lines = [f"{input_path} is not calibrated with:", *(f"  {doubt}" for doubt in doubts)]
    if left_out:
        lines += [
            "rows that cannot be used:",
            *(f"  {line}" for line in left_out[:LEFT_OUT_SHOWN]),
        ]
        if len(left_out) > LEFT_OUT_SHOWN:
            lines.append(f"  and {len(left_out) - LEFT_OUT_SHOWN} more")
    lines.append("correct the table, or calibrate in spite of that with --accept_doubts")
    return "\n".join(lines)
