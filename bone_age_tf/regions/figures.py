"""Metrics of region detection: average precision and distance of centres."""

import dataclasses

import keras
import numpy as np

from bone_age_tf import schema
from bone_age_tf.regions.boxes import RegionImages
from bone_age_tf.regions.samples import as_inputs

IOU = 0.5
"""Minimum intersection over union of a correct box."""


@dataclasses.dataclass(frozen=True)
class DetectionFigures:
    """Accuracy of region detection.

    Attributes:
        images: number of images.
        map_50: mean of `by_group`.
        by_group: average precision of each of `schema.REGION_GROUPS` at an IoU of 0.5; a box may
            match any region of its group, as in the annotations of Koitka et al. 2018.
        by_region: average precision of each region.
        map_50_regions: mean of `by_region`.
        centre_error: mean distance of the centres over all present regions, as a fraction of the
            image's width.
        centre_error_by_group: mean distance of the centres by group.
    """

    images: int
    map_50: float
    by_group: dict[str, float]
    by_region: dict[str, float]
    map_50_regions: float
    centre_error: float
    centre_error_by_group: dict[str, float]


def region_group(region: str) -> str:
    """Returns the group of a region, one of `schema.REGION_GROUPS`."""
    return region.rstrip("12345")


def overlaps(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Returns intersections over unions [N, M] of boxes [N, 4] and [M, 4]; 0 for NaN boxes."""
    a, b = np.nan_to_num(boxes)[:, None], np.nan_to_num(others)[None]
    sides = np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2])
    shared = np.prod(np.maximum(sides, 0), axis=-1)
    either = sum(np.prod(c[..., 2:] - c[..., :2], axis=-1) for c in (a, b)) - shared
    return shared / np.maximum(either, 1e-12)


def average_precision(
    boxes: list[np.ndarray], scores: list[np.ndarray], truths: list[np.ndarray], iou: float = IOU
) -> float:
    """Returns the area under the precision-recall curve over all points (Pascal VOC since 2010).

    Args:
        boxes: detected boxes [K, 4] of each image.
        scores: scores [K] of each image.
        truths: true boxes [T, 4] of each image, NaN for absent regions.
        iou: minimum IoU of a match; each true box is matched once, by the box with the best score.

    Returns:
        The average precision, 0 to 1; NaN if there are no true boxes.
    """
    total = sum(int(np.isfinite(truth[:, 0]).sum()) for truth in truths)
    if not total:
        return float("nan")
    right, ranks = [], []
    for detected, score, true in zip(boxes, scores, truths, strict=True):
        shared, taken = overlaps(detected, true), set()
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
    """Measures detections with one box for each region of each image.

    Args:
        boxes: [N, 17, 4] detected boxes.
        scores: [N, 17] scores.
        truths: [N, 17, 4] true boxes, NaN for absent regions.
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
    centres = [(corners[..., :2] + corners[..., 2:]) / 2 for corners in (boxes, truths)]
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
    """Measures the network (see `regions.network`) on images with true boxes."""
    images = as_inputs(hands.images, network.input_shape[1])
    outputs = network.predict(images, batch_size=64, verbose=0)
    boxes, scores = outputs[schema.REGION_BOXES], outputs[schema.REGION_SCORES]
    return measure_detection(boxes, scores, hands.boxes)
