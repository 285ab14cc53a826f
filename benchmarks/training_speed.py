"""How fast ResNet50 trains on this CPU with oneDNN on and off, and in bfloat16.

python benchmarks/training_speed.py --size_px=64

Prints images a second and ratios, all from one run; each setting has a process of its own.
"""

import argparse
import os
import subprocess
import sys
import time

SETTINGS = {
    "float32, oneDNN off": ("0", "float32"),
    "float32, oneDNN on": ("1", "float32"),
    "mixed_bfloat16, oneDNN on": ("1", "mixed_bfloat16"),
}


def measure(size_px: int, batch: int, steps: int, policy: str) -> float:
    """Returns images a second over some training steps, the first two left out."""
    import keras
    import numpy as np

    keras.mixed_precision.set_global_policy(policy)
    image = keras.Input((size_px, size_px, 3))
    features = keras.applications.ResNet50(
        include_top=False, weights=None, input_tensor=image, pooling="avg"
    ).output
    model = keras.Model(image, keras.layers.Dense(1, dtype="float32")(features))
    model.compile(keras.optimizers.SGD(1e-3), "mae")
    pixels = np.random.default_rng(0).random((batch, size_px, size_px, 3), np.float32)
    ages = np.ones((batch, 1), np.float32)
    for _ in range(2):
        model.train_on_batch(pixels, ages)
    start = time.perf_counter()
    for _ in range(steps):
        model.train_on_batch(pixels, ages)
    return steps * batch / (time.perf_counter() - start)


def main() -> None:
    """Measures every setting and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size_px", type=int, default=64)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--policy", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.policy:
        print(measure(options.size_px, options.batch, options.steps, options.policy))
        return
    speeds: dict[str, float] = {}
    for name, (onednn, policy) in SETTINGS.items():
        environment = os.environ | {"TF_ENABLE_ONEDNN_OPTS": onednn, "TF_CPP_MIN_LOG_LEVEL": "2"}
        arguments = [sys.executable, __file__, f"--policy={policy}"]
        arguments += [f"--{key}={getattr(options, key)}" for key in ("size_px", "batch", "steps")]
        done = subprocess.run(
            arguments, env=environment, stdout=subprocess.PIPE, text=True, check=True
        )
        speeds[name] = float(done.stdout.split()[-1])
        first = next(iter(speeds.values()))
        print(f"{name:28}{speeds[name]:7.1f} images/s{speeds[name] / first:7.2f} x", flush=True)


if __name__ == "__main__":
    main()
