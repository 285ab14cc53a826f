"""What of a map lies in which region of the hand: a table of shares, as people ask for it."""

from collections.abc import Sequence
from typing import Final

import numpy as np

from bone_age_tf import schema
from bone_age_tf.csv_text import format_csv
from bone_age_tf.explain.places import box_map

ELSEWHERE: Final = "elsewhere"
GROUPS: Final = (*schema.REGION_GROUPS, ELSEWHERE)
LEAST_SCORE: Final = 0.2
"""A region that the detector trusts less is not drawn and not counted."""


def trusted(boxes: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Returns boxes [17, 4], NaN where the detector's score [17] is below `LEAST_SCORE`."""
    return np.where(scores[:, None] >= LEAST_SCORE, boxes, np.nan)


def region_shares(importance: np.ndarray, boxes: np.ndarray) -> dict[str, float]:
    """Returns the share of a map that lies in each of `GROUPS`, a sum of 1.

    What lies in boxes of two groups, such as wrist and radius, counts for each by half.

    Args:
        importance: [S, S], 0 or more.
        boxes: [17, 4] in the order of `schema.REGIONS`, fractions; NaN for none.
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
    """Returns [6, S, S] bool, the pixels in the boxes [17, 4] of each of `schema.REGION_GROUPS`."""
    names = np.array([name.rstrip("12345") for name in schema.REGIONS])
    known = np.isfinite(boxes[:, 0])
    masks = []
    for group in schema.REGION_GROUPS:
        chosen = boxes[(names == group) & known]
        masks.append(box_map(chosen, np.ones(len(chosen)), size_px) > 0)
    return np.stack(masks)


def shares_table(rows: Sequence[tuple[str, str, str, dict[str, float]]]) -> bytes:
    """Returns a CSV file of shares.

    Args:
        rows: image, sex, method and the shares by region.
    """
    table = [["image", "sex", "method", *GROUPS]]
    for image, sex, method, shares in rows:
        table.append([image, sex, method, *(f"{shares[group]:.3f}" for group in GROUPS)])
    return format_csv(table).encode()
