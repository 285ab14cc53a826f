"""Films as users send them: whole hands in every pose, halves, pairs, and what is no hand at all.

Made on the fly from radiographs of upright left hands, for the network that checks films. NumPy and
OpenCV only; every choice comes from the generator that is given.
"""

import dataclasses
from typing import Final

import cv2
import numpy as np

from bone_age_tf import schema
from bone_age_tf.images import resizing

SHARES: Final = {"hand": 0.55, "cut": 0.17, "two": 0.08, "other": 0.2}
"""Of the kinds among the samples."""
ASPECT: Final = schema.RADIOGRAPH_ASPECT
_WORK_PX: Final = 128
_INVERTED_SHARE: Final = 0.3
_SMALL_SHARE: Final = 0.12
"""Of whole hands: a small exposed field on a large black film."""
_UPRIGHT_SHARE: Final = 0.3
"""Beyond its eighth: upright is what most films are."""


@dataclasses.dataclass(frozen=True)
class FilmSamples:
    """A batch.

    Attributes:
        images: [B, S, S, 1] float32, 0 to 255.
        kind: [B] places in `schema.FILM_KINDS`.
        pose: [B] places in `schema.FILM_POSES`; -1 where there is none to tell.
        inverted: [B] 1 where the bones are dark; -1 where there is none to tell.
    """

    images: np.ndarray
    kind: np.ndarray
    pose: np.ndarray
    inverted: np.ndarray


def make_film_samples(
    hands: np.ndarray, count: int, size_px: int, random: np.random.Generator
) -> FilmSamples:
    """Draws a batch.

    Args:
        hands: [N, S, S] uint8, upright left hands, each stretched to a square.
        count: samples.
        size_px: side of the images; they are centred on black as `pad` does.
        random: of every choice.
    """
    kinds = random.choice(len(schema.FILM_KINDS), count, p=[SHARES[k] for k in schema.FILM_KINDS])
    images, poses, inverted = [], [], []
    for kind in kinds:
        film = _FILMS[schema.FILM_KINDS[kind]](hands, random)
        if kind != schema.FILM_KINDS.index("other"):
            film = exposed(film, random)
        pose = 0 if random.random() < _UPRIGHT_SHARE else int(random.integers(8))
        dark = random.random() < _INVERTED_SHARE
        film = posed(255.0 - film if dark else film, pose)
        told = kind == 0
        images.append(_clipped(resizing.resize(film, size_px, "pad")))
        poses.append(pose if told else -1)
        inverted.append(float(dark) if kind < 3 else -1.0)
    return FilmSamples(
        np.stack(images)[..., None].astype(np.float32),
        kinds.astype(np.int64),
        np.array(poses),
        np.array(inverted, np.float32),
    )


def posed(image: np.ndarray, pose: int) -> np.ndarray:
    """Returns an upright image [H, W] in a pose, a place in `schema.FILM_POSES`."""
    return np.ascontiguousarray(np.rot90(image[:, ::-1] if pose >= 4 else image, pose % 4))


def _hand(hands: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """A whole hand as films show it: some turn, some more border, some less."""
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
    """From a third to six tenths of a hand, from one side of it."""
    film = _hand(hands, random)
    keep = random.uniform(0.3, 0.6)
    side = int(random.integers(4))
    turned = np.rot90(film, side)
    kept = np.rot90(turned[: round(keep * len(turned))], -side)
    if random.random() < 0.4:  # the rest is black rather than gone
        place = np.zeros_like(turned)
        place[: round(keep * len(turned))] = turned[: round(keep * len(turned))]
        kept = np.rot90(place, -side)
    return np.ascontiguousarray(kept)


def _two(hands: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """A left and a right hand side by side, often of one child."""
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
    film = random.uniform(0, 255) + slope[0] * y + slope[1] * x
    return _clipped(film + random.normal(0, random.uniform(0, 12), shape))


def _clouds(hands: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Noise of a power of the frequency, from sand to clouds."""
    shape = _shape(random)
    fy, fx = np.meshgrid(np.fft.fftfreq(shape[0]), np.fft.fftfreq(shape[1]), indexing="ij")
    frequency = np.maximum(np.hypot(fy, fx), 1 / max(shape))
    wave = np.fft.fft2(random.normal(size=shape)) / frequency ** random.uniform(0, 2.5)
    film = np.fft.ifft2(wave).real
    film = (film - film.mean()) / (film.std() + 1e-9)
    return _clipped(random.uniform(60, 190) + random.uniform(20, 70) * film)


def _shapes(hands: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Ellipses, boxes and lines; smooth, as organs and cylinders come out, or sharp."""
    height, width = shape = _shape(random)
    film = np.full(shape, random.uniform(0, 120), np.float32)
    for _ in range(random.integers(1, 9)):
        grey = float(random.uniform(0, 255))
        centre = int(random.uniform(0, width)), int(random.uniform(0, height))
        size = tuple(int(s) for s in random.uniform(4, 60, 2))
        kind = random.integers(3)
        if kind == 0:
            cv2.ellipse(film, centre, size, random.uniform(0, 180), 0, 360, (grey,), -1)
        elif kind == 1:
            end = centre[0] + size[0], centre[1] + size[1]
            cv2.rectangle(film, centre, end, (grey,), -1)
        else:
            end = int(random.uniform(0, width)), int(random.uniform(0, height))
            cv2.line(film, centre, end, (grey,), int(random.integers(1, 14)))
    return _clipped(cv2.GaussianBlur(film, (0, 0), random.uniform(0.3, 6)))


def _long_bones(hands: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """One to three shafts with bright walls in soft tissue: an arm or a leg."""
    height, width = shape = _shape(random)
    film = np.zeros(shape, np.float32)
    middle = random.uniform(0.35, 0.65) * width
    lean = random.uniform(-0.3, 0.3)
    cv2.line(
        film,
        (int(middle - lean * height / 2), 0),
        (int(middle + lean * height / 2), height),
        (float(random.uniform(40, 90)),),
        int(random.uniform(0.3, 0.6) * width),
    )
    for _ in range(random.integers(1, 4)):
        at = middle + random.uniform(-0.12, 0.12) * width
        ends = (int(at - lean * height / 2), 0), (int(at + lean * height / 2), height)
        thick = int(random.uniform(0.07, 0.18) * width)
        cv2.line(film, *ends, (float(random.uniform(150, 255)),), thick)
        cv2.line(film, *ends, (float(random.uniform(90, 150)),), max(1, thick - 5))
    return _clipped(cv2.GaussianBlur(film, (0, 0), random.uniform(0.8, 2.5)))


def _text(hands: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """A page of letters."""
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
    """Waves, stripes and checks."""
    shape = _shape(random)
    y, x = np.mgrid[: shape[0], : shape[1]].astype(np.float32)
    angle, length = random.uniform(0, np.pi), random.uniform(3, 60)
    film = np.sin((x * np.cos(angle) + y * np.sin(angle)) * 2 * np.pi / length)
    if random.random() < 0.5:
        film = film * np.sin((y * np.cos(angle) - x * np.sin(angle)) * 2 * np.pi / length)
    if random.random() < 0.5:
        film = np.sign(film)
    return _clipped(random.uniform(60, 190) + random.uniform(20, 120) * film)


def _leaves(hands: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Discs of all sizes that cover each other: what photographs are like (Lee et al. 2001)."""
    height, width = shape = _shape(random)
    film = np.full(shape, random.uniform(0, 255), np.float32)
    for _ in range(int(random.integers(20, 200))):
        radius = int(3 / max(0.04, random.random()) ** 0.8)
        centre = int(random.uniform(0, width)), int(random.uniform(0, height))
        long = max(1, round(radius * random.uniform(0.4, 1.0)))
        turn = random.uniform(0, 180)
        cv2.ellipse(
            film, centre, (radius, long), turn, 0, 360, (float(random.uniform(0, 255)),), -1
        )
    texture = cv2.GaussianBlur(random.normal(0, 1, shape), (0, 0), random.uniform(0.4, 3))
    return _clipped(film + random.uniform(0, 60) * texture.astype(np.float32))


def _shuffled(hands: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Pieces of a hand in a wrong order: all of a film's textures, and no hand."""
    film = _hand(hands, random)
    pieces = int(random.integers(3, 7))
    height, width = film.shape[0] // pieces, film.shape[1] // pieces
    cut = [
        film[y * height : (y + 1) * height, x * width : (x + 1) * width]
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
    """A small piece of a hand, enlarged: bones, and nothing to tell a hand by."""
    film = _hand(hands, random)
    share = random.uniform(0.15, 0.35)
    height, width = (max(8, round(share * side)) for side in film.shape)
    top, left = (
        int(random.integers(0, side - part + 1))
        for side, part in zip(film.shape, (height, width), strict=True)
    )
    return cv2.resize(film[top : top + height, left : left + width], film.shape[::-1])


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


def exposed(film: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Another tone, a veil, grain, sometimes a marker."""
    grey: np.ndarray = film / 255.0
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


def _clipped(film: np.ndarray) -> np.ndarray:
    return np.clip(film, 0, 255).astype(np.float32)
