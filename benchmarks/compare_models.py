"""Compares all models on the same images with the same training time.

python benchmarks/compare_models.py --manual_dir=../shared/rsna_bone_age_299px
taskset -c 0 python benchmarks/compare_models.py --minutes 30 ...   # one core, the other is free
python benchmarks/compare_models.py --models vgg16 vgg_residual --seeds 0 1 2 --steps 900 ...
python benchmarks/compare_models.py --models cnn --set head=regression sex_mode=off ...
python benchmarks/compare_models.py --models efficientnet_lite0 --set init=imagenet --steps 1300 ...

The script trains on 90 % of the RSNA training images, divided by id, and measures on the other
10 %. The number of steps of a model is determined from `--minutes` and the speed of its first
steps, so that other load on the machine does not favour a model; `--steps` sets it instead. Results
are stored in `--work_dir`, and a second start continues. Without `--manual_dir`,
`--dataset=hand_phantom/varied` is used.
"""

import argparse
import functools
import math
import os
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")

import keras
import numpy as np
import tensorflow as tf

from bone_age_tf import config as configs
from bone_age_tf import schema
from bone_age_tf.data import pipeline
from bone_age_tf.data.prepared import PreparedData
from bone_age_tf.evaluation.metrics import Predictions, evaluate
from bone_age_tf.export import lite
from bone_age_tf.models.build import build_model
from bone_age_tf.models.catalog import MODELS
from bone_age_tf.prepare import prepare_dataset
from bone_age_tf.training import fit as fitting
from bone_age_tf.training import prediction
from bone_age_tf.training.initial_weights import initialise
from seeds import measure_all, results

WARM_STEPS, TIMED_STEPS = 3, 10


def flops(model: keras.Model, size_px: int) -> float:
    """Returns the floating-point operations for an image; a multiply-add counts as two."""
    from tensorflow.python.framework.convert_to_constants import (
        convert_variables_to_constants_v2,
    )

    @tf.function
    def run(image, sex):
        return model({schema.IMAGE: image, schema.SEX: sex}, training=False)

    concrete = run.get_concrete_function(
        tf.TensorSpec([1, size_px, size_px, 1]), tf.TensorSpec([1, 1])
    )
    graph = convert_variables_to_constants_v2(concrete).graph
    options = tf.compat.v1.profiler.ProfileOptionBuilder.float_operation()
    options["output"] = "none"
    total = tf.compat.v1.profiler.profile(graph, options=options)
    return float(total.total_float_ops)


def lite_milliseconds(model: keras.Model, size_px: int) -> float:
    """Returns the median time of one image in LiteRT float32 on one thread."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=lite.convert_network(model, size_px), num_threads=1)
    runner = interpreter.get_signature_runner(schema.SERVING_SIGNATURE)
    random = np.random.default_rng(0)
    image = random.uniform(0, 255, (1, size_px, size_px, 1)).astype(np.float32)
    seconds = []
    for _ in range(30):
        start = time.perf_counter()
        runner(image=image, sex=np.zeros((1, 1), np.float32))
        seconds.append(time.perf_counter() - start)
    return float(np.median(seconds) * 1000)


def steps_in(minutes: float, config, builder, parts) -> int:
    """Returns the number of training steps in a time, at the speed of the first steps."""
    probe = fitting.compiled(config, fitting.Schedule(1, 1000), 0)
    stages = fitting.Schedule(1, 10**6).stages(config)
    targets_fn = fitting.with_targets(probe.trained_outputs)
    waiting = iter(PreparedData(builder, parts).training_batches(config, stages, 0, 0, targets_fn))
    for step in range(WARM_STEPS + TIMED_STEPS):
        if step == WARM_STEPS:
            start = time.perf_counter()
        probe.train_on_batch(*next(waiting))
    a_step = (time.perf_counter() - start) / TIMED_STEPS
    # The speed is that of the first stage; later stages take longer in proportion to the area.
    shares = np.diff([0.0, *config.stage_ends]) if config.stage_ends else np.ones(1)
    areas = np.array(config.stage_scales or (1.0,)) ** 2
    return max(10, math.floor(minutes * 60 / (a_step * (shares * areas).sum() / areas[0])))


def fit_steps(config, builder, parts, seed: int, steps: int) -> tuple[keras.Model, float]:
    """Returns a network trained for a number of steps, and the images per second."""
    keras.utils.set_random_seed(seed)
    schedule = fitting.Schedule(1, steps)
    model = fitting.compiled(config, schedule, seed)
    targets_fn = fitting.with_targets(model.trained_outputs, model.mixing is not None)
    data = PreparedData(builder, parts)
    batches = data.training_batches(config, schedule.stages(config), seed, 0, targets_fn)
    initialise(model.network, config)
    start = time.perf_counter()
    model.fit(
        batches,
        steps_per_epoch=steps,
        callbacks=[keras.callbacks.SwapEMAWeights(swap_on_epoch=True)],
        shuffle=False,
        verbose=0,
    )
    return model.network, steps * config.batch_size / (time.perf_counter() - start)


def measure(options: argparse.Namespace, name: str, seed: int) -> dict:
    """Returns all figures of a run."""
    dataset = options.dataset
    settings = [tuple(setting.split("=", 1)) for setting in options.set]
    config = configs.load_config(name, dataset.partition("/")[0], settings)
    builder = prepare_dataset(dataset, options.data_dir, options.manual_dir)
    parts = pipeline.choose_parts(
        list(builder.info.splits), config.holdout_fraction, config.use_validation_split
    )
    steps = options.steps or steps_in(options.minutes, config, builder, parts)
    network, speed = fit_steps(config, builder, parts, seed, steps)
    table = pipeline.read_table(builder, parts["test"])
    outputs = prediction.predict(network, config, builder, parts["test"], len(table))
    months = np.ravel(outputs[schema.AGE_MONTHS])
    predictions = Predictions(table.image_id, table.sex, table.age_months, months)
    median = float(np.median(pipeline.read_table(builder, parts["train"]).age_months))
    metrics = evaluate(predictions, median, seed)
    static = build_model(config, config.image_size_px)
    static.set_weights(network.get_weights())
    return {
        "parameters": network.count_params(),
        "gflops": flops(static, config.image_size_px) / 1e9,
        "images_per_second": speed,
        "steps": steps,
        "lite_ms": lite_milliseconds(static, config.image_size_px),
        "n": metrics["n"],
        "mae": metrics["overall"]["mae_months"],
        "constant": metrics["constant_median"]["mae_months"]["value"],
    }


def _label(options: argparse.Namespace, name: str) -> str:
    return " ".join([name, *options.set])


def print_comparison(folder: Path) -> None:
    """Prints a row for each run, the best first."""
    runs = [
        (run["mae"], label, seed, run)
        for label, by_seed in results(folder).items()
        for seed, run in by_seed.items()
    ]
    print("| model | seed | parameters | GFLOPs | training images/s | steps | LiteRT ms | MAE |")
    print("|---|---|---|---|---|---|---|---|")
    for mae, label, seed, run in sorted(runs, key=lambda one: one[0]["value"]):
        print(
            f"| {label} | {seed} | {run['parameters'] / 1e6:.1f} M | "
            f"{run['gflops']:.2f} | {run['images_per_second']:.0f} | {run['steps']} | "
            f"{run['lite_ms']:.1f} | {mae['value']:.1f} ({mae['low']:.1f} to {mae['high']:.1f}) |"
        )
    if runs:
        print(f"\nn = {runs[0][3]['n']}; a constant: {runs[0][3]['constant']:.1f} months")


def main() -> None:
    """Trains the selected models and prints the table of all results."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", nargs="+", choices=sorted(MODELS), default=sorted(MODELS))
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="config settings")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--minutes", type=float, default=15.0, help="of training, each run")
    parser.add_argument("--steps", type=int, help="of training, each run, instead of --minutes")
    parser.add_argument("--dataset", help="default: rsna_bone_age with --manual_dir, else phantoms")
    parser.add_argument("--manual_dir", type=Path)
    parser.add_argument("--data_dir", type=Path, default=Path("data"))
    parser.add_argument("--work_dir", type=Path, default=Path("runs/compare_models"))
    options = parser.parse_args()
    if options.dataset is None:
        options.dataset = "rsna_bone_age" if options.manual_dir else "hand_phantom/varied"
    measurements = {
        _label(options, name): functools.partial(measure, options, name) for name in options.models
    }
    folder = options.work_dir / "results"
    measure_all(measurements, options.seeds, folder)
    print_comparison(folder)


if __name__ == "__main__":
    main()
