"""Finds labels that are likely wrong, from out-of-sample predictions. NumPy only.

The method follows confident learning (Northcutt et al. 2021, arXiv 1911.00068): a label is doubted
if the out-of-sample prediction deviates from it by more than is usual for similar labels. For ages
the deviation is a residual. Usual residuals are described by the median over cases of similar age,
since networks predict ages too close to the mean, and by the median absolute deviation.
"""

from typing import Final

import numpy as np

LIMIT_SD: Final = 4.0
"""Number of robust SDs beyond which a label is suspect; one in 16,000 normal residuals is."""
FULL_TRUST_SD: Final = 2.5
"""Number of robust SDs up to which a label has full weight; beyond, Huber's weight (1964)."""
_TO_SD: Final = 1.4826
"""Ratio of the SD to the median absolute deviation of a normal distribution."""
_NEIGHBOURS: Final = 200
"""Number of cases of similar age to which a residual is compared."""
_LEAST_SD_MONTHS: Final = 3.0
"""Minimum robust SD in months."""


def robust_deviation(age_months: np.ndarray, predicted_months: np.ndarray) -> np.ndarray:
    """Returns [N] deviations of residuals from the median at their age, in robust SDs at that age.

    Args:
        age_months: [N] labels.
        predicted_months: [N] predictions of networks that were not trained on these labels.
    """
    residual = np.asarray(predicted_months, np.float64) - age_months
    order = np.argsort(age_months, kind="stable")
    half = min(_NEIGHBOURS, len(order)) // 2
    deviation = np.empty(len(order))
    for rank, case in enumerate(order):
        start = min(max(rank - half, 0), max(len(order) - 2 * half, 0))
        near = residual[order[start : start + 2 * half + 1]]
        middle = np.median(near)
        spread = max(_TO_SD * np.median(np.abs(near - middle)), _LEAST_SD_MONTHS)
        deviation[case] = (residual[case] - middle) / spread
    return deviation


def label_trust(deviation: np.ndarray) -> np.ndarray:
    """Returns [N] label weights: 1 up to `FULL_TRUST_SD`, beyond it the ratio to the deviation."""
    return np.minimum(1.0, FULL_TRUST_SD / np.maximum(np.abs(deviation), 1e-9))
