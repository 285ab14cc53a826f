"""Which labels are likely wrong, from what networks say that have not seen them. NumPy only.

In the manner of confident learning (Northcutt et al. 2021, arXiv 1911.00068): a label is doubted
where out-of-sample predictions contradict it by more than is usual for labels like it. Ages have an
order, so the contradiction is a residual; usual is the median of those of similar age, for a
network errs towards the middle, and their median absolute deviation.
"""

from typing import Final

import numpy as np

LIMIT_SD: Final = 4.0
"""Robust standard deviations; of normal residuals, one in 16,000 is beyond."""
FULL_TRUST_SD: Final = 2.5
"""Up to here a label has its whole weight; then it falls as Huber's weight does (1964)."""
_TO_SD: Final = 1.4826
_NEIGHBOURS: Final = 200
_LEAST_SD_MONTHS: Final = 3.0


def robust_deviation(age_months: np.ndarray, predicted_months: np.ndarray) -> np.ndarray:
    """Returns [N] how far each residual is from the median of its age, in robust SDs of that age.

    Args:
        age_months: [N] labels.
        predicted_months: [N] by networks that have not seen these labels.
    """
    residual = np.asarray(predicted_months, np.float64) - age_months
    order = np.argsort(age_months, kind="stable")
    half = min(_NEIGHBOURS, len(order)) // 2
    found = np.empty(len(order))
    for rank, case in enumerate(order):
        start = min(max(rank - half, 0), max(len(order) - 2 * half, 0))
        near = residual[order[start : start + 2 * half + 1]]
        middle = np.median(near)
        spread = max(_TO_SD * np.median(np.abs(near - middle)), _LEAST_SD_MONTHS)
        found[case] = (residual[case] - middle) / spread
    return found


def label_trust(deviation: np.ndarray) -> np.ndarray:
    """Returns [N] weights from 0 to 1 of labels: 1 up to `FULL_TRUST_SD`, then its share."""
    return np.minimum(1.0, FULL_TRUST_SD / np.maximum(np.abs(deviation), 1e-9))
