"""`--mode=train`: trains a model, then evaluates, exports and explains it."""

import json
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from absl import flags

from bone_age_tf.commands import EXIT_OK, shared_flags

if TYPE_CHECKING:
    from bone_age_tf.runs import DataOptions, Run
    from bone_age_tf.training.distribution import Distribution

NEEDS_TENSORFLOW = RESUMES = TAKES_CONFIG = True
EXAMPLES = """\
Train on generated phantoms, which need no download; then evaluate, export and explain:
  {command} --model=resnet50

The same on the RSNA 2017 challenge files, or on your own table of images:
  {command} --model=resnet50 --dataset=rsna_bone_age --manual_dir=FOLDER
  {command} --model=resnet50 --dataset=radiograph_folder --manual_dir=FOLDER

Continue a run that was interrupted (a finished run is left as it is):
  {command} --model=resnet50 --workdir=runs/NAME

Train on all GPUs of this machine, or on several machines (TF_CONFIG lists them):
  {command} --model=resnet50 --distribution=mirrored | multiworker

Start from other weights:
  {command} --model=resnet50 --config.init=imagenet | runs/NAME | FILE.keras
"""


def define_flags(values: flags.FlagValues) -> None:
    """Defines the mode's flags."""
    shared_flags.define_model(values)
    shared_flags.define_dataset(values, shared_flags.DEFAULT_DATASET)
    shared_flags.define_workdir(values, "a new one under runs/")
    shared_flags.define_exports_dir(values)
    shared_flags.define_training(values)
    shared_flags.define_distribution(values)


def run(values: flags.FlagValues, overrides: list[tuple[str, str]]) -> int:
    """Trains, evaluates, exports and explains, as far as that is not done yet.

    Of several workers, only the chief does more than train.

    Raises:
        ConfigError: the flags, the settings or TF_CONFIG contradict each other.
        EngineError: another worker has ended.
    """
    from bone_age_tf.training.distribution import make_distribution

    distribution = make_distribution(values.distribution)
    if distribution is not None and not distribution.is_chief:
        return _assist(values, overrides, distribution)
    current = begin(values, overrides, distribution)
    if (current.workdir / "explanations" / "cases.json").exists():
        print(
            f"{current.workdir} is finished and stays as it is; name another --workdir for a new "
            "run"
        )
    current.train()
    return finish(current)


def _assist(
    values: flags.FlagValues, overrides: list[tuple[str, str]], distribution: "Distribution"
) -> int:
    """Trains as a worker that is not the chief, which keeps no file."""
    name = f"worker {distribution.worker} of {distribution.workers}"
    with tempfile.TemporaryDirectory(prefix="bone_age_worker_") as folder:
        begin(values, overrides, distribution, Path(folder)).train()
    print(f"{name} is done; the chief has the files of the run and continues alone", flush=True)
    return EXIT_OK


def begin(
    values: flags.FlagValues,
    overrides: list[tuple[str, str]],
    distribution: "Distribution | None" = None,
    folder: Path | None = None,
) -> "Run":
    """Opens the run that the flags describe.

    Args:
        values: the mode's flags.
        overrides: settings from the command line.
        distribution: devices and workers of the training.
        folder: a folder for all files instead of the folders that the flags name.
    """
    from bone_age_tf import config as configs
    from bone_age_tf.runs import begin_run

    dataset = values.dataset or shared_flags.DEFAULT_DATASET
    config = configs.load_config(values.model, dataset.partition("/")[0], overrides)
    return begin_run(
        config,
        folder or shared_flags.path_or_none(values.workdir),
        values.seed,
        dataset,
        data_options(values),
        values.precision,
        folder or Path(values.exports_dir),
        distribution,
    )


def data_options(values: flags.FlagValues) -> "DataOptions":
    """Returns the location of the dataset."""
    from bone_age_tf.runs import DataOptions

    manual_dir = shared_flags.path_or_none(values.manual_dir)
    return DataOptions(Path(values.data_dir), manual_dir, values.skip_bad_rows, values.beam_runner)


def finish(current: "Run") -> int:
    """Evaluates, exports and explains a trained run, unless these steps are done."""
    metrics = _once(current.workdir / "evaluation" / "metrics.json", current.evaluate)
    _once(current.workdir / "export.json", current.export)
    _once(current.workdir / "explanations" / "cases.json", current.explain)
    _print_summary(current, metrics)
    return EXIT_OK


def _once(record: Path, step: Callable[[], dict]) -> dict:
    """Returns the record of a step of the run, which is run if there is no record."""
    return json.loads(record.read_text()) if record.exists() else step()


def _print_summary(current: "Run", metrics: dict) -> None:
    from bone_age_tf.program import program

    workdir, overall = current.workdir, metrics["overall"]
    mae, constant = overall["mae_months"], metrics["constant_median"]
    exported = json.loads((workdir / "export.json").read_text())["folder"]
    width = min(shutil.get_terminal_size().columns, 78)
    print("=" * width)
    print(f"{current.config.model} on {current.builder.info.full_name}, {current.parts['test']}:")
    print(
        f"  MAE {mae['value']:.1f} months (95 % interval {_ends(mae)}), n = {metrics['n']}; "
        f"a constant {constant['months']:.0f} months: {constant['mae_months']['value']:.1f}"
    )
    within = overall["within_12_months"]["value"]
    print(f"  within 12 months: {within:.0%}; bias {overall['bias_months']['value']:+.1f} months")
    print(f"run           {workdir}")
    print(f"report        {workdir / 'evaluation' / 'report.md'}")
    print(f"explanations  {workdir / 'explanations'}")
    print(f"export        {exported}")
    print(
        f"predict with  {program()} --mode=predict --model={current.config.model} "
        "--input=hand.png --sex=female"
    )
    sys.stdout.flush()


def _ends(figure: dict) -> str:
    if figure["low"] is None:
        return "not known"
    return f"{figure['low']:.1f} to {figure['high']:.1f}"
