"""`--mode=explain`: shows what predictions are based on, of a run or of given radiographs."""

from pathlib import Path
from typing import TYPE_CHECKING

from absl import flags

from bone_age_tf.commands import EXIT_OK, EXIT_SOME_FAILED, evaluate, shared_flags
from bone_age_tf.errors import ConfigError

if TYPE_CHECKING:
    from bone_age_tf.explain.case import ExplainedCase

NEEDS_TENSORFLOW = True
INPUT_FLAG = "input"
DEFAULT_OUTPUT = "explanations"
MOST_CASES = 1000
EXAMPLES = """\
Explain radiographs: a picture for each, a page with all of them, shares by region:
  {command} --mode=explain --input=hand.png --sex=female     (or a folder, or a CSV)
  {command} --mode=explain --input=cases.csv --methods=crm_months,path_cam --count=100

Explain test images of a trained run:
  {command} --mode=explain --workdir=runs/NAME
"""


def define_flags(values: flags.FlagValues) -> None:
    """Defines the mode's flags."""
    evaluate.define_flags(values)
    shared_flags.define_input(values)
    shared_flags.text(
        values, "output", None, f"Folder for --input's explanations. Default: {DEFAULT_OUTPUT}."
    )
    shared_flags.text(
        values, "methods", None, "Which maps, separated by commas, or all. Default: the best three."
    )
    shared_flags.whole_number(
        values, "count", None, "Number of cases. Default: 8 for a run, all for --input.", 1
    )
    shared_flags.define_quality_check(values)


def run(values: flags.FlagValues, overrides: list[tuple[str, str]]) -> int:
    """Explains a run's test images, or given radiographs with an export."""
    if not values.input:
        evaluate.opened_run(values).explain(values.methods, values.count)
        return EXIT_OK
    if values.workdir:
        raise ConfigError("--input is explained with an export: name it by --model, not --workdir")
    return _explain_input(values)


def _explain_input(values: flags.FlagValues) -> int:
    from bone_age_tf.explain import explaining
    from bone_age_tf.explain.explainer import Explainer
    from bone_age_tf.files import require_writable_folder
    from bone_age_tf.inference.cases import collect_cases
    from bone_age_tf.progress import shown
    from bone_age_tf.reader import load

    folder = Path(values.output or DEFAULT_OUTPUT)
    require_writable_folder(folder)
    listed = collect_cases(values.input, values.sex)[: values.count]
    if len(listed) > MOST_CASES:
        raise ConfigError(
            f"{len(listed)} images are more than a page can show; take the first with "
            f"--count={MOST_CASES} or name fewer"
        )
    exports_dir = values.exports_dir if values["exports_dir"].present else None
    reader = load(
        values.model if values["model"].present else None,
        exports_dir=exports_dir,
        quality_check=values.quality_check,
    )
    explainer = Explainer(reader, values.methods)
    cases: list[ExplainedCase] = []
    for case in shown(listed, len(listed), "explaining"):
        cases += explainer.explain(case)
    bundle = reader.bundle
    title = f"{bundle.name} version {bundle.version} on {Path(values.input).name}"
    explaining.write_explanations(cases, explainer.names, folder, title)
    answered = all(case.predicted_months is not None for case in cases)
    return EXIT_OK if answered else EXIT_SOME_FAILED
