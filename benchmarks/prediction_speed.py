"""Measures the speed of prediction for one radiograph and for many, including decoding.

python benchmarks/prediction_speed.py
python benchmarks/prediction_speed.py --model=NAME --variant=float16

Phantoms of 700 px are drawn and written repeatedly as PNG files. One of them is predicted, then
all, each time in a separate process, as by a user. Then the median time of each step for one
radiograph is measured in this process with one thread.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from bone_age_datasets.hand_phantom.radiograph import take_radiograph
from PIL import Image

from bone_age_tf.images import reading
from bone_age_tf.reader import load

SIDE_PX, DRAWN, REPEATS = 700, 8, 30


def write_films(folder: Path, count: int) -> None:
    """Writes a number of PNG files of `DRAWN` phantoms."""
    for place in range(DRAWN):
        random = np.random.default_rng(place)
        image = take_radiograph(24.0 + 24 * place, place % 2, random, SIDE_PX, variety=0.3).image
        for copy in range(place, count, DRAWN):
            Image.fromarray(image).save(folder / f"{copy:04}.png")


def seconds(options: argparse.Namespace, paths: Path) -> float:
    """Returns the duration of the command."""
    command = [sys.executable, "run.py", "--mode=predict", "--sex=female", f"--input={paths}"]
    command += [f"--variant={options.variant}"] if options.variant else []
    command += [f"--model={options.model}"] if options.model else []
    command += [f"--exports_dir={options.exports_dir}", f"--output={paths.parent}/table.csv"]
    start = time.perf_counter()
    subprocess.run(command, cwd=Path(__file__).parents[1], stdout=subprocess.DEVNULL, check=False)
    return time.perf_counter() - start


def median_ms(step: Callable[[], object]) -> float:
    """Returns the median time of a step."""
    found = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        step()
        found.append(time.perf_counter() - start)
    return float(np.median(found) * 1000)


def main() -> None:
    """Prints the measurements."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", help="default: the one that is shipped")
    parser.add_argument("--variant", help="default: the one that prediction takes")
    parser.add_argument("--films", type=int, default=400)
    parser.add_argument("--exports_dir", type=Path, default=Path("exports").absolute())
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "films"
        folder.mkdir()
        write_films(folder, options.films)
        one = sorted(folder.iterdir())[0]
        cold = min(seconds(options, one) for _ in range(3))
        many = seconds(options, folder)
        print(f"one film, cold: {cold:.2f} s")
        print(f"{options.films} films: {(options.films - 1) / (many - cold):.0f} films/s")
        reader = load(options.model, variant=options.variant, exports_dir=options.exports_dir)
        predictor = reader.bundle.predictor(options.variant)
        checker = reader.quality_checker
        film = reading.read_radiograph(one)
        fitted = predictor.fit_image(film)
        steps: dict[str, Callable[[], object]] = {
            "decode": lambda: reading.read_radiograph(one),
            "resize": lambda: predictor.fit_image(film),
            "network": lambda: predictor.predict(fitted, 0),
        }
        if checker is not None:
            steps["quality check"] = lambda: checker.check(film)
        for name, step in steps.items():
            print(f"  {name}: {median_ms(step):.1f} ms")


if __name__ == "__main__":
    main()
