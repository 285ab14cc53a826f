"""How well boxes are found: average precision and the distance of centres."""

import dataclasses

import keras
import numpy as np

from bone_age_tf import schema
from bone_age_tf.regions.boxes import RegionImages
from bone_age_tf.regions.samples import as_inputs

IOU = 0.5
"""Least overlap, as a share of the union, of a box that counts as found."""


@dataclasses.dataclass(frozen=True)
class DetectionFigures:
    """How well the regions are found.

    Attributes:
        images: how many.
        map_50: mean of `by_group`.
        by_group: average precision of each of `schema.REGION_GROUPS` at an IoU of 0.5; a box may
            match any region of its group, as in the annotations of Koitka et al. 2018.
        by_region: the same of each region on its own.
        map_50_regions: mean of `by_region`.
        centre_error: mean distance of the centres of the regions that are there, in parts of the
            image's width.
        centre_error_by_group: the same by group.
    """

    images: int
    map_50: float
    by_group: dict[str, float]
    by_region: dict[str, float]
    map_50_regions: float
    centre_error: float
    centre_error_by_group: dict[str, float]


def region_group(region: str) -> str:
    """Returns the one of `schema.REGION_GROUPS` that a region belongs to."""
    return region.rstrip("12345")


def overlaps(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Returns intersections over unions [N, M] of boxes [N, 4] and [M, 4]; 0 where one is NaN."""
    a, b = np.nan_to_num(boxes)[:, None], np.nan_to_num(others)[None]
    sides = np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2])
    shared = np.prod(np.maximum(sides, 0), axis=-1)
    either = sum(np.prod(one[..., 2:] - one[..., :2], axis=-1) for one in (a, b)) - shared
    return shared / np.maximum(either, 1e-12)


def average_precision(
    boxes: list[np.ndarray], scores: list[np.ndarray], truths: list[np.ndarray], iou: float = IOU
) -> float:
    """Area under the precision-recall curve, every point used (Pascal VOC since 2010).

    Args:
        boxes: of each image, found boxes [K, 4].
        scores: of each image, [K].
        truths: of each image, true boxes [T, 4], NaN for none.
        iou: least overlap of a match; each true box is matched once, by the best score.

    Returns:
        0 to 1; NaN where there is no true box.
    """
    total = sum(int(np.isfinite(one[:, 0]).sum()) for one in truths)
    if not total:
        return float("nan")
    right, ranks = [], []
    for found, score, true in zip(boxes, scores, truths, strict=True):
        shared, taken = overlaps(found, true), set()
        for place in np.argsort(-score):
            match = int(shared[place].argmax()) if shared.shape[1] else -1
            hit = match >= 0 and shared[place, match] >= iou and match not in taken
            if hit:
                taken.add(match)
            right.append(hit)
            ranks.append(score[place])
    hits = np.cumsum(np.array(right)[np.argsort(-np.array(ranks), kind="stable")])
    precision = hits / np.arange(1, len(hits) + 1)
    best_from_here = np.maximum.accumulate(precision[::-1])[::-1]
    steps = np.diff(np.concatenate([[0], hits])) / total
    return float((best_from_here * steps).sum())


def measure_detection(
    boxes: np.ndarray, scores: np.ndarray, truths: np.ndarray
) -> DetectionFigures:
    """Measures one box a region and image.

    Args:
        boxes: [N, 17, 4] found.
        scores: [N, 17].
        truths: [N, 17, 4], NaN where a region is not there.
    """

    def precision_of(places: list[int]) -> float:
        return average_precision(
            list(boxes[:, places]), list(scores[:, places]), list(truths[:, places])
        )

    groups = {
        group: [p for p, name in enumerate(schema.REGIONS) if region_group(name) == group]
        for group in schema.REGION_GROUPS
    }
    by_group = {group: precision_of(places) for group, places in groups.items()}
    by_region = {name: precision_of([place]) for place, name in enumerate(schema.REGIONS)}
    centres = [(one[..., :2] + one[..., 2:]) / 2 for one in (boxes, truths)]
    distance = np.linalg.norm(centres[0] - centres[1], axis=-1)
    return DetectionFigures(
        len(boxes),
        float(np.nanmean(list(by_group.values()))),
        by_group,
        by_region,
        float(np.nanmean(list(by_region.values()))),
        float(np.nanmean(distance)),
        {group: float(np.nanmean(distance[:, places])) for group, places in groups.items()},
    )


def measure_region_detector(network: keras.Model, hands: RegionImages) -> DetectionFigures:
    """Measures the network, see `models.region_detector`, on images with true boxes."""
    said = network.predict(as_inputs(hands.images), batch_size=64, verbose=0)
    return measure_detection(said[schema.REGION_BOXES], said[schema.REGION_SCORES], hands.boxes)
