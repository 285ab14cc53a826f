"""Effect of a site calibration from different numbers of cases, on average and in the worst case.

python benchmarks/site_calibration.py --workdir=runs/NAME --manual_dir=DIR
python benchmarks/site_calibration.py --workdir=runs/PHANTOMS --dataset=hand_phantom/shifted \
    --max_age_months=180

The held-out images of a run's dataset, or of another dataset, are predicted with the run's network.
Sites of 5 to 100 of these cases are drawn many times. The calibration of each site is fitted as in
`--mode=calibrate`, and the mean error (bias) and the mean absolute error (MAE) of all other cases
are measured without and with it. There are four kinds of sites: readers as in the data, readers
whose ages are 12 months higher, and readers whose ages are higher for boys or for girls only.
Phantoms of `shifted` are 12 months more mature than their labels; `--max_age_months` excludes ages
at which growth is nearly complete, so that a shift is not visible. The last column is the largest
increase of the MAE by a calibration.
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
"""Months that the site's readers add, for female and male."""


def held_out(options: argparse.Namespace) -> Predictions:
    """Returns the predictions of the run's network for images up to an age."""
    config = configs.read_config(options.workdir / "config.json")
    dataset = options.dataset or json.loads((options.workdir / "run.json").read_text())["dataset"]
    builder = prepare_dataset(dataset, options.data_dir, options.manual_dir)
    parts = pipeline.choose_parts(
        list(builder.info.splits), config.holdout_fraction, config.use_validation_split
    )
    predictions = predictions_of(Run(options.workdir, config, builder, parts, 0, Path("exports")))
    kept = np.flatnonzero(predictions.age_months <= options.max_age_months)
    if len(kept) <= max(CASES):
        raise SystemExit(
            f"{len(kept)} cases up to --max_age_months={options.max_age_months:g}; sites of "
            f"{max(CASES)} need more: give a higher age"
        )
    return Predictions(
        [predictions.image_id[place] for place in kept],
        predictions.sex[kept],
        predictions.age_months[kept],
        predictions.predicted_months[kept],
    )


def measure(predictions: Predictions, ages: np.ndarray, count: int, repeats: int) -> np.ndarray:
    """Returns [repeats, 4]: bias before and after, MAE before and after, of the other cases.

    Args:
        predictions: predictions of all cases.
        ages: [N] ages that the site's readers determine.
        count: number of cases of a site.
        repeats: number of sites.
    """
    random = np.random.default_rng(0)
    scatter = float(np.sqrt(np.mean((predictions.predicted_months - predictions.age_months) ** 2)))
    rows = []
    for _ in range(repeats):
        order = random.permutation(len(ages))
        own, others = order[:count], order[count:]
        made = fit_site_calibration(
            predictions.predicted_months[own], ages[own], predictions.sex[own], scatter
        )
        before = predictions.predicted_months[others] - ages[others]
        after = (
            made.apply(predictions.predicted_months[others], predictions.sex[others]) - ages[others]
        )
        rows.append([before.mean(), after.mean(), np.abs(before).mean(), np.abs(after).mean()])
    return np.array(rows)


def main() -> None:
    """Prints a row for each kind and size of site."""
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
    predictions = held_out(options)
    print(
        f"n = {len(predictions.sex)}, {options.repeats} sites each; biases are means over sites\n"
    )
    print("| readers | cases | abs(bias) before | after | MAE before | after | worst change |")
    print("|---|---|---|---|---|---|---|")
    for readers, shift in SHIFTS.items():
        ages = predictions.age_months + np.array(shift)[predictions.sex]
        ages = np.clip(ages, schema.MIN_AGE_MONTHS, schema.MAX_AGE_MONTHS)
        for count in CASES:
            rows = measure(predictions, ages, count, options.repeats)
            biases = np.abs(rows[:, :2]).mean(axis=0)
            errors = rows[:, 2:].mean(axis=0)
            worst = (rows[:, 3] - rows[:, 2]).max()
            print(
                f"| {readers} | {count} | {biases[0]:.1f} | {biases[1]:.1f} | "
                f"{errors[0]:.2f} | {errors[1]:.2f} | {worst:+.2f} |"
            )


if __name__ == "__main__":
    main()
