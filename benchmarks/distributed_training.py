"""Measures training with two workers against one worker on the same machine.

python benchmarks/distributed_training.py
python benchmarks/distributed_training.py --model=resnet18 --size=128 --batch=32 --steps=20

Each worker is a process with one thread for computation. The script prints images per second of one
worker, of two workers, and their ratio, for the same batches. Two workers of one machine share its
memory and caches, and communicate through the loopback interface.
"""

import argparse
import json
import os
import socket
import subprocess
import sys
import time

WARM_STEPS = 2


def main() -> None:
    """Prints the figures; with `--worker`, is one of the workers."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="resnet18")
    parser.add_argument("--size", type=int, default=128, help="side of the images in pixels")
    parser.add_argument("--batch", type=int, default=16, help="images of all workers in a step")
    parser.add_argument("--steps", type=int, default=10, help="measured steps")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        print(json.dumps({"seconds": time_steps(options)}))
        return
    images = options.batch * options.steps
    speeds = []
    for workers in (1, 2):
        speeds.append(images / run_workers(workers))
        print(f"{workers} worker(s): {speeds[-1]:.1f} images/s", flush=True)
    print(
        f"two workers are {speeds[1] / speeds[0]:.2f} times as fast as one "
        f"({options.model}, {options.size} px, batches of {options.batch}, {options.steps} steps)"
    )


def run_workers(workers: int) -> float:
    """Starts workers with the arguments of this script; returns the seconds of the slowest."""
    servers = [socket.create_server(("127.0.0.1", 0)) for _ in range(workers)]
    addresses = [f"127.0.0.1:{server.getsockname()[1]}" for server in servers]
    for server in servers:
        server.close()
    processes = []
    for index in range(workers):
        task = {"type": "worker", "index": index}
        environment = os.environ | {
            "TF_CONFIG": json.dumps({"cluster": {"worker": addresses}, "task": task}),
            "TF_NUM_INTRAOP_THREADS": "1",
            "TF_NUM_INTEROP_THREADS": "1",
            "TF_CPP_MIN_LOG_LEVEL": "3",
        }
        command = [sys.executable, __file__, *sys.argv[1:], "--worker"]
        processes.append(
            subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
        )
    outputs = [process.communicate()[0] for process in processes]
    if any(process.returncode for process in processes):
        sys.exit("a worker failed")
    return max(json.loads(output.splitlines()[-1])["seconds"] for output in outputs)


def time_steps(options: argparse.Namespace) -> float:
    """Returns the seconds of the measured steps."""
    import keras
    import numpy as np

    from bone_age_tf import config as configs
    from bone_age_tf.training import fit as fitting
    from bone_age_tf.training.distribution import make_distribution
    from bone_age_tf.training.replicas import make_step

    distribution = make_distribution("multiworker")
    assert distribution is not None
    config = configs.load_config(options.model, "hand_phantom", [])
    keras.utils.set_random_seed(0)
    model = fitting.compiled(config, fitting.Schedule(1, 1000), 0, fused_norms=False)
    random = np.random.default_rng(0)
    size = options.size
    inputs = {
        "image": random.uniform(0, 255, (options.batch, size, size, 1)).astype(np.float32),
        "sex": np.ones((options.batch, 1), np.float32),
    }
    months = np.full((options.batch, 1), 120, np.float32)
    batch = inputs, dict.fromkeys(model.trained_outputs, months)
    step_fn = make_step(model, distribution)
    for _ in range(WARM_STEPS):
        step_fn(batch)
    distribution.from_chief(0)
    start = time.monotonic()
    for _ in range(options.steps):
        step_fn(batch)
    float(model.get_metrics_result()["loss"])
    seconds = time.monotonic() - start
    distribution.wait_for_all()
    return seconds


if __name__ == "__main__":
    main()
