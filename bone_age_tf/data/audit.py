"""Measures size, exposure and fingerprint of each image of a dataset, and finds duplicates.

NumPy, Pillow and ImageHash only. A fingerprint is a perceptual hash of 256 bits, the signs of an
image's lowest frequencies about their median (Zauner 2010, Implementation and Benchmarking of
Perceptual Image Hash Functions). Since hands resemble each other, similar fingerprints are not
sufficient: the images must also be nearly proportional when they are shrunk to 32 x 32.
"""

import dataclasses
import hashlib
import io
from collections.abc import Sequence
from typing import Final

import imagehash
import numpy as np
from PIL import Image

from bone_age_tf.images import resizing

_HASH_SIDE: Final = 16
_THUMBNAIL_PX: Final = 32
_NEAR_BITS: Final = 40
"""Maximum number of different bits, of 256, between copies; copies that are re-encoded, resized or
exposed differently differ by at most 20."""
_NEAR_CORRELATION: Final = 0.985
"""Minimum correlation of the thumbnails of copies; no two of the 11,711 images of the reduced RSNA
2017 set reach 0.98."""
_BLOCK: Final = 512
DARK: Final = 16.0
WHITE: Final = 250
"""Minimum grey level of a white pixel; frames, corners and lead letters are white, bone rarely."""


@dataclasses.dataclass(frozen=True)
class ImageFacts:
    """Properties of an image; grey levels are 0 to 255.

    Attributes:
        width_px: width in pixels.
        height_px: height in pixels.
        mean: mean grey level.
        low: 1st percentile of the grey levels.
        high: 99th percentile of the grey levels.
        dark_share: share of pixels below `DARK`.
        white_share: share of pixels of at least `WHITE`.
        edge_share: share of the image that black edges cover.
        digest: SHA-256 of size and pixels, in hexadecimal.
        fingerprints: [2, 32] uint8, fingerprints of the image and of its mirror image.
        thumbnails: [2, 1024] float32, thumbnails of both with zero mean and unit length.
    """

    width_px: int
    height_px: int
    mean: float
    low: float
    high: float
    dark_share: float
    white_share: float
    edge_share: float
    digest: str
    fingerprints: np.ndarray
    thumbnails: np.ndarray


@dataclasses.dataclass(frozen=True)
class HandFacts:
    """Detected ossification regions of an image.

    Attributes:
        extent: longer side of the box around all regions, as a share of the image's longer side.
        score: mean score of the region detector, 0 to 1; low for fists, rotated and faint hands.
    """

    extent: float
    score: float


def describe_hand(
    boxes: np.ndarray, scores: np.ndarray, shape: tuple[int, int], longer_side_px: int
) -> HandFacts:
    """Measures the size of a hand in an image and the confidence of its detected regions.

    Args:
        boxes: [17, 4] regions as fractions of the detector's input image.
        scores: [17] scores of the regions.
        shape: height and width of that image in pixels.
        longer_side_px: longer side of the original image in pixels, before margins are cropped.
    """
    first, last = boxes[:, :2].min(axis=0), boxes[:, 2:].max(axis=0)
    sides_px = np.clip(last - first, 0, 1) * shape
    return HandFacts(float(sides_px.max()) / longer_side_px, float(scores.mean()))


@dataclasses.dataclass(frozen=True)
class Twins:
    """Two images that show the same picture.

    Attributes:
        first: index of the first image.
        second: index of the second image, higher than the first.
        how: `exact`, `near` or `mirrored`.
        correlation: correlation of the two thumbnails.
    """

    first: int
    second: int
    how: str
    correlation: float


def describe_image(png: bytes) -> ImageFacts:
    """Measures an image.

    Args:
        png: bytes of an image file that Pillow reads.
    """
    image = Image.open(io.BytesIO(png)).convert("L")
    pixels = np.asarray(image)
    low, high = np.percentile(pixels, [1, 99])
    digest = hashlib.sha256(repr(pixels.shape).encode() + pixels.tobytes()).hexdigest()
    views = [image, image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)]
    return ImageFacts(
        image.width,
        image.height,
        float(pixels.mean()),
        float(low),
        float(high),
        float((pixels < DARK).mean()),
        float((pixels >= WHITE).mean()),
        _black_edge_share(pixels),
        digest,
        np.stack([_fingerprint(view) for view in views]),
        np.stack([_thumbnail(view) for view in views]),
    )


def find_twins(facts: Sequence[ImageFacts]) -> list[Twins]:
    """Compares every image with every other image and its mirror image.

    Returns:
        The pairs of images that show the same picture, sorted by index; exact copies are paired
        with the first copy.
    """
    if len(facts) < 2:
        return []
    prints = np.stack([image.fingerprints for image in facts])
    pictures = np.stack([image.thumbnails for image in facts])
    pairs: list[Twins] = []
    firsts: dict[str, int] = {}
    for place, image in enumerate(facts):
        if image.digest in firsts:
            pairs.append(Twins(firsts[image.digest], place, "exact", 1.0))
        firsts.setdefault(image.digest, place)
    for start in range(0, len(facts), _BLOCK):
        here = slice(start, start + _BLOCK)
        for view in (0, 1):
            alike = pictures[here, 0] @ pictures[:, view].T
            for row, second in np.argwhere(alike > _NEAR_CORRELATION):
                first, second = int(start + row), int(second)
                if first >= second or facts[first].digest == facts[second].digest:
                    continue
                if _bits(prints[first, 0], prints[second, view]) <= _NEAR_BITS:
                    how = ("near", "mirrored")[view]
                    pairs.append(Twins(first, second, how, float(alike[row, second])))
    unique = {(twins.first, twins.second): twins for twins in reversed(pairs)}
    return sorted(unique.values(), key=lambda twins: (twins.first, twins.second))


def _fingerprint(image: Image.Image) -> np.ndarray:
    return np.packbits(imagehash.phash(image, hash_size=_HASH_SIDE).hash.ravel())


def _thumbnail(image: Image.Image) -> np.ndarray:
    side = (_THUMBNAIL_PX, _THUMBNAIL_PX)
    small = np.asarray(image.resize(side, Image.Resampling.BOX), np.float32).ravel()
    small = small - small.mean()
    return small / max(float(np.linalg.norm(small)), 1e-6)


def _bits(first: np.ndarray, second: np.ndarray) -> int:
    return int(np.unpackbits(first ^ second).sum())


def _black_edge_share(pixels: np.ndarray) -> float:
    """Returns the share of an image [H, W] that black edges cover; 0 if all pixels are black."""
    lit = pixels > resizing.BLACK
    if not lit.any():
        return 0.0
    sides = [np.ptp(np.flatnonzero(lit.any(axis=axis))) + 1 for axis in (0, 1)]
    return float(1 - np.prod(sides) / pixels.size)
