"""The flags of the command line and what `--help` prints. Imports no TensorFlow."""

import functools

from absl import flags

from bone_age_tf import schema
from bone_age_tf.config import DATASETS, PRECISIONS, flat, load_config
from bone_age_tf.export.formats import DEFAULT_FORMATS, FORMATS
from bone_age_tf.models.catalog import MODELS
from bone_age_tf.recipes.catalog import RECIPES

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
    "web",
    "pack",
    "recipe",
)
RESUMED_MODES = ("train", "transfer_check", "recipe", "audit")
"""Modes in which the same command with the same --workdir continues an interrupted run."""
OUTPUTS = {
    "predict": "predictions.csv",
    "calibrate": "site_calibration.json",
    "web": "build/web",
}
"""What the modes that take `--output` write without it."""
EXPLAINED = "explanations"
"""The folder that explain writes for `--input` without `--output`."""

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

Train in several stages by a recipe, the shipped weights for instance; a second call resumes:
  python run.py --mode=recipe --recipe=boxed --manual_dir=FOLDER
  python run.py --mode=pack --recipe=boxed --manual_dir=FOLDER --output=boxed.npz
  KERAS_BACKEND=jax python run.py --mode=recipe --recipe=boxed --pack=boxed.npz

Do one thing with a finished run (the newest of the model unless --workdir names one):
  python run.py --mode=evaluate | export | explain --workdir=runs/NAME

Files for devices, compared with Keras and timed:
  python run.py --mode=export --workdir=runs/NAME --formats=float32,float16,dynamic,int8,uint8,onnx

Predict; no training, no TensorFlow:
  python run.py --mode=predict --input=hand.png --sex=female
  python run.py --mode=predict --input=FOLDER --sex=male --output=predictions.csv
  python run.py --mode=predict --input=cases.csv      (columns image,sex and, if known, age_months)
  python run.py --mode=predict --input=cases.csv --server=grpc://HOST:8500/MODEL | http://HOST:8501/MODEL

Look at every image and label of a dataset, and train without what is wrong:
  python run.py --mode=audit --dataset=rsna_bone_age --manual_dir=FOLDER       (quick: --folds=0)
  python run.py --dataset=rsna_bone_age --config.leave_out=runs/audit-rsna_bone_age/suspects.csv

Train the network that refuses films that are no whole hand and puts others right:
  python run.py --mode=train_film_check --dataset=rsna_bone_age --manual_dir=FOLDER

Show what an answer rests on: a picture a case, a page of all of them, shares by region:
  python run.py --mode=explain --input=hand.png --sex=female     (or a folder, or a CSV)
  python run.py --mode=explain --input=cases.csv --methods=crm_months,path_cam --count=100

Train the network that finds the regions of ossification, on phantoms and then on your annotations:
  python run.py --mode=train_region_detector --dataset=rsna_bone_age --manual_dir=FOLDER \
      --boxes=FOLDER

Correct a model for your own site, from 50 or more of its cases whose bone age is known:
  python run.py --mode=calibrate --input=site.csv     (columns image,sex,age_months)
  python run.py --mode=predict --input=hand.png --sex=female --calibration=site_calibration.json
  python run.py --mode=export --calibration=site_calibration.json     (into the exported files)

Build the page that reads radiographs in the browser, without sending them, and open it here:
  python run.py --mode=web                            (only build it: --noserve --output=FOLDER)
"""


def define_flags() -> flags.FlagValues:
    """Returns the project's flags, apart from absl's global ones."""
    values = flags.FlagValues()

    text = functools.partial(flags.DEFINE_string, flag_values=values)
    text("mode", "train", f"What to do: {', '.join(MODES)}.")
    text(
        "model",
        "resnet50",
        f"Which model: {', '.join(MODELS)}. Without it predict, calibrate and web take the one "
        "that is shipped, or else the newest export, and audit takes cnn.",
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
    flags.DEFINE_integer(
        "folds",
        4,
        "audit: networks that are trained to doubt labels, each on the others' images; 0 for none.",
        lower_bound=0,
        flag_values=values,
    )
    _define_recipe_flags(values)
    _define_film_flags(values)
    _define_file_flags(values)
    _define_web_flags(values)
    _define_flags_of_explain(values)
    return values


def _define_recipe_flags(values: flags.FlagValues) -> None:
    """Defines what is trained in several stages, and the packs that other backends read."""
    flags.DEFINE_string(
        "recipe",
        None,
        "recipe, pack: which recipe. "
        + "; ".join(f"{name}: {text}" for name, text in RECIPES.items())
        + ".",
        flag_values=values,
    )
    flags.DEFINE_string(
        "pack",
        None,
        "recipe: file that --mode=pack wrote, or the first part of its name; trains from it. "
        "KERAS_BACKEND=jax or torch need one.",
        flag_values=values,
    )
    flags.DEFINE_integer(
        "pack_px",
        None,
        "pack: longer side of the packed images, 0 for theirs. Default: the recipe's, or theirs.",
        lower_bound=0,
        flag_values=values,
    )
    flags.DEFINE_integer(
        "pack_quality",
        None,
        "pack: JPEG quality, 0 for PNG. Default: the recipe's, or PNG.",
        lower_bound=0,
        upper_bound=95,
        flag_values=values,
    )
    flags.DEFINE_float(
        "part_mb",
        0.0,
        "pack: the largest size of a file in MB; larger packs are written in parts. 0: one file.",
        lower_bound=0.0,
        flag_values=values,
    )
    flags.DEFINE_float(
        "stop_after_minutes",
        0.0,
        "recipe: interrupt the training after that time; the same command resumes it. 0: never.",
        lower_bound=0.0,
        flag_values=values,
    )


def _define_film_flags(values: flags.FlagValues) -> None:
    """Defines which films are read, by what, and where the answers go."""
    text = functools.partial(flags.DEFINE_string, flag_values=values)
    text("input", None, "predict, explain: an image, a folder or a CSV. calibrate: a CSV.")
    text(
        "sex",
        None,
        f"predict, explain: {' or '.join(schema.SEX_NAMES)}; without it, both are given.",
    )
    text(
        "output",
        None,
        "What to write. "
        + "; ".join(f"{mode}: {path}" for mode, path in OUTPUTS.items())
        + f"; explain with --input: the folder {EXPLAINED}. predict, calibrate: - for standard "
        "output.",
    )
    flags.DEFINE_boolean(
        "check_films",
        True,
        "predict, calibrate, explain, web, export (into the SavedModel): refuse what is no whole "
        "hand; put right what is turned, mirrored or inverted.",
        flag_values=values,
    )
    flags.DEFINE_boolean(
        "resume",
        False,
        "predict: continue the same command after it was interrupted; images that were read are "
        "not read again.",
        flag_values=values,
    )
    text(
        "variant",
        None,
        "predict, calibrate, web: which LiteRT file of the export. Default: the most exact.",
    )
    flags.DEFINE_boolean(
        "accept_doubts",
        False,
        "calibrate: use a table in spite of what speaks against it, such as ages that look like "
        "years.",
        flag_values=values,
    )
    text("calibration", None, "predict, export: a site's calibration, from --mode=calibrate.")


def _define_file_flags(values: flags.FlagValues) -> None:
    """Defines what export writes and what may read films in place of it."""
    flags.DEFINE_list(
        "formats",
        list(DEFAULT_FORMATS),
        f"export: which files to write beside the SavedModel, of {', '.join(FORMATS)}.",
        flag_values=values,
    )
    flags.DEFINE_string(
        "server",
        None,
        "predict: a TensorFlow Serving that reads the films, grpc://HOST:PORT/MODEL or "
        "http://HOST:PORT/MODEL (grpcs, https with TLS), with /versions/N or /labels/NAME behind "
        "it if you like.",
        flag_values=values,
    )
    flags.DEFINE_float(
        "timeout_s",
        30.0,
        "predict with --server: seconds to wait for an answer.",
        lower_bound=0.1,
        flag_values=values,
    )


def _define_web_flags(values: flags.FlagValues) -> None:
    flags.DEFINE_boolean(
        "serve", True, "web: serve the page on this machine once it is built.", flag_values=values
    )
    flags.DEFINE_integer(
        "port",
        8000,
        "web: port of the server; 0 for one that is free.",
        lower_bound=0,
        upper_bound=65535,
        flag_values=values,
    )


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
        default = ",".join(flag.default) if isinstance(flag.default, list) else flag.default
        default = "" if default is None else f" [{default}]"
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
