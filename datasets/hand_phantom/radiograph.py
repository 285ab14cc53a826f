"""The film: projects a hand to attenuation and exposes it.

Attenuations of flesh and bones add up along the beam; the film is darker where more of the beam
arrives.
"""

import dataclasses
import itertools
import math
from collections.abc import Sequence
from typing import Final

import cv2
import numpy as np

from .anatomy import FINGER_RADII_MM, Child, Hand, film_scale, grow_hand, sample_child
from .bones import Bone

SUPERSAMPLING: Final = 2
"""Attenuation is drawn at this multiple of the image's size, then averaged down."""

MM_TO_HEIGHT: Final = 0.0033
"""A millimetre of an average hand as a fraction of the image's height. With `WIDTH_STRETCH`,
`CENTRE_MM` and `CENTRE` it puts the joints within .03 of their mean positions in the RSNA 2017
training images: y of the distal interphalangeal .235, proximal interphalangeal .343 and
metacarpophalangeal joints .468, radius (.514, .765) and ulna (.403, .776)."""

WIDTH_STRETCH: Final = (1.1, 1.35)
"""Range of the horizontal stretch: films are taller than wide and the image is square."""

CENTRE_MM: Final = (0.0, 35.0)
CENTRE: Final = (0.487, 0.577)
"""Point of the hand that the film centres, and its mean position (x, y) on the image."""

MAX_TURN_DEG: Final = 10.0
SHIFT: Final = 0.02
"""Largest turn either way, and SD of the shift as a fraction of the image."""

FLESH_ATTENUATION: Final = 0.48
BONE_ATTENUATION: Final = 0.52
"""Attenuation of the palm and of a compact bone of relative thickness 1; drawing values."""

_SHIFT_BITS: Final = 4
_FIXED: Final = 1 << _SHIFT_BITS
_FLESH_EDGE: Final = 0.028  # of the image's height: about the radius of a finger
_CIRCLE: Final = np.stack(
    [f(np.linspace(0.0, 2.0 * math.pi, 16, endpoint=False)) for f in (np.cos, np.sin)], axis=-1
)


@dataclasses.dataclass(frozen=True)
class Film:
    """How one film was taken. Sampled with `sample_film`.

    Attributes:
        turn_deg: turn of the hand in the image plane.
        stretch: horizontal stretch.
        shift: [2] shift (x, y), fractions of the image.
        background: grey of the film without an object, 0 to 1.
        contrast: span from there to complete attenuation, 0 to 1.
        gamma: exponent of the exposure curve.
        heel: [2] relative change of the background across the image, in x and y: the beam weakens
            towards the anode (heel effect).
        noise: SD of the quantum noise at full exposure.
        blur: SD of the unsharpness as a fraction of the image's height.
        borders: [4] unexposed or masked margin at left, top, right, bottom, fractions of the image.
        border_level: grey of that margin.
        marker: whether a side marker is there.
        marker_at: [2] its lower left corner, fractions of the image.
        marker_size: its height as a fraction of the image.
    """

    turn_deg: float
    stretch: float
    shift: np.ndarray
    background: float
    contrast: float
    gamma: float
    heel: np.ndarray
    noise: float
    blur: float
    borders: np.ndarray
    border_level: float
    marker: bool
    marker_at: np.ndarray
    marker_size: float


def sample_film(rng: np.random.Generator) -> Film:
    """Returns a film; the number of draws is the same for each."""
    background = float(rng.choice([0.06, 0.14, 0.22, 0.4], p=[0.35, 0.35, 0.2, 0.1]))
    background += float(rng.uniform(-0.04, 0.06))
    sides = rng.random(4) < 0.2
    return Film(
        turn_deg=float(rng.uniform(-MAX_TURN_DEG, MAX_TURN_DEG)),
        stretch=float(rng.uniform(*WIDTH_STRETCH)),
        shift=SHIFT * np.clip(rng.standard_normal(2), -2, 2),
        background=background,
        contrast=float(rng.uniform(0.65, 1.0)) * (1.0 - background),
        gamma=float(rng.uniform(0.85, 1.25)),
        heel=rng.uniform(-0.15, 0.15, 2),
        noise=float(rng.uniform(0.004, 0.014)),
        blur=float(rng.uniform(0.001, 0.003)),
        borders=sides * rng.uniform(0.01, 0.045, 4),
        border_level=float(rng.choice([0.0, 0.02, 0.5, 0.8])),
        marker=bool(rng.random() < 0.75),
        marker_at=np.array([rng.choice([0.04, 0.86]), rng.uniform(0.12, 0.3)]),
        marker_size=float(rng.uniform(0.05, 0.075)),
    )


def film_matrix(film: Film, scale: float) -> np.ndarray:
    """Returns the [2, 3] affine map from hand millimetres to fractions of the image.

    Args:
        film: the film.
        scale: size of the hand on it, from `film_scale`.
    """
    turn = math.radians(film.turn_deg)
    rotation = np.array([[math.cos(turn), math.sin(turn)], [math.sin(turn), -math.cos(turn)]])
    linear = MM_TO_HEIGHT * scale * rotation
    linear[0] *= film.stretch
    offset = np.array(CENTRE) + film.shift - linear @ np.array(CENTRE_MM)
    return np.concatenate([linear, offset[:, None]], axis=1)


def to_film(points: np.ndarray, matrix: np.ndarray, size_px: int) -> np.ndarray:
    """Maps hand millimetres [N, 2] to pixels [N, 2], pixel centres at whole numbers."""
    return (points @ matrix[:, :2].T + matrix[:, 2]) * size_px - 0.5


def _fixed(points: np.ndarray) -> np.ndarray:
    return np.rint(points * _FIXED).astype(np.int32)


def _fill(canvas: np.ndarray, points: np.ndarray, level: int) -> None:
    cv2.fillPoly(canvas, [_fixed(points)], level, cv2.LINE_AA, _SHIFT_BITS)


def add_bone(canvas: np.ndarray, bone: Bone, matrix: np.ndarray) -> None:
    """Adds a bone's attenuation to a square canvas.

    Args:
        canvas: [S, S] float32, changed in place.
        bone: the bone.
        matrix: [2, 3] from `film_matrix`.
    """
    size = canvas.shape[0]
    outlines = [to_film(fill.outline, matrix, size) for fill in bone.fills]
    corners = np.concatenate(outlines)
    low = np.clip(np.floor(corners.min(axis=0)).astype(int) - 1, 0, size)
    high = np.clip(np.ceil(corners.max(axis=0)).astype(int) + 2, 0, size)
    if (high <= low).any():
        return
    patch = np.zeros((high[1] - low[1], high[0] - low[0]), np.uint8)
    for fill, outline in zip(bone.fills, outlines, strict=True):
        _fill(patch, outline - low, round(255 * fill.level))
    weight = BONE_ATTENUATION * bone.thickness / 255
    canvas[low[1] : high[1], low[0] : high[0]] += weight * patch.astype(np.float32)


def bone_attenuation(bones: Sequence[Bone], matrix: np.ndarray, size_px: int) -> np.ndarray:
    """Returns the attenuation [size_px, size_px] float32 of bones alone."""
    canvas = np.zeros((size_px, size_px), np.float32)
    for bone in bones:
        add_bone(canvas, bone, matrix)
    return canvas


def _circles(centres: np.ndarray, radii: np.ndarray) -> np.ndarray:
    """Returns points [16 * N, 2] on circles."""
    return (centres[:, None, :] + radii[:, None, None] * _CIRCLE).reshape(-1, 2)


def _flesh_pieces(hand: Hand) -> list[np.ndarray]:
    """Returns point sets whose convex hulls together are the hand's soft tissue."""
    pieces = []
    for ray, joints in enumerate(hand.joints, start=1):
        radii = hand.flesh * np.array(FINGER_RADII_MM[ray])
        knots = joints[1:].copy()
        if ray > 1:
            radii = np.interp(np.arange(4), [0, 1, 3], radii)
        circles = [_circles(knots[i : i + 1], radii[i : i + 1]) for i in range(len(knots))]
        pieces += [np.concatenate(pair) for pair in itertools.pairwise(circles)]
    heads = np.stack([joints[1] for joints in hand.joints])
    stout = hand.flesh
    wrist = np.array([[-17.0, -28.0], [17.0, -28.0]])
    elbow = np.array([[-22.0, -150.0], [20.0, -150.0]])
    sides = np.array([[-22.0, 5.0], [23.0, 5.0]])
    palm_centres = np.concatenate([wrist, sides, heads[1:]])
    palm_radii = stout * np.array([12.0, 12, 14, 13, 12, 13, 13, 12])
    pieces.append(_circles(palm_centres, palm_radii))
    pieces.append(_circles(np.concatenate([wrist, elbow]), stout * np.array([12.0, 12, 17, 17])))
    # The ball of the thumb, then the web to the second metacarpal.
    thumb = np.stack([hand.joints[0][0] - [6.0, 4.0], heads[0]])
    pieces.append(_circles(thumb, stout * np.array([15.0, 12.0])))
    web = np.stack([hand.joints[0][0], 0.6 * heads[0] + 0.4 * hand.joints[0][0], heads[1]])
    pieces.append(_circles(web + np.array([[0, 0], [0, 0], [0, -16.0]]), np.array([9.0, 9, 9])))
    return pieces


def flesh_attenuation(hand: Hand, matrix: np.ndarray, size_px: int) -> np.ndarray:
    """Returns the attenuation [size_px, size_px] float32 of soft tissue alone."""
    mask: np.ndarray = np.zeros((size_px, size_px), np.uint8)
    for piece in _flesh_pieces(hand):
        hull = cv2.convexHull(to_film(piece, matrix, size_px).astype(np.float32))
        _fill(mask, hull, 255)
    # Blurring and cutting at one half rounds the corners between fingers and palm.
    mask = cv2.blur(mask, (size_px // 40 | 1,) * 2)
    mask = cv2.blur(mask, (size_px // 40 | 1,) * 2)
    mask = cv2.threshold(mask, 127, 255, cv2.THRESH_BINARY)[1]
    depth = cv2.distanceTransform(mask, cv2.DIST_L2, 3)
    # A finger is round: its thickness rises as a half circle from its edge. The palm is flat.
    depth = np.minimum(depth / (_FLESH_EDGE * size_px), 1.0)
    thickness = np.sqrt(depth * (2.0 - depth))
    # Thickness also grows towards the middle of the palm and into the forearm.
    small = cv2.resize(mask, (32, 32), interpolation=cv2.INTER_AREA)
    bulk = cv2.resize(cv2.blur(small, (7, 7)), (size_px, size_px), interpolation=cv2.INTER_LINEAR)
    return FLESH_ATTENUATION * thickness * (0.4 + 0.6 / 255 * bulk.astype(np.float32))


def _add_borders(grey: np.ndarray, film: Film) -> None:
    size = grey.shape[0]
    left, top, right, bottom = np.rint(film.borders * size).astype(int)
    grey[:, :left] = film.border_level
    grey[:top] = film.border_level
    grey[:, size - right :] = film.border_level
    grey[size - bottom :] = film.border_level


def _add_marker(grey: np.ndarray, film: Film) -> None:
    """Draws an L, for left; lead, so white."""
    size = grey.shape[0]
    height = film.marker_size * size
    stroke = 0.2 * height
    foot = 0.65 * height
    outline = np.array(
        [(0, 0), (foot, 0), (foot, -stroke), (stroke, -stroke), (stroke, -height), (0, -height)]
    )
    stencil = np.zeros(grey.shape, np.uint8)
    _fill(stencil, outline + film.marker_at * size, 255)
    np.maximum(grey, stencil.astype(np.float32) * (0.95 / 255), out=grey)


def expose(attenuation: np.ndarray, film: Film, rng: np.random.Generator) -> np.ndarray:
    """Turns attenuation into a film.

    Args:
        attenuation: [S, S] float32, at `SUPERSAMPLING` times the size of the image.
        film: how it was taken.
        rng: source of the noise.

    Returns:
        [H, W] uint8 with H = W = S / `SUPERSAMPLING`; bone is bright.
    """
    size = attenuation.shape[0] // SUPERSAMPLING
    sigma = film.blur * attenuation.shape[0]
    blurred = cv2.GaussianBlur(attenuation, (0, 0), max(sigma, 0.3))
    image = cv2.resize(blurred, (size, size), interpolation=cv2.INTER_AREA)
    beam = np.exp(-1.1 * image)
    ramp = np.linspace(-0.5, 0.5, size, dtype=np.float32)
    heel = 1.0 + film.heel[0] * ramp[None, :] + film.heel[1] * ramp[:, None]
    grey = film.background * heel + film.contrast * ((1.0 - beam) / 0.75) ** film.gamma
    grey = grey.astype(np.float32)
    # Fewer quanta pass where more is absorbed, so noise grows there.
    noise = rng.standard_normal(image.shape, dtype=np.float32)
    grey += film.noise * np.sqrt(1.0 / (beam + 0.1)) * noise
    if film.marker:
        _add_marker(grey, film)
    _add_borders(grey, film)
    return np.rint(255.0 * np.clip(grey, 0.0, 1.0)).astype(np.uint8)


def project(
    age_months: float, child: Child, film: Film, size_px: int
) -> tuple[Hand, np.ndarray, np.ndarray]:
    """Places a child's hand under the beam.

    Args:
        age_months: bone age in months.
        child: the child.
        film: how the film is taken.
        size_px: height and width of the attenuation.

    Returns:
        The hand, the [2, 3] map from its millimetres to fractions of the image, and the attenuation
        [size_px, size_px] float32.
    """
    hand = grow_hand(age_months, child)
    matrix = film_matrix(film, film_scale(age_months, child))
    attenuation = flesh_attenuation(hand, matrix, size_px)
    attenuation += bone_attenuation(list(hand.bones.values()), matrix, size_px)
    return hand, matrix, attenuation


def draw_hand(
    age_months: float, sex: int, rng: np.random.Generator, size_px: int = 128
) -> np.ndarray:
    """Draws a radiograph of a left hand.

    Args:
        age_months: bone age in months.
        sex: `schema.FEMALE` or `schema.MALE`.
        rng: source of everything random: the child, the film and its noise. The same state gives
            the same child on the same film at any age.
        size_px: height and width of the image.

    Returns:
        [size_px, size_px] uint8; bone is bright.
    """
    child = sample_child(sex, rng)
    film = sample_film(rng)
    _, _, attenuation = project(age_months, child, film, SUPERSAMPLING * size_px)
    return expose(attenuation, film, rng)
