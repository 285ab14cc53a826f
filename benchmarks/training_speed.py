"""Measures the training speed of the recipes' networks by framework and number format.

python benchmarks/training_speed.py                   (TensorFlow, and what else is installed)
python benchmarks/training_speed.py --models=resnet18 --sizes=160 --frameworks tensorflow pytorch

The script prints images per second and their ratio to TensorFlow in float32. Each setting runs in a
separate process. `keras_norms` is TensorFlow with Keras' batch normalization, which the project's
training replaces by the fused operation. `jax` and `torch` are Keras with that backend; `pytorch`
is the same graph in PyTorch without Keras; install torch separately for these two. The last lines
give the input pipeline's share of a step: processor time of a batch divided by the time of the
fastest step, for a prepared dataset with tf.data and for a pack.
"""

import argparse
import importlib.util
import json
import os
import subprocess
import sys
import time

FRAMEWORKS = {
    "tensorflow": "tensorflow",
    "keras_norms": "tensorflow",
    "jax": "jax",
    "torch": "torch",
    "pytorch": "torch",
}
"""Package that each framework requires, by name of the framework."""
PRECISIONS = ("float32", "mixed_bfloat16")
WARM_STEPS = 2


def measure_keras(name: str, size_px: int, batch: int, steps: int, precision: str) -> float:
    """Returns the images per second of the project's training step."""
    import keras
    import numpy as np

    from bone_age_tf import config as configs
    from bone_age_tf.training import fit as fitting

    keras.mixed_precision.set_global_policy(precision)
    overrides = [("augmentation.policy", "films"), ("image_size_px", str(size_px))]
    config = configs.load_config(name, "hand_phantom", overrides)
    model = fitting.compiled(config, fitting.Schedule(1, 1000), 0)
    random = np.random.default_rng(0)
    inputs = {
        "image": random.uniform(0, 255, (batch, size_px, size_px, 1)).astype(np.float32),
        "sex": np.ones((batch, 1), np.float32),
    }
    targets = dict.fromkeys(model.trained_outputs, np.full((batch, 1), 120, np.float32))

    class Same(keras.utils.PyDataset):
        def __len__(self):
            return WARM_STEPS + steps

        def __getitem__(self, index):
            return inputs, targets

    ends = []

    class Clock(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            float(logs["loss"])  # waits for the step
            ends.append(time.perf_counter())

    model.fit(Same(), steps_per_epoch=WARM_STEPS + steps, verbose=0, callbacks=[Clock()])
    return steps * batch / (ends[-1] - ends[WARM_STEPS - 1])


def measure_pytorch(name: str, size_px: int, batch: int, steps: int, precision: str) -> float:
    """Returns the images per second of the graph in PyTorch: channels last, AdamW, autocast."""
    import torch

    from plain_pytorch import NETWORKS

    torch.manual_seed(0)
    network = NETWORKS[name]().to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(network.parameters(), 1e-3)
    image = torch.rand(batch, 3, size_px, size_px).to(memory_format=torch.channels_last)
    target = torch.softmax(torch.rand(batch, 120), dim=1)

    def step() -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=precision != "float32"):
            answer = network(image)
        loss = torch.nn.functional.kl_div(
            torch.log_softmax(answer.float(), dim=1), target, reduction="batchmean"
        )
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()

    for _ in range(WARM_STEPS):
        step()
    start = time.perf_counter()
    for _ in range(steps):
        step()
    return steps * batch / (time.perf_counter() - start)


def measure_input(size_px: int, batch: int, steps: int) -> dict[str, float]:
    """Returns the seconds for a batch by kind of data, with the images in memory."""
    import tempfile
    from pathlib import Path

    from bone_age_tf import config as configs
    from bone_age_tf.data import pack, packing, pipeline
    from bone_age_tf.data.packed import PackedData
    from bone_age_tf.data.prepared import PreparedData
    from bone_age_tf.prepare import prepare_dataset

    overrides = [("image_size_px", str(size_px)), ("batch_size", str(batch))]
    config = configs.load_config("efficientnet_lite0", "hand_phantom", overrides)
    with tempfile.TemporaryDirectory() as folder:
        builder = prepare_dataset("hand_phantom/tiny", Path(folder), None)
        parts = pipeline.choose_parts(list(builder.info.splits), 0.1, True)
        kinds: dict[str, PreparedData | PackedData] = {
            "prepared dataset": PreparedData(builder, parts),
            "pack": PackedData(pack.make_pack(packing.examples(builder, parts))),
        }
        seconds = {}
        for name, data in kinds.items():
            batches = iter(data.training_batches(config, [], 0, 0, lambda *batch: batch))
            for _ in range(20):  # decodes each image
                next(batches)
            start = time.process_time()
            for _ in range(steps):
                next(batches)
            seconds[name] = (time.process_time() - start) / (os.cpu_count() or 1) / steps
    return seconds


def measure_in_process(framework: str, **arguments) -> str:
    """Runs a measurement in a separate process and returns the last printed value."""
    # PyTorch's packages crash where TensorFlow has been imported before.
    backend = FRAMEWORKS.get(framework, "tensorflow")
    environment = os.environ | {
        "KERAS_BACKEND": backend,
        "TF_ENABLE_ONEDNN_OPTS": "1",
        "TF_CPP_MIN_LOG_LEVEL": "2",
    }
    command = [sys.executable, __file__, f"--measure={framework}"]
    command += [f"--{key}={value}" for key, value in arguments.items()]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stderr[-3000:]}")
    return done.stdout.splitlines()[-1]


def main() -> None:
    """Measures all settings and prints the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", nargs="+", default=["efficientnet_lite0", "resnet18"])
    parser.add_argument("--sizes", type=int, nargs="+", default=[160, 256])
    parser.add_argument("--frameworks", nargs="+", default=list(FRAMEWORKS), choices=FRAMEWORKS)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--steps", type=int, default=6)
    for hidden in ("measure", "model", "precision"):
        parser.add_argument(f"--{hidden}", help=argparse.SUPPRESS)
    parser.add_argument("--size_px", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure == "input":
        print(json.dumps(measure_input(options.size_px, options.batch, 100)))
        return
    if options.measure:
        measure = measure_pytorch if options.measure == "pytorch" else measure_keras
        if options.measure == "keras_norms":
            from bone_age_tf.training import fit

            fit.fuse_batch_norms = lambda network: None
        setting = (options.model, options.size_px, options.batch, options.steps)
        print(measure(*setting, options.precision))
        return
    for name, package in FRAMEWORKS.items():
        if name in options.frameworks and importlib.util.find_spec(package) is None:
            print(f"{name}: left out, {package} is not installed")
            options.frameworks.remove(name)
    print(f"{'model':20}{'px':>5}  {'framework':12}{'format':16}{'images/s':>9}{'ratio':>7}")
    for model in options.models:
        for size_px in options.sizes:
            print_speeds(options, model, size_px)


def print_speeds(options: argparse.Namespace, model: str, size_px: int) -> None:
    """Prints the rows of a network at a size, and the input pipeline's share."""
    speeds: dict[tuple[str, str], float] = {}
    for framework in options.frameworks:
        for precision in PRECISIONS:
            speed = float(
                measure_in_process(
                    framework,
                    model=model,
                    size_px=size_px,
                    batch=options.batch,
                    steps=options.steps,
                    precision=precision,
                )
            )
            speeds[framework, precision] = speed
            ratio = speed / next(iter(speeds.values()))
            print(
                f"{model:20}{size_px:5}  {framework:12}{precision:16}{speed:9.1f}{ratio:7.2f}",
                flush=True,
            )
    fastest = max(speeds.values())
    drawing = json.loads(measure_in_process("input", size_px=size_px, batch=options.batch))
    for kind, seconds in drawing.items():
        share = seconds * fastest / options.batch
        print(f"{model:20}{size_px:5}  input from a {kind}: {share:.1%} of the fastest step")


if __name__ == "__main__":
    main()
