"""Compares the weights of a recipe that is killed and resumed with an uninterrupted one.

python benchmarks/kill_and_resume.py

The recipe quick_phantoms runs on TensorFlow from a pack once without an interruption, and once for
each of ten seeded times at which it is killed (SIGKILL): one before the first resume point, one
while a resume point is being written, the others up to half a second after a step of a stage, since
a large part of such a short run precedes the first step. The same command then resumes it. The
script prints the largest difference of a weight.
"""

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

RUN = """
import sys
from pathlib import Path
from bone_age_tf.data.pack import read_pack
from bone_age_tf.data.packed import PackedData
from bone_age_tf.recipes.catalog import load_recipe
from bone_age_tf.recipes.stages import StageRun
from bone_age_tf.training import checkpoints
checkpoints.RESUME_SECONDS = 0.0
checkpoints.ResumePoints.__init__.__defaults__ = (0.0, None)
recipe, data = load_recipe("quick_phantoms"), PackedData(read_pack(Path(sys.argv[2])))
print("begins", flush=True)
StageRun(recipe, data, Path(sys.argv[1]), {"dataset": recipe.dataset}).run()
"""
STAGES = ("first", "second", "mean")
STEPS = 6
"""Number of steps of each stage that trains."""


def start(folder: Path, pack: Path) -> subprocess.Popen:
    """Starts the recipe and returns once TensorFlow is imported."""
    environment = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3", "KERAS_BACKEND": "tensorflow"}
    process = subprocess.Popen(
        [sys.executable, "-c", RUN, str(folder), str(pack)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout is not None
    process.stdout.readline()
    return process


def kill_when(process: subprocess.Popen, is_time) -> bool:
    """Kills the process as soon as a condition holds; returns whether it was still running."""
    while process.poll() is None:
        if is_time():
            process.send_signal(signal.SIGKILL)
            process.wait()
            return True
        time.sleep(0.001)
    return False


def weights(folder: Path) -> list[np.ndarray]:
    """Returns all weights of the networks of the stages."""
    from bone_age_tf.models.build import load_network

    return [
        array
        for stage in STAGES
        for array in load_network(folder / stage / "checkpoints" / "best.keras").get_weights()
    ]


def main() -> None:
    """Runs, kills, resumes and compares."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    random = np.random.default_rng(options.seed)
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        pack = _pack(place)
        begin = time.monotonic()
        start(place / "whole", pack).wait()
        seconds = time.monotonic() - begin
        wanted, worst = weights(place / "whole"), 0.0
        print(f"undisturbed: {seconds:.0f} s", flush=True)
        for number in range(options.kills):
            folder = place / str(number)
            what, is_time = _moment(number, folder, random)
            process = start(folder, pack)
            killed = kill_when(process, is_time)
            points = len(list(folder.glob("*/checkpoints/step-*.h5")))
            process = start(folder, pack)
            resumed = "resuming" in process.communicate()[0]
            difference = max(
                float(np.abs(a - b).max()) for a, b in zip(weights(folder), wanted, strict=True)
            )
            worst = max(worst, difference)
            print(
                f"{number}: {what}, {'killed' if killed else 'had ended'} with {points} resume "
                f"points, {'resumed' if resumed else 'began the stage anew'}: weights differ by "
                f"{difference:.1e} at most",
                flush=True,
            )
    print(f"{options.kills} kills, seed {options.seed}: weights differ by {worst:.1e} at most")


def _pack(place: Path) -> Path:
    from bone_age_tf.data import pack, packing, pipeline
    from bone_age_tf.prepare import prepare_dataset

    builder = prepare_dataset("hand_phantom/tiny", place / "data", None)
    parts = pipeline.choose_parts(list(builder.info.splits), 0.1, True)
    pack.write_pack(place / "some.npz", pack.make_pack(packing.examples(builder, parts)))
    return place / "some.npz"


def _moment(number: int, folder: Path, random: np.random.Generator) -> tuple[str, Callable]:
    """Returns the moment of a kill as a text and as a condition."""
    if number == 0:
        begun = folder / STAGES[0] / "stage_begun.json"
        return "before the first resume point", begun.exists
    points = folder / STAGES[int(random.integers(2))] / "checkpoints"
    if number == 1:
        return "while a resume point is written", (points / "writing.weights.h5").exists
    step, delay = int(random.integers(1, STEPS)), float(random.uniform(0, 0.5))

    def is_reached() -> bool:
        if not any(int(path.name[5:13]) >= step for path in points.glob("step-*.h5")):
            return False
        time.sleep(delay)
        return True

    return f"{1000 * delay:.0f} ms after step {step} of {points.parent.name}", is_reached


if __name__ == "__main__":
    main()
