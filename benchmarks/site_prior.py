"""Simulates the effect of site calibrations, by which the prior was chosen.

python benchmarks/site_prior.py

Sites are drawn whose readers differ from the model by an offset or by a line, with a scatter of
single cases of 6 to 40 months (t distribution with 6 degrees of freedom; the expected scatter is
12). The calibration of each site is fitted to 5 to 200 cases as in `--mode=calibrate`, and measured
on 2,000 other cases of the site. A cell contains the mean and the largest change of the mean
absolute error over all sites, in months; below 0 the calibration reduces the error.
"""

import argparse

import numpy as np
from tqdm import tqdm

from bone_age_tf.evaluation.site_calibration import DEFAULT_SCATTER_MONTHS, fit_site_calibration

SCATTERS_MONTHS = (6.0, 12.0, 25.0, 40.0)
CASES = (5, 10, 20, 50, 100, 200)
READERS = {
    "no difference": (0.0, 0.0),
    "2.5 months": (2.5, 0.0),
    "5 months": (5.0, 0.0),
    "10 months": (10.0, 0.0),
    "15 months": (15.0, 0.0),
    "8 % of the distance from 120 months": (0.0, 0.08),
}
"""Differences between readers and model: offset in months at 120 months, and slope."""
OTHERS = 2000


def change_of_error(
    offset: float, slope: float, scatter: float, cases: int, random: np.random.Generator
) -> float:
    """Returns the change of the mean absolute error of a site's other cases by its calibration."""
    count = cases + OTHERS
    predicted = np.clip(random.normal(125, 42, count), 6, 228)
    sex = random.integers(0, 2, count)
    noise = random.standard_t(6, count) * scatter / np.sqrt(1.5)  # the variance of t with 6 is 1.5
    ages = predicted + offset + slope * (predicted - 120) + noise
    own, others = slice(None, cases), slice(cases, None)
    made = fit_site_calibration(predicted[own], ages[own], sex[own], DEFAULT_SCATTER_MONTHS)
    after = made.apply(predicted[others], sex[others]) - ages[others]
    return float(np.abs(after).mean() - np.abs(predicted[others] - ages[others]).mean())


def main() -> None:
    """Simulates and prints the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sites", type=int, default=200, help="of each kind")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    lines = []
    for scatter in tqdm(SCATTERS_MONTHS, disable=None):
        for cases in CASES:
            cells = []
            for offset, slope in READERS.values():
                random = np.random.default_rng(options.seed)
                changes = [
                    change_of_error(offset, slope, scatter, cases, random)
                    for _ in range(options.sites)
                ]
                cells.append(f"{np.mean(changes):+.2f} (worst {max(changes):+.2f})")
            lines.append(f"| {scatter:g} | {cases} | {' | '.join(cells)} |")
    print(f"{options.sites} sites of each kind, seed {options.seed}")
    print(f"| scatter | cases | {' | '.join(READERS)} |")
    print("|---|---|" + "---|" * len(READERS))
    print("\n".join(lines))


if __name__ == "__main__":
    main()
