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
    """Draws the boxes of the parts, each with its share in the answer over its area.

    Of selected parts it is the share of the scores, of regions that of the weights in the fusion.
    """
    outputs = network.own_outputs(images, sex)
    boxes_of_all, shares_of_all = outputs[schema.PART_BOXES], outputs[schema.PART_SCORES]
    if schema.PART_KEPT in outputs:
        highest = shares_of_all.max(axis=1, keepdims=True)
        shares_of_all = outputs[schema.PART_KEPT] * np.exp(shares_of_all - highest)
    maps = []
    for boxes, shares in zip(boxes_of_all, shares_of_all, strict=True):
        areas = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
        maps.append(
            box_map(boxes, shares / shares.sum() / np.maximum(areas, 1e-6), network.size_px)
        )
    return np.stack(maps)
