"""`--mode=evaluate`: measures a trained run on its test data."""

from pathlib import Path
from typing import TYPE_CHECKING

from absl import flags

from bone_age_tf.commands import EXIT_OK, shared_flags

if TYPE_CHECKING:
    from bone_age_tf.runs import Run

NEEDS_TENSORFLOW = True
EXAMPLES = """\
Measure a run (the newest of the model unless --workdir names one):
  {command} --mode=evaluate --workdir=runs/NAME
"""


def define_flags(values: flags.FlagValues) -> None:
    """Defines the mode's flags."""
    define_run_flags(values)
    shared_flags.define_dataset(values, "the run's")


def define_run_flags(values: flags.FlagValues) -> None:
    """Defines which run is opened."""
    shared_flags.define_model(values)
    shared_flags.define_workdir(values, "the newest run of the model under runs/")
    shared_flags.define_exports_dir(values)


def run(values: flags.FlagValues, overrides: list[tuple[str, str]]) -> int:
    """Evaluates a run."""
    opened_run(values).evaluate()
    return EXIT_OK


def opened_run(values: flags.FlagValues) -> "Run":
    """Opens the run that `--workdir` names, or the newest of the model."""
    from bone_age_tf.commands.train import data_options
    from bone_age_tf.files import require_writable_folder
    from bone_age_tf.runs import newest_run, open_run

    if values.workdir:
        workdir = Path(values.workdir)
    else:
        workdir = newest_run(values.model)
        print(f"the newest run: {workdir}")
    current = open_run(
        workdir, values.dataset, data_options(values), Path(values.exports_dir or "exports")
    )
    require_writable_folder(workdir)
    return current
