"""Training samples for the quality check: whole hands in every pose, parts, pairs and non-hands.

Samples are made on the fly from radiographs of upright left hands. NumPy and OpenCV only; every
random choice comes from the given generator.
"""

import dataclasses
from typing import Final

import cv2
import numpy as np

from bone_age_tf import schema
from bone_age_tf.images import resizing

SHARES: Final = {"hand": 0.55, "cut": 0.17, "two": 0.08, "other": 0.2}
"""Share of each of `schema.IMAGE_KINDS` among the samples; chosen for this project."""
ASPECT: Final = schema.RADIOGRAPH_ASPECT
"""Mean width over height of the samples with a hand."""
_WORK_PX: Final = 128
"""Longer side in pixels at which samples are drawn, before they are resized."""
_INVERTED_SHARE: Final = 0.3
"""Share of the samples with inverted grey levels."""
_SMALL_SHARE: Final = 0.12
"""Share of the whole hands that are small on a large black image."""
_UPRIGHT_SHARE: Final = 0.3
"""Share of the samples that are upright in addition to one eighth of the rest, since most
radiographs are upright."""


@dataclasses.dataclass(frozen=True)
class QualitySamples:
    """A batch of samples with their labels.

    Attributes:
        images: [B, S, S, 1] float32, 0 to 255.
        kind: [B] indices in `schema.IMAGE_KINDS`.
        pose: [B] indices in `schema.POSES`; -1 where the pose is undefined.
        inverted: [B] 1 where the bones are dark, else 0; -1 where this is undefined.
    """

    images: np.ndarray
    kind: np.ndarray
    pose: np.ndarray
    inverted: np.ndarray


def make_quality_samples(
    hands: np.ndarray, count: int, size_px: int, random: np.random.Generator
) -> QualitySamples:
    """Draws a batch of samples.

    Args:
        hands: [N, S, S] uint8, upright left hands, each stretched to a square.
        count: number of samples.
        size_px: side of the sample images in pixels; the resize mode is `pad`.
        random: source of every random choice.
    """
    kinds = random.choice(len(schema.IMAGE_KINDS), count, p=[SHARES[k] for k in schema.IMAGE_KINDS])
    images, poses, inverted = [], [], []
    for kind in kinds:
        image = _FILMS[schema.IMAGE_KINDS[kind]](hands, random)
        if kind != schema.IMAGE_KINDS.index("other"):
            image = exposed(image, random)
        pose = 0 if random.random() < _UPRIGHT_SHARE else int(random.integers(8))
        dark = random.random() < _INVERTED_SHARE
        image = posed(255.0 - image if dark else image, pose)
        images.append(_clipped(resizing.resize(image, size_px, "pad")))
        poses.append(pose if kind == 0 else -1)
        inverted.append(float(dark) if kind < 3 else -1.0)
    return QualitySamples(
        np.stack(images)[..., None].astype(np.float32),
        kinds.astype(np.int64),
        np.array(poses),
        np.array(inverted, np.float32),
    )


def posed(image: np.ndarray, pose: int) -> np.ndarray:
    """Returns an upright image [H, W] in another pose, an index in `schema.POSES`."""
    return np.ascontiguousarray(np.rot90(image[:, ::-1] if pose >= 4 else image, pose % 4))


def _hand(hands: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Draws a whole hand with a random rotation, zoom, shift and aspect ratio."""
    hand = hands[random.integers(len(hands))].astype(np.float32)
    aspect = ASPECT * np.exp(random.normal(0, 0.12))
    height, width = _WORK_PX, max(24, round(_WORK_PX * aspect))
    hand = cv2.resize(hand, (width, height), interpolation=cv2.INTER_AREA)
    small = random.random() < _SMALL_SHARE
    zoom = np.exp(random.uniform(-0.9, -0.3) if small else random.uniform(-0.3, 0.22))
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), random.uniform(-25, 25), zoom)
    matrix[:, 2] += random.uniform(-0.04, 0.04, 2) * (width, height)
    edge = float(np.median(hand[[0, -1]])) if random.random() < 0.5 else 0.0
    return cv2.warpAffine(hand, matrix, (width, height), borderValue=(edge,))


def _cut(hands: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Draws a part of a hand: 30 to 60 % of the image, from one of its sides."""
    keep = random.uniform(0.3, 0.6)
    side = int(random.integers(4))
    turned = np.rot90(_hand(hands, random), side)
    kept = np.rot90(turned[: round(keep * len(turned))], -side)
    if random.random() < 0.4:  # the other part becomes black instead of being cut off
        place = np.zeros_like(turned)
        place[: round(keep * len(turned))] = turned[: round(keep * len(turned))]
        kept = np.rot90(place, -side)
    return np.ascontiguousarray(kept)


def _two(hands: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Draws a left and a right hand side by side, in half of the cases the same hand mirrored."""
    left = _hand(hands, random)
    right = left if random.random() < 0.5 else _hand(hands, random)
    pair = [left, cv2.resize(right, left.shape[::-1])[:, ::-1]]
    if random.random() < 0.5:
        pair.reverse()
    return np.concatenate(pair, axis=1)


def _other(hands: np.ndarray, random: np.random.Generator) -> np.ndarray:
    return _NON_HANDS[int(random.integers(len(_NON_HANDS)))](hands, random)


def _blank(hands: np.ndarray, random: np.random.Generator) -> np.ndarray:
    shape = _shape(random)
    slope = random.uniform(-60, 60, 2)
    y, x = np.mgrid[: shape[0], : shape[1]] / _WORK_PX
    image = random.uniform(0, 255) + slope[0] * y + slope[1] * x
    return _clipped(image + random.normal(0, random.uniform(0, 12), shape))


def _clouds(hands: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Draws noise with a random spectral slope, from fine grain to clouds."""
    shape = _shape(random)
    fy, fx = np.meshgrid(np.fft.fftfreq(shape[0]), np.fft.fftfreq(shape[1]), indexing="ij")
    frequency = np.maximum(np.hypot(fy, fx), 1 / max(shape))
    wave = np.fft.fft2(random.normal(size=shape)) / frequency ** random.uniform(0, 2.5)
    image = np.fft.ifft2(wave).real
    image = (image - image.mean()) / (image.std() + 1e-9)
    return _clipped(random.uniform(60, 190) + random.uniform(20, 70) * image)


def _shapes(hands: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Draws ellipses, boxes and lines, sharp or blurred like organs on a radiograph."""
    height, width = shape = _shape(random)
    image = np.full(shape, random.uniform(0, 120), np.float32)
    for _ in range(random.integers(1, 9)):
        grey = float(random.uniform(0, 255))
        centre = int(random.uniform(0, width)), int(random.uniform(0, height))
        size = tuple(int(s) for s in random.uniform(4, 60, 2))
        kind = random.integers(3)
        if kind == 0:
            cv2.ellipse(image, centre, size, random.uniform(0, 180), 0, 360, (grey,), -1)
        elif kind == 1:
            end = centre[0] + size[0], centre[1] + size[1]
            cv2.rectangle(image, centre, end, (grey,), -1)
        else:
            end = int(random.uniform(0, width)), int(random.uniform(0, height))
            cv2.line(image, centre, end, (grey,), int(random.integers(1, 14)))
    return _clipped(cv2.GaussianBlur(image, (0, 0), random.uniform(0.3, 6)))


def _long_bones(hands: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Draws one to three long bones with bright cortices in soft tissue, as of an arm or a leg."""
    height, width = shape = _shape(random)
    image = np.zeros(shape, np.float32)
    middle = random.uniform(0.35, 0.65) * width
    lean = random.uniform(-0.3, 0.3)
    cv2.line(
        image,
        (int(middle - lean * height / 2), 0),
        (int(middle + lean * height / 2), height),
        (float(random.uniform(40, 90)),),
        int(random.uniform(0.3, 0.6) * width),
    )
    for _ in range(random.integers(1, 4)):
        at = middle + random.uniform(-0.12, 0.12) * width
        ends = (int(at - lean * height / 2), 0), (int(at + lean * height / 2), height)
        thick = int(random.uniform(0.07, 0.18) * width)
        cv2.line(image, *ends, (float(random.uniform(150, 255)),), thick)
        cv2.line(image, *ends, (float(random.uniform(90, 150)),), max(1, thick - 5))
    return _clipped(cv2.GaussianBlur(image, (0, 0), random.uniform(0.8, 2.5)))


def _text(hands: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Draws a page of text."""
    shape = _shape(random)
    page = np.full(shape, random.uniform(200, 255), np.uint8)
    letters = list("abcdefghijklmnopqrstuvwxyz ABCDEFGHIJKLMNOPRSTUVWXYZ 0123456789 .,;")
    step = int(random.integers(6, 18))
    for y in range(step, shape[0], step):
        line = "".join(random.choice(letters, int(random.integers(3, 60))))
        ink = (float(random.uniform(0, 80)),)
        cv2.putText(page, line, (4, y), cv2.FONT_HERSHEY_SIMPLEX, step / 40, ink, 1, cv2.LINE_AA)
    return page.astype(np.float32)


def _stripes(hands: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Draws waves, stripes and checkerboards."""
    shape = _shape(random)
    y, x = np.mgrid[: shape[0], : shape[1]].astype(np.float32)
    angle, length = random.uniform(0, np.pi), random.uniform(3, 60)
    image = np.sin((x * np.cos(angle) + y * np.sin(angle)) * 2 * np.pi / length)
    if random.random() < 0.5:
        image = image * np.sin((y * np.cos(angle) - x * np.sin(angle)) * 2 * np.pi / length)
    if random.random() < 0.5:
        image = np.sign(image)
    return _clipped(random.uniform(60, 190) + random.uniform(20, 120) * image)


def _leaves(hands: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Draws overlapping discs of all sizes, whose statistics are those of photographs.

    The dead leaves model; Lee et al. 2001, International Journal of Computer Vision 41:35.
    """
    height, width = shape = _shape(random)
    image = np.full(shape, random.uniform(0, 255), np.float32)
    for _ in range(int(random.integers(20, 200))):
        radius = int(3 / max(0.04, random.random()) ** 0.8)
        centre = int(random.uniform(0, width)), int(random.uniform(0, height))
        long = max(1, round(radius * random.uniform(0.4, 1.0)))
        turn = random.uniform(0, 180)
        cv2.ellipse(
            image, centre, (radius, long), turn, 0, 360, (float(random.uniform(0, 255)),), -1
        )
    texture = cv2.GaussianBlur(random.normal(0, 1, shape), (0, 0), random.uniform(0.4, 3))
    return _clipped(image + random.uniform(0, 60) * texture.astype(np.float32))


def _shuffled(hands: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Draws the pieces of a hand in random order, so that only the texture is that of a hand."""
    image = _hand(hands, random)
    pieces = int(random.integers(3, 7))
    height, width = image.shape[0] // pieces, image.shape[1] // pieces
    cut = [
        image[y * height : (y + 1) * height, x * width : (x + 1) * width]
        for y in range(pieces)
        for x in range(pieces)
    ]
    order = random.permutation(len(cut))
    rows = [
        np.concatenate([np.rot90(cut[place], 2 * int(random.integers(2))) for place in row], axis=1)
        for row in order.reshape(pieces, pieces)
    ]
    return np.concatenate(rows)


def _piece(hands: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Draws a small enlarged piece of a hand, too small for the hand to be recognised."""
    image = _hand(hands, random)
    share = random.uniform(0.15, 0.35)
    height, width = (max(8, round(share * side)) for side in image.shape)
    top, left = (
        int(random.integers(0, side - part + 1))
        for side, part in zip(image.shape, (height, width), strict=True)
    )
    return cv2.resize(image[top : top + height, left : left + width], image.shape[::-1])


_NON_HANDS: Final = (
    _blank,
    _clouds,
    _shapes,
    _long_bones,
    _text,
    _stripes,
    _leaves,
    _leaves,
    _shuffled,
    _piece,
)
_FILMS: Final = {"hand": _hand, "cut": _cut, "two": _two, "other": _other}


def _shape(random: np.random.Generator) -> tuple[int, int]:
    aspect = np.exp(random.normal(0, 0.25))
    return max(24, round(_WORK_PX * min(1.0, 1 / aspect))), max(
        24, round(_WORK_PX * min(1.0, aspect))
    )


def exposed(image: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Applies a random tone curve, contrast, blur and noise, and sometimes a bright marker.

    Args:
        image: [H, W], 0 to 255.
        random: source of every random choice.
    """
    grey: np.ndarray = image / 255.0
    if random.random() < 0.7:
        bend = np.exp(random.uniform(-0.9, 0.9))
        grey = grey / (grey + bend * (1 - grey) + 1e-6)
    grey = random.uniform(0.0, 0.35) + random.uniform(0.25, 0.65) * grey
    if random.random() < 0.5:
        grey = cv2.GaussianBlur(grey, (0, 0), random.uniform(0.3, 1.2))
    grey = grey + random.normal(0, random.uniform(0, 0.03), grey.shape)
    if random.random() < 0.4:
        height, width = grey.shape
        y, x = int(random.uniform(0, 0.9) * height), int(random.uniform(0, 0.85) * width)
        size = random.integers(4, 14, 2)
        grey[y : y + size[0], x : x + size[1]] = random.uniform(0.8, 1.0)
    return _clipped(255.0 * grey)


def _clipped(image: np.ndarray) -> np.ndarray:
    return np.clip(image, 0, 255).astype(np.float32)
