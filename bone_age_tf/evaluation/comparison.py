"""Compares the errors of two models on the same cases, with a confidence interval."""

from typing import Any

import numpy as np

from bone_age_tf.evaluation.metrics import INTERVAL_PERCENTILES, Predictions
from bone_age_tf.settings import Config


def compare(
    first: Predictions, second: Predictions, seed: int = 0, resamples: int = 5000
) -> dict[str, Any]:
    """Compares the mean absolute errors of two models on the same cases.

    The interval is a 95 % percentile bootstrap over pairs (Efron and Tibshirani 1993, section
    13.3): both models see the same resampled cases, so that cases which are hard for both cancel.
    It accounts for the choice of cases, not for the randomness of training.

    Args:
        first: predictions of the first model.
        second: predictions of the second model for the same cases, in any order.
        seed: seed of the resampling.
        resamples: number of bootstrap samples.

    Returns:
        A dict for strict JSON: `n`; `first_mae_months` and `second_mae_months`; `difference_months`
        with `value`, `low` and `high`, second minus first, so that below 0 the second is better;
        and `better`: `first` or `second`, or `neither` if the interval contains 0.

    Raises:
        ValueError: the two sets of cases differ.
    """
    if sorted(first.image_id) != sorted(second.image_id):
        raise ValueError("the two models were not measured on the same cases")
    place = {image_id: index for index, image_id in enumerate(second.image_id)}
    order = [place[image_id] for image_id in first.image_id]
    first_errors = np.abs(first.error_months)
    second_errors = np.abs(second.error_months)[order]
    difference = second_errors - first_errors
    random = np.random.default_rng(seed)
    drawn = random.integers(0, len(difference), (resamples, len(difference)))
    low, high = np.percentile(difference[drawn].mean(axis=1), INTERVAL_PERCENTILES)
    better = "neither" if low <= 0 <= high else "second" if high < 0 else "first"
    return {
        "n": len(difference),
        "first_mae_months": float(first_errors.mean()),
        "second_mae_months": float(second_errors.mean()),
        "difference_months": {
            "value": float(difference.mean()),
            "low": float(low),
            "high": float(high),
        },
        "better": better,
    }


def transfer_report(comparison: dict[str, Any], config: Config, split: str, seed: int) -> str:
    """Returns a comparison of random weights (first) and a source (second) as Markdown."""
    difference = comparison["difference_months"]
    ends = f"{difference['low']:+.2f} to {difference['high']:+.2f}"
    verdict = {
        "second": "The source improves the result.",
        "first": "Negative transfer: the source worsens the result.",
        "neither": "No difference is shown: the interval contains 0.",
    }[comparison["better"]]
    return f"""# Does starting from {config.init} help {config.model}?

{verdict}

| start | MAE, months |
|---|---|
| random | {comparison["first_mae_months"]:.2f} |
| {config.init} | {comparison["second_mae_months"]:.2f} |
| difference | {difference["value"]:+.2f} (95 % interval {ends}) |

Both trained {config.epochs} epochs on the same images in the same order, seed {seed}; measured on
{config.dataset}, {split}, n = {comparison["n"]}, paired bootstrap over cases. The interval does
not cover other seeds.
"""
