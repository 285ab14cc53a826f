"""The command line: flags, help and errors. Imports TensorFlow only when a mode needs it."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from absl import flags

from bone_age_tf import schema
from bone_age_tf.config import (
    DATASETS,
    PRECISIONS,
    ConfigError,
    flat,
    load_config,
    require_known,
)
from bone_age_tf.models.catalog import MODELS

MODES = (
    "train",
    "evaluate",
    "export",
    "explain",
    "predict",
    "calibrate",
    "transfer_check",
    "train_film_check",
    "train_region_detector",
    "audit",
)
OUTPUTS = {"predict": "predictions.csv", "calibrate": "site_calibration.json"}
"""What the modes that take `--output` write without it."""
EXPLAINED = "explanations"
"""The folder that explain writes for `--input` without `--output`."""
_CONFIG_PREFIX = "--config."

_USAGE = """\
Bone age, in months, from radiographs of the left hand and wrist.
Research use; not a medical device.

Train, evaluate, export and explain, on generated phantoms that need no download:
  python run.py --model=resnet50

The same on the RSNA 2017 challenge files, or on your own table of images:
  python run.py --model=resnet50 --dataset=rsna_bone_age --manual_dir=FOLDER
  python run.py --model=resnet50 --dataset=radiograph_folder --manual_dir=FOLDER

Go on with a run that was stopped (a finished run is left as it is):
  python run.py --model=resnet50 --workdir=runs/NAME

Start from other weights, and check that it helps: the same budget from random ones beside it:
  python run.py --model=resnet50 --config.init=imagenet | runs/NAME | FILE.keras
  python run.py --mode=transfer_check --model=resnet50 --config.init=imagenet

Do one thing with a finished run (the newest of the model unless --workdir names one):
  python run.py --mode=evaluate | export | explain --workdir=runs/NAME

Predict; no training, no TensorFlow:
  python run.py --mode=predict --input=hand.png --sex=female
  python run.py --mode=predict --input=FOLDER --sex=male --output=predictions.csv
  python run.py --mode=predict --input=cases.csv      (columns image,sex and, if known, age_months)

Look at every image and label of a dataset, and train without what is wrong:
  python run.py --mode=audit --dataset=rsna_bone_age --manual_dir=FOLDER       (quick: --folds=0)
  python run.py --dataset=rsna_bone_age --config.leave_out=runs/audit-rsna_bone_age/suspects.csv

Train the network that refuses films that are no whole hand and puts others right:
  python run.py --mode=train_film_check --dataset=rsna_bone_age --manual_dir=FOLDER

Show what an answer rests on: a picture a case, a page of all of them, shares by region:
  python run.py --mode=explain --input=hand.png --sex=female     (or a folder, or a CSV)
  python run.py --mode=explain --input=cases.csv --methods=crm_months,occlusion --count=100

Train the network that finds the regions of ossification, on phantoms and then on your annotations:
  python run.py --mode=train_region_detector --dataset=rsna_bone_age --manual_dir=FOLDER \
      --boxes=FOLDER

Correct a model for your own site, from 50 or more of its cases whose bone age is known:
  python run.py --mode=calibrate --input=site.csv     (columns image,sex,age_months)
  python run.py --mode=predict --input=hand.png --sex=female --calibration=site_calibration.json
  python run.py --mode=export --calibration=site_calibration.json     (into the exported files)
"""


def define_flags() -> flags.FlagValues:
    """Returns the project's flags, apart from absl's global ones."""
    values = flags.FlagValues()

    def text(name: str, default: str | None, meaning: str) -> None:
        flags.DEFINE_string(name, default, meaning, flag_values=values)

    text("mode", "train", f"What to do: {', '.join(MODES)}.")
    text(
        "model",
        "resnet50",
        f"Which model: {', '.join(MODELS)}. Without it predict and calibrate take the one that is "
        "shipped, or else the newest export, and audit takes cnn.",
    )
    text(
        "dataset",
        None,
        f"Which data: {', '.join(DATASETS)}, or NAME/CONFIG such as rsna_bone_age/px512. "
        "Default: hand_phantom, or the run's own.",
    )
    text("data_dir", "data", "Where prepared datasets are kept.")
    text("manual_dir", None, "Folder with your files for the dataset.")
    flags.DEFINE_boolean(
        "skip_bad_rows",
        False,
        "Leave unusable rows out, listed in skipped.csv.",
        flag_values=values,
    )
    text("workdir", None, "Folder of the run. Default: a new one under runs/.")
    text("exports_dir", "exports", "Where exported models are kept.")
    text("precision", "auto", f"Number format of training: {', '.join(PRECISIONS)}.")
    flags.DEFINE_integer("seed", 0, "Seed of every random choice.", flag_values=values)
    text("input", None, "predict, explain: an image, a folder or a CSV. calibrate: a CSV.")
    text(
        "sex",
        None,
        f"predict, explain: {' or '.join(schema.SEX_NAMES)}; without it, both are given.",
    )
    text(
        "output",
        None,
        f"What to write. predict: {OUTPUTS['predict']}; calibrate: {OUTPUTS['calibrate']}; explain "
        f"with --input: the folder {EXPLAINED}.",
    )
    flags.DEFINE_boolean(
        "check_films",
        True,
        "predict, calibrate, explain: refuse what is no whole hand; put right what is turned, "
        "mirrored or inverted.",
        flag_values=values,
    )
    flags.DEFINE_integer(
        "folds",
        4,
        "audit: networks that are trained to doubt labels, each on the others' images; 0 for none.",
        lower_bound=0,
        flag_values=values,
    )
    text("variant", "float32", "predict, calibrate: which file, float32 or int8.")
    text("calibration", None, "predict, export: a site's calibration, from --mode=calibrate.")
    _define_flags_of_explain(values)
    return values


def _define_flags_of_explain(values: flags.FlagValues) -> None:
    """Adds the flags of explain and of the region detector that its tables need."""
    for name, meaning in (
        ("methods", "explain: which maps, by commas, or all. Default: the three best."),
        ("boxes", "train_region_detector: folder of Pascal VOC files named by image id."),
    ):
        flags.DEFINE_string(name, None, meaning, flag_values=values)
    flags.DEFINE_integer(
        "count",
        None,
        "explain: how many cases; default 8 of a run, all of --input.",
        lower_bound=1,
        flag_values=values,
    )


def help_text(values: flags.FlagValues) -> str:
    """Returns what `--help` prints."""
    lines = [_USAGE, "Flags:"]
    for name in sorted(values):
        flag = values[name]
        default = "" if flag.default is None else f" [{flag.default}]"
        lines.append(f"  --{name}{default}\n      {flag.help}")
    lines.append(
        "\nSettings of the model, each as --config.KEY=VALUE (here resnet50's, for rsna_bone_age):"
    )
    settings = flat(load_config("resnet50", "rsna_bone_age"))
    lines += [
        f"  --config.{key}={value}"
        for key, value in settings.items()
        if key not in ("model", "dataset")
    ]
    return "\n".join(lines)


def split_config_overrides(arguments: Sequence[str]) -> tuple[list[str], list[tuple[str, str]]]:
    """Separates `--config.KEY=VALUE` from the other arguments.

    Raises:
        ConfigError: an override without a value.
    """
    others, overrides = [], []
    for argument in arguments:
        if not argument.startswith(_CONFIG_PREFIX):
            others.append(argument)
            continue
        key, equals, text = argument.removeprefix(_CONFIG_PREFIX).partition("=")
        if not equals:
            raise ConfigError(f"{argument}: write {argument}=VALUE")
        overrides.append((key, text))
    return others, overrides


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one mode; returns the exit status: 0 done, 1 done with failures, 2 wrong use."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    values = define_flags()
    if any(argument in ("--help", "-h", "-help", "--helpfull") for argument in arguments):
        print(help_text(values))
        return 0
    try:
        others, overrides = split_config_overrides(arguments)
        rest = values(["run.py", *others])
        if len(rest) > 1:
            raise ConfigError(
                f"{rest[1]!r} is not a flag; write --input={rest[1]} to predict it, or see --help"
            )
        _check(values)
        return _run_mode(values, overrides)
    except flags.Error as error:
        print(f"error: {error}\nSee python run.py --help", file=sys.stderr)
    except KeyboardInterrupt:
        print("\nstopped; the same command with the same --workdir goes on", file=sys.stderr)
        return 130
    except Exception as error:  # what a user can mend is told without a traceback
        if not _is_users(error):
            raise
        print(f"error: {error}", file=sys.stderr)
    return 2


def _check(values: flags.FlagValues) -> None:
    require_known("mode", values.mode, MODES)
    require_known("model", values.model, MODELS)
    if values.dataset is not None:
        require_known("dataset", values.dataset.partition("/")[0], DATASETS)
    require_known("precision", values.precision, PRECISIONS)
    if values.sex is not None:
        try:
            schema.parse_sex(values.sex)
        except ValueError as error:
            raise ConfigError(f"--sex: {error}") from None
    if values.mode == "predict" and not values.input:
        raise ConfigError("--mode=predict needs --input=IMAGE, FOLDER or CSV")
    if values.mode == "calibrate" and not values.input:
        raise ConfigError("--mode=calibrate needs --input=CSV with columns image,sex,age_months")
    if values.folds == 1:
        raise ConfigError("--folds=1: nothing is left to train on; 2 or more, or 0 for no labels")
    only = {"methods": "explain", "count": "explain", "boxes": "train_region_detector"}
    for name, mode in only.items():
        if values[name].present and values.mode != mode:
            raise ConfigError(f"--{name} has no effect on --mode={values.mode}")
    if values.calibration and values.mode not in ("predict", "export"):
        raise ConfigError(f"--calibration has no effect on --mode={values.mode}")


def _run_mode(values: flags.FlagValues, overrides: list[tuple[str, str]]) -> int:
    if values.mode in OUTPUTS:
        if overrides:
            raise ConfigError(
                f"--config has no effect on --mode={values.mode}; the export is as it is"
            )
        return _run_light_mode(values, Path(values.output or OUTPUTS[values.mode]))
    # Before TensorFlow is imported. It leaves oneDNN off on processors without AVX-512, where
    # training is slower without it (benchmarks/training_speed.py prints by how much).
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    from bone_age_tf import commands

    return commands.run(values, overrides)


def _run_light_mode(values: flags.FlagValues, output: Path) -> int:
    """Runs a mode that needs no TensorFlow."""
    exports_dir = Path(values.exports_dir)
    model = values.model if values["model"].present else None
    if values.mode == "calibrate":
        from bone_age_tf.inference.calibrate import calibrate_command

        return calibrate_command(
            values.input, exports_dir, model, values.variant, output, values.check_films
        )
    from bone_age_tf.inference.command import predict_command

    return predict_command(
        values.input,
        values.sex,
        exports_dir,
        model,
        values.variant,
        output,
        values.calibration,
        values.check_films,
    )


def _is_users(error: Exception) -> bool:
    from bone_age_tf.data.radiograph import RadiographError

    kinds: tuple[type[Exception], ...] = (ConfigError, RadiographError, FileNotFoundError)
    if "bone_age_tf.commands" in sys.modules:
        from bone_age_tf import commands

        kinds += commands.USERS_ERRORS
    return isinstance(error, kinds)
