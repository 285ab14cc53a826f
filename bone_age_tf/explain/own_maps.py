"""Explanation maps that are outputs of the networks: attention, parts and relations.

Each function takes a network, stretched images [B, S, S, 1], 0 to 255, and a sex, and returns maps
[B, h, w].
"""

from typing import Final

import cv2
import numpy as np

from bone_age_tf import schema
from bone_age_tf.explain.network import ExplainedNetwork
from bone_age_tf.explain.places import box_map

NEEDED: Final = {
    "attention": schema.ATTENTIONS[0],
    "relation": schema.RELATION_MAP,
    "parts": schema.PART_BOXES,
    "regions": schema.REGION_CROPS,
}
"""Output that each of these methods requires."""


def attention(network: ExplainedNetwork, images: np.ndarray, sex: int) -> np.ndarray:
    """Computes the mean attention of the three depths, each normalised to a sum of 1."""
    outputs = network.own_outputs(images, sex)
    maps = [outputs[name] for name in schema.ATTENTIONS]
    side = maps[0].shape[1]
    return np.stack(
        [
            sum(cv2.resize(depth, (side, side)) * (len(depth) / side) ** 2 for depth in depths)
            for depths in zip(*maps, strict=True)
        ]
    )


def relation(network: ExplainedNetwork, images: np.ndarray, sex: int) -> np.ndarray:
    """Returns the relation map: how much each place contributes to the other places."""
    return network.own_outputs(images, sex)[schema.RELATION_MAP]


def parts(network: ExplainedNetwork, images: np.ndarray, sex: int) -> np.ndarray:
    """Draws the boxes of the selected parts, each with its share of the scores over its area."""
    outputs = network.own_outputs(images, sex)
    scores = outputs[schema.PART_SCORES]
    shares = outputs[schema.PART_KEPT] * np.exp(scores - scores.max(axis=1, keepdims=True))
    return _boxes_by_share(outputs[schema.PART_BOXES], shares, network.size_px)


def regions(network: ExplainedNetwork, images: np.ndarray, sex: int) -> np.ndarray:
    """Draws the crops of the regions, each with its share of the weights over its area."""
    outputs = network.own_outputs(images, sex)
    crops, weights = outputs[schema.REGION_CROPS], outputs[schema.REGION_WEIGHTS]
    return _boxes_by_share(crops, weights, network.size_px)


def _boxes_by_share(boxes: np.ndarray, shares: np.ndarray, size_px: int) -> np.ndarray:
    """Returns maps [B, S, S] of boxes [B, K, 4], each with its share [B, K] over its area."""
    areas = np.maximum(np.prod(boxes[..., 2:] - boxes[..., :2], axis=-1), 1e-6)
    heights = shares / shares.sum(axis=1, keepdims=True) / areas
    pairs = zip(boxes, heights, strict=True)
    return np.stack([box_map(some, height, size_px) for some, height in pairs])
