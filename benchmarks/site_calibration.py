"""What a site's own cases bring, and what a few of them can spoil.

python benchmarks/site_calibration.py --workdir=runs/NAME --manual_dir=DIR
python benchmarks/site_calibration.py --workdir=runs/PHANTOMS --dataset=hand_phantom/shifted \
    --max_age_months=180

Reads the held-out images of a run's dataset, or of another one, with the run's network. From these
cases it draws sites of 5 to 100 cases many times over, makes each site's calibration as
`--mode=calibrate` does, and measures on all other cases: the mean error (bias) and the mean
absolute error (MAE) without and with it. Four kinds of sites: readers as in the data, readers who
say 12 months more, and ones who say so for the boys or the girls alone. Phantoms of `shifted` are
12 months more mature than their labels as they are; `--max_age_months` leaves out ages at which
little is left to grow, and no shift to be seen. The last column is the worst that any one
calibration did to the MAE.
"""

import argparse
import os
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")

import json

import numpy as np

from bone_age_tf import config as configs
from bone_age_tf import schema
from bone_age_tf.data import pipeline
from bone_age_tf.evaluation.metrics import Predictions
from bone_age_tf.evaluation.site_calibration import fit_site_calibration
from bone_age_tf.prepare import prepare_dataset
from bone_age_tf.runs import Run, predictions_of

CASES = (5, 10, 20, 50, 100)
SHIFTS = {
    "as they are": (0.0, 0.0),
    "12 months more": (12.0, 12.0),
    "12 months more, boys": (0.0, 12.0),
    "12 months more, girls": (12.0, 0.0),
}
"""Months that the site's readers add, of female and male."""


def held_out(options: argparse.Namespace) -> Predictions:
    """Returns what the run's network says of the images up to an age."""
    config = configs.read_config(options.workdir / "config.json")
    dataset = options.dataset or json.loads((options.workdir / "run.json").read_text())["dataset"]
    builder = prepare_dataset(dataset, options.data_dir, options.manual_dir)
    parts = pipeline.choose_parts(
        list(builder.info.splits), config.holdout_fraction, config.use_validation_split
    )
    found = predictions_of(Run(options.workdir, config, builder, parts, 0, Path("exports")))
    kept = np.flatnonzero(found.age_months <= options.max_age_months)
    if len(kept) <= max(CASES):
        raise SystemExit(
            f"{len(kept)} cases up to --max_age_months={options.max_age_months:g}; sites of "
            f"{max(CASES)} need more: give a higher age"
        )
    return Predictions(
        [found.image_id[place] for place in kept],
        found.sex[kept],
        found.age_months[kept],
        found.predicted_months[kept],
    )


def measure(found: Predictions, ages: np.ndarray, count: int, repeats: int) -> np.ndarray:
    """Returns [repeats, 4]: bias before and after, MAE before and after, of the other cases.

    Args:
        found: predictions.
        ages: [N] that the site's readers say.
        count: cases of a site.
        repeats: sites.
    """
    random = np.random.default_rng(0)
    scatter = float(np.sqrt(np.mean((found.predicted_months - found.age_months) ** 2)))
    rows = []
    for _ in range(repeats):
        order = random.permutation(len(ages))
        own, others = order[:count], order[count:]
        made = fit_site_calibration(found.predicted_months[own], ages[own], found.sex[own], scatter)
        before = found.predicted_months[others] - ages[others]
        after = made.apply(found.predicted_months[others], found.sex[others]) - ages[others]
        rows.append([before.mean(), after.mean(), np.abs(before).mean(), np.abs(after).mean()])
    return np.array(rows)


def main() -> None:
    """Measures and prints a line for each kind and size of site."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--workdir", type=Path, required=True, help="a trained run")
    parser.add_argument("--dataset", help="default: the run's own")
    parser.add_argument("--manual_dir", type=Path)
    parser.add_argument("--data_dir", type=Path, default=Path("data"))
    parser.add_argument(
        "--max_age_months",
        type=float,
        default=schema.MAX_AGE_MONTHS,
        help="leave out cases whose label is above",
    )
    parser.add_argument("--repeats", type=int, default=1000)
    options = parser.parse_args()
    found = held_out(options)
    print(f"n = {len(found.sex)}, {options.repeats} sites each; biases are means over sites\n")
    print("| readers | cases | abs(bias) before | after | MAE before | after | worst change |")
    print("|---|---|---|---|---|---|---|")
    for readers, shift in SHIFTS.items():
        ages = found.age_months + np.array(shift)[found.sex]
        ages = np.clip(ages, schema.MIN_AGE_MONTHS, schema.MAX_AGE_MONTHS)
        for count in CASES:
            rows = measure(found, ages, count, options.repeats)
            biases = np.abs(rows[:, :2]).mean(axis=0)
            errors = rows[:, 2:].mean(axis=0)
            worst = (rows[:, 3] - rows[:, 2]).max()
            print(
                f"| {readers} | {count} | {biases[0]:.1f} | {biases[1]:.1f} | "
                f"{errors[0]:.2f} | {errors[1]:.2f} | {worst:+.2f} |"
            )


if __name__ == "__main__":
    main()
