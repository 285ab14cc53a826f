"""Shares of explanation maps by region of the hand."""

from collections.abc import Sequence
from typing import Final

import numpy as np

from bone_age_tf import schema
from bone_age_tf.csv_text import format_csv
from bone_age_tf.explain.places import box_map

ELSEWHERE: Final = "elsewhere"
GROUPS: Final = (*schema.REGION_GROUPS, ELSEWHERE)
LEAST_SCORE: Final = 0.2
"""Minimum score of a detected region that is drawn and counted."""


def trusted(boxes: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Returns boxes [17, 4], NaN if the detector's score [17] is below `LEAST_SCORE`."""
    return np.where(scores[:, None] >= LEAST_SCORE, boxes, np.nan)


def region_shares(importance: np.ndarray, boxes: np.ndarray) -> dict[str, float]:
    """Returns the share of a map in each of `GROUPS`; the shares add up to 1.

    A pixel in boxes of two groups, such as wrist and radius, counts half for each.

    Args:
        importance: [S, S], not negative.
        boxes: [17, 4] in the order of `schema.REGIONS`, fractions; NaN for absent regions.
    """
    masks = group_masks(boxes, len(importance))
    total = float(importance.sum())
    if total <= 0:
        return dict.fromkeys(GROUPS, 0.0)
    claims = np.maximum(masks.sum(axis=0), 1)
    shares = {
        group: float((importance * mask / claims).sum() / total)
        for group, mask in zip(schema.REGION_GROUPS, masks, strict=True)
    }
    return shares | {ELSEWHERE: float(importance[~masks.any(axis=0)].sum() / total)}


def group_masks(boxes: np.ndarray, size_px: int) -> np.ndarray:
    """Returns masks [6, S, S] of the boxes [17, 4] of each of `schema.REGION_GROUPS`."""
    names = np.array([name.rstrip("12345") for name in schema.REGIONS])
    known = np.isfinite(boxes[:, 0])
    masks = []
    for group in schema.REGION_GROUPS:
        chosen = boxes[(names == group) & known]
        masks.append(box_map(chosen, np.ones(len(chosen)), size_px) > 0)
    return np.stack(masks)


def shares_table(rows: Sequence[tuple[str, str, str, dict[str, float]]]) -> bytes:
    """Returns shares by region as a CSV file.

    Args:
        rows: image, sex, method and shares by region of each row.
    """
    table = [["image", "sex", "method", *GROUPS]]
    for image, sex, method, shares in rows:
        table.append([image, sex, method, *(f"{shares[group]:.3f}" for group in GROUPS)])
    return format_csv(table).encode()
