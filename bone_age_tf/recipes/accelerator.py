r"""Trains a stage of a recipe on a rented accelerator, within a given time.

The machine needs Linux, a GPU and Python with JAX, but neither TensorFlow, Keras nor a network. The
first two commands and the last two run on your machine, the third on the rented one:

    python run.py --mode=pack --recipe=boxed --manual_dir=DIR --output=rent/boxed.npz --part_mb=30
    python bone_age_tf/recipes/accelerator.py collect rent --python=3.12
    python bone_age_tf/recipes/accelerator.py train rent --recipe=boxed --stage=real_pixels \
        --pack=rent/boxed.npz --init=runs/version_1.keras --seconds=480 --output=result
    python bone_age_tf/recipes/accelerator.py join result --workdir=runs/rented
    python run.py --mode=evaluate --workdir=runs/rented --manual_dir=DIR

The number of epochs is determined from the time and the speed, which is measured at the start; the
learning rate schedule ends with them. Until Keras is available, this file only imports the standard
library.
"""

import argparse
import dataclasses
import importlib.util
import io
import json
import os
import subprocess
import sys
import tarfile
import tempfile
import time
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bone_age_tf.errors import OutOfTimeError

PACKAGES = (
    "absl-py", "filelock", "h5py", "keras", "markdown-it-py", "mdurl", "ml-collections",
    "ml-dtypes", "namex", "numpy", "optree", "packaging", "pillow", "pygments", "pyyaml", "rich",
    "tqdm", "typing-extensions",
)  # fmt: skip
"""Packages for training from a pack, except JAX. The machine's own packages take precedence."""
PLATFORMS = (
    "manylinux_2_17_x86_64", "manylinux_2_24_x86_64", "manylinux_2_27_x86_64",
    "manylinux_2_28_x86_64", "manylinux2014_x86_64",
)  # fmt: skip
PART_BYTES = 15_000_000
RESULT = "result.tar"
KEPT = (
    "config.json", "run.json", "log.csv", "measured.json",
    "checkpoints/best.keras", "checkpoints/best.json", "checkpoints/finished.json",
)  # fmt: skip
"""Files of the run that are part of the result."""
_TIMED_STEPS, _TIMED_SECONDS = 20, 5.0
"""Maximum number of steps and maximum seconds of a measurement of the speed."""
_SHARE = 0.9
"""Share of the remaining time for epochs; the rest is a reserve."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Collects, trains or joins; returns the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    modes = parser.add_subparsers(dest="mode", required=True)
    collect = modes.add_parser("collect", help="download the wheels for the machine's Python")
    collect.add_argument("folder", type=Path, help="takes wheels/")
    collect.add_argument("--python", default="3.12", help="its version there (default: 3.12)")
    train = modes.add_parser("train", help="train on the accelerator")
    train.add_argument("folder", type=Path, help="what collect filled")
    train.add_argument("--recipe", default="boxed")
    train.add_argument("--stage", help="name of the stage (default: the first)")
    train.add_argument("--pack", type=Path, required=True, help="the pack, or its parts' name")
    train.add_argument("--init", default="random", help=".keras file of the first weights")
    train.add_argument("--seconds", type=float, default=480.0, help="for everything")
    train.add_argument("--most_epochs", type=int, default=100, help="even if more would fit")
    train.add_argument("--output", type=Path, required=True, help="takes the result")
    train.add_argument("--backend", default="jax", choices=("jax", "torch"))
    train.add_argument("--precision", default="auto")
    train.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a setting")
    join = modes.add_parser("join", help="unpack the result as the folder of a run")
    join.add_argument("folder", type=Path, help="the output of train")
    join.add_argument("--workdir", type=Path, required=True)
    options = parser.parse_args(arguments)
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
    if options.mode == "collect":
        return collect_wheels(options.folder, options.python)
    if options.mode == "join":
        return join_result(options.folder, options.workdir)
    return train_stage(options, time.monotonic())


def collect_wheels(folder: Path, python: str) -> int:
    """Downloads the wheels for a Python version; returns pip's exit status."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
    command += ["--only-binary=:all:", f"--python-version={python}", "--implementation=cp"]
    command += [f"--platform={name}" for name in PLATFORMS]
    status = subprocess.run([*command, "-d", str(folder / "wheels"), *PACKAGES], check=False)
    size = sum(path.stat().st_size for path in folder.rglob("*.whl")) / 1e6
    print(f"{folder / 'wheels'}: {len(list(folder.rglob('*.whl')))} wheels, {size:.0f} MB")
    return status.returncode


def join_result(folder: Path, workdir: Path) -> int:
    """Unpacks the result of `train_stage` as the folder of a run."""
    from bone_age_tf.files import read_parts

    with tarfile.open(fileobj=io.BytesIO(read_parts(folder / RESULT))) as archive:
        archive.extractall(workdir, filter="data")
    print(f"the run's folder: {workdir}")
    return 0


def train_stage(options: argparse.Namespace, start: float) -> int:
    """Trains a stage for as many epochs as fit, and writes the result in parts."""
    os.environ["KERAS_BACKEND"] = options.backend
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    options.output.mkdir(parents=True, exist_ok=True)
    _unpack_wheels(options.folder / "wheels", options.output / "site")
    import keras

    from bone_age_tf.config import save_config
    from bone_age_tf.data.pack import read_pack
    from bone_age_tf.data.packed import PackedData
    from bone_age_tf.files import replace_file
    from bone_age_tf.recipes.catalog import load_recipe
    from bone_age_tf.training import fit as fitting
    from bone_age_tf.training.precision import set_precision

    def log(text: str) -> None:
        print(f"{time.monotonic() - start:6.1f} s  {text}", flush=True)

    _keep_compiled(options.output / "compiled")
    recipe = load_recipe(options.recipe)
    stage = next((s for s in recipe.stages if s.name == options.stage), recipe.stages[0])
    overrides = [tuple(setting.split("=", 1)) for setting in options.set]
    config = recipe.config(stage, options.init, overrides)
    precision = set_precision(options.precision, config)
    data = PackedData(read_pack(options.pack))
    log(f"Keras {keras.__version__} on {options.backend}, {precision}; {len(data.pack)} images")
    deadline = start + options.seconds
    speed = measure_speed(config, data, stage.seed)
    log(f"measured: {speed}")
    left = _SHARE * (deadline - time.monotonic())
    with config.unlocked():
        config.epochs = max(1, min(options.most_epochs, int(left / speed.epoch_seconds)))
    log(f"{config.epochs} epochs of about {speed.epoch_seconds:.1f} s")
    workdir = options.output / "run"
    record = {"dataset": recipe.dataset, "seed": stage.seed, "manual_dir": None}
    record |= {"skip_bad_rows": False}
    replace_file(workdir / "run.json", (json.dumps(record) + "\n").encode())
    save_config(config, workdir / "config.json")
    best = workdir / "checkpoints" / "best.keras"
    try:
        fitting.fit(config, data, workdir, stage.seed, stop_at=deadline)
    except OutOfTimeError as error:
        log(str(error))
        if not best.exists():
            log("no epoch was finished: give more --seconds")
            return 1
    figures = validation_figures(best, config, data)
    figures |= {"seconds": time.monotonic() - start, "images_per_second": speed.images_per_second}
    replace_file(workdir / "measured.json", (json.dumps(figures, indent=2) + "\n").encode())
    files = write_result(workdir, options.output)
    overall = figures["overall"]
    log(
        f"validation, n = {figures['n']}: MAE {overall['mae_months']['value']:.2f} months, bias "
        f"{overall['bias_months']['value']:+.2f}; {', '.join(path.name for path in files)}"
    )
    return 0


@dataclasses.dataclass(frozen=True)
class Speed:
    """Training speed of a stage.

    Attributes:
        epoch_seconds: duration of an epoch with validation and files, over all image sizes.
        images_per_second: training images per second, by image size in pixels.
    """

    epoch_seconds: float
    images_per_second: dict[int, float]

    def __str__(self) -> str:
        sizes = [
            f"{size} px {speed:.0f} images/s" for size, speed in self.images_per_second.items()
        ]
        return ", ".join(sizes)


def measure_speed(config: Any, data: Any, seed: int) -> Speed:
    """Times steps at each image size of a stage, and the validation, without compilation."""
    from bone_age_tf.training import fit as fitting

    steps = max(1, len(data.training_ids(config)) // config.batch_size)
    ends = config.stage_ends or (1.0,)
    shares = [end - begin for begin, end in zip((0.0, *ends), ends, strict=False)]
    seconds, speeds = 0.0, {}
    for scale, share in zip(config.stage_scales or (1.0,), shares, strict=True):
        size_px = round(scale * config.image_size_px)
        model = fitting.compiled(config, fitting.Schedule(1, steps), seed)
        targets_fn = fitting.with_targets(model.trained_outputs, model.mixing is not None)
        batches = data.training_batches(config, [(0, size_px)], seed, 0, targets_fn)
        a_step = _seconds_a_step(model, batches)
        speeds[size_px] = config.batch_size / a_step
        seconds += share * steps * a_step
    # Files before the evaluation: it donates the weights, and after `fit` these are the arrays of
    # their averages too, which could not be saved any more (JAX).
    begin = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:  # the files of each epoch
        for name in ("best.keras", "last.keras"):
            model.network.save(Path(folder) / name)
        model.save_weights(Path(folder) / "point.weights.h5")
    seconds += time.monotonic() - begin
    validation = data.validation_batches(config, fitting.with_targets(model.trained_outputs))
    model.evaluate(validation, verbose=0)
    begin = time.monotonic()
    model.evaluate(validation, verbose=0)
    return Speed(seconds + time.monotonic() - begin, speeds)


def _seconds_a_step(model: Any, batches: Any) -> float:
    """Returns the seconds of a step, without the first, which includes decoding and compilation."""
    import keras

    ends: list[float] = []

    def note(batch: int, logs: Any) -> None:
        ends.append(time.monotonic())
        model.stop_training = len(ends) > 1 and ends[-1] - ends[0] > _TIMED_SECONDS

    timer = keras.callbacks.LambdaCallback(on_train_batch_end=note)
    steps = 1 + _TIMED_STEPS
    model.fit(batches, steps_per_epoch=steps, callbacks=[timer], verbose=0, shuffle=False)
    return (ends[-1] - ends[0]) / (len(ends) - 1)


def validation_figures(best: Path, config: Any, data: Any) -> dict[str, Any]:
    """Measures the best network on the validation part with `evaluation.metrics.evaluate`."""
    import numpy as np

    from bone_age_tf import schema
    from bone_age_tf.evaluation.metrics import Predictions, evaluate
    from bone_age_tf.models.build import load_network

    places = data.pack.places("validation")
    network = load_network(best)
    outputs = network.predict(
        data.validation_batches(config, lambda inputs, ages: (inputs, ages)), verbose=0
    )
    predictions = Predictions(
        [data.pack.image_id[place] for place in places],
        data.pack.sex[places],
        data.pack.age_months[places],
        np.ravel(outputs[schema.AGE_MONTHS]),
    )
    constant = float(np.median(data.pack.age_months[data.pack.places("train")]))
    return evaluate(predictions, constant)


def write_result(workdir: Path, output: Path, part_bytes: int = PART_BYTES) -> list[Path]:
    """Writes the run's weights and records as one archive in parts; returns their paths."""
    from bone_age_tf.files import write_parts

    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as archive:
        for name in KEPT:
            if (workdir / name).exists():
                archive.add(workdir / name, name)
    return write_parts(output / RESULT, content.getvalue(), part_bytes)


def _unpack_wheels(wheels: Path, site: Path) -> None:
    """Unpacks wheels (zip files) to a folder that is searched after the machine's packages."""
    for wheel in sorted(wheels.glob("*.whl")):
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(site)
    sys.path.append(str(site.resolve()))
    importlib.invalidate_caches()
    if importlib.util.find_spec("keras") is None:
        sys.exit(f"error: Keras is neither installed nor in {wheels}; run collect first")


def _keep_compiled(folder: Path) -> None:
    """Enables JAX's compilation cache, so that the training does not compile the steps again."""
    if os.environ["KERAS_BACKEND"] == "jax":
        import jax

        jax.config.update("jax_compilation_cache_dir", str(folder.resolve()))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)


if __name__ == "__main__":
    sys.exit(main())
