"""Measurements with several seeds; results are stored, so that a second start continues."""

import json
import re
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np


def measure_all(
    measurements: Mapping[str, Callable[[int], dict]], seeds: Sequence[int], folder: Path
) -> None:
    """Runs each measurement with each seed, unless its result is in the folder.

    Args:
        measurements: functions by name, each from a seed to figures by name.
        seeds: the seeds.
        folder: folder of the results, `NAME-SEED.json`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for seed in seeds:
        for name, measure in measurements.items():
            path = folder / f"{re.sub('[ /]', '-', name)}-{seed}.json"
            if not path.exists():
                start = time.perf_counter()
                figures = measure(seed)
                path.write_text(json.dumps(figures, indent=1) + "\n")
                seconds = time.perf_counter() - start
                print(f"{name}, seed {seed}, {seconds:.0f} s: {figures}", flush=True)


def results(folder: Path) -> dict[str, dict[int, dict]]:
    """Returns the stored figures by measurement and seed."""
    figures: dict[str, dict[int, dict]] = {}
    for path in sorted(folder.glob("*.json")):
        name, _, seed = path.stem.rpartition("-")
        figures.setdefault(name, {})[int(seed)] = json.loads(path.read_text())
    return figures


def print_table(folder: Path) -> None:
    """Prints mean, minimum and maximum over the seeds of each measurement."""
    for name, by_seed in results(folder).items():
        head = f"{name}, seeds {', '.join(map(str, by_seed))}"
        print(f"\n{head:50}{'mean':>10}{'lowest':>10}{'highest':>10}")
        for figure in next(iter(by_seed.values())):
            values = [figures[figure] for figures in by_seed.values()]
            print(f"  {figure:48}{np.mean(values):10.3g}{min(values):10.3g}{max(values):10.3g}")
