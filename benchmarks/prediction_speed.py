"""Measures the speed of prediction for one radiograph and for many, including decoding.

python benchmarks/prediction_speed.py
python benchmarks/prediction_speed.py --side_px=2000 --films=100
python benchmarks/prediction_speed.py --exports_dir=DIR --model=NAME --variants float32 int8

Drawn hands, all different, are written as PNG files. One of them is predicted in a new process, as
by a user, and then all of them; the start is subtracted. At last each step is timed in this process
with one thread: the steps bound the speed, since each core reads a radiograph of its own. The
variants must be in the export; the shipped one has float16 alone.
"""

import argparse
import functools
import os
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import cv2

from bone_age_tf.images import resizing
from bone_age_tf.inference.predictor import Predictor
from bone_age_tf.quality.checker import QualityChecker
from bone_age_tf.radiograph import Radiograph
from bone_age_tf.reader import load
from bone_age_tf.regions import framing
from bone_age_tf.regions.detector import RegionDetector
from drawn_archive import draw_archive

SOME_NOT_READ = 1
"""Exit status of the command if radiographs were rejected."""
STEPS: dict[str, tuple[Any, str]] = {
    "decode": (Radiograph, "open"),
    "find margins": (resizing, "trim_margins"),
    "quality check's network": (QualityChecker, "run_network"),
    "rest of the quality check": (QualityChecker, "check"),
    "region detector's network": (RegionDetector, "find"),
    "find the hand": (framing, "find_hand"),
    "cut its frame": (framing, "framed"),
    "reader's network": (Predictor, "predict"),
}
"""Object and attribute of each step; a step does not include the steps that it calls."""


def measure_command(options: argparse.Namespace, paths: Path, variant: str | None) -> float:
    """Returns the duration of the command in seconds."""
    command = [sys.executable, "run.py", "--mode=predict", "--sex=female", f"--input={paths}"]
    command += [f"--variant={variant}"] if variant else []
    command += [f"--model={options.model}"] if options.model else []
    command += [f"--exports_dir={options.exports_dir}", f"--output={os.devnull}"]
    # Python writes byte code where it runs first, as with users, whatever the environment says.
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": ""}
    start = time.perf_counter()
    done = subprocess.run(
        command,
        cwd=Path(__file__).parents[1],
        env=environment,
        stdout=subprocess.DEVNULL,
        check=False,
    )
    if done.returncode > SOME_NOT_READ:
        sys.exit(f"{' '.join(command)} failed")
    return time.perf_counter() - start


@contextmanager
def timed_steps() -> Iterator[dict[str, list[float]]]:
    """Collects the seconds of each call of each step, without the steps inside it."""
    found: dict[str, list[float]] = defaultdict(list)
    inside = [0.0]

    def timed(name: str, step: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(step)
        def call(*args: Any, **keywords: Any) -> Any:
            inside.append(0.0)
            start = time.perf_counter()
            try:
                return step(*args, **keywords)
            finally:
                whole = time.perf_counter() - start
                found[name].append(whole - inside.pop())
                inside[-1] += whole

        return call

    with ExitStack() as stack:
        for name, (owner, attribute) in STEPS.items():
            step = timed(name, getattr(owner, attribute))
            stack.enter_context(mock.patch.object(owner, attribute, step))
        yield found


def print_steps(options: argparse.Namespace, paths: list[Path], variant: str | None) -> None:
    """Prints the mean time of each step of a radiograph, with one thread."""
    cv2.setNumThreads(1)
    reader = load(options.model, variant=variant, exports_dir=options.exports_dir)
    reader.read(paths[0], "female")
    start = time.perf_counter()
    with timed_steps() as found:
        for path in paths:
            reader.read(path, "female")
    whole = time.perf_counter() - start
    known = 0.0
    for name, seconds in found.items():
        known += sum(seconds)
        print_step(name, sum(seconds), whole, len(paths), len(seconds) / len(paths))
    print_step("rest", whole - known, whole, len(paths), 1)
    print_step("all", whole, whole, len(paths), 1)


def print_step(name: str, seconds: float, whole: float, films: int, calls: float) -> None:
    """Prints the time of a step of one radiograph, its share, and how often it is called."""
    times = "" if calls == 1 else f"  ({calls:.1f} calls)"
    print(f"  {name:28}{1000 * seconds / films:7.1f} ms {seconds / whole:5.0%}{times}", flush=True)


def main() -> None:
    """Prints the measurements."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", help="default: the one that is shipped")
    parser.add_argument(
        "--variants", nargs="+", default=[None], help="default: the one that prediction takes"
    )
    parser.add_argument("--films", type=int, default=400)
    parser.add_argument("--side_px", type=int, default=700, help="side of the files in pixels")
    parser.add_argument("--exports_dir", type=Path, default=Path("exports").absolute())
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "films"
        draw_archive(folder, options.films, options.side_px).unlink()
        paths = sorted(folder.iterdir())
        for variant in options.variants:
            print(f"{variant or 'default variant'}, {options.side_px} px, {os.cpu_count()} cores")
            cold = min(measure_command(options, paths[0], variant) for _ in range(3))
            many = measure_command(options, folder, variant)
            print(f"one radiograph, from start to result: {cold:.2f} s")
            speed = (options.films - 1) / (many - cold)
            print(f"{options.films} radiographs: {speed:.1f} a second", flush=True)
            print_steps(options, paths[:50], variant)


if __name__ == "__main__":
    main()
