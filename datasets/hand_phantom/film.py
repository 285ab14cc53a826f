"""The film: position of the hand, exposure, and everything on it except the hand."""

import dataclasses
import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

import cv2
import numpy as np

SUPERSAMPLING: Final = 2
"""Attenuation is drawn at this multiple of the image's size, then averaged down."""

MM_TO_HEIGHT: Final = 0.003
"""A millimetre of an average hand as a fraction of the image's height. With the mean stretch,
`CENTRE_MM` and `CENTRE` it puts the joints within .03 of their mean positions in the RSNA 2017
training images: y of the distal interphalangeal .235, proximal interphalangeal .343 and
metacarpophalangeal joints .468, radius (.514, .765) and ulna (.403, .776)."""

CENTRE_MM: Final = (0.0, 35.0)
CENTRE: Final = (0.487, 0.562)
"""Point of the hand that the film centres, and its mean position (x, y) on the image."""

STRETCH: Final = (1.05, 1.6)
"""Range of the horizontal stretch: films are taller than wide and the image is square."""
TURN_SD_DEG: Final = 12.0
MAX_TURN_DEG: Final = 40.0
SHIFT_SD: Final = 0.035
SCALE_SD: Final = 0.15
"""SDs of turn, shift (fraction of the image) and logarithm of the size; drawing values that cover
what 100 px copies of RSNA 2017 training images show, seen by eye."""

RIGHT_HAND_SHARE: Final = 0.05
INVERTED_SHARE: Final = 0.04
FRAMED_SHARE: Final = 0.3
DIM_SHARE: Final = 0.15
"""Shares of right hands, of films with dark bones, of exposed fields smaller than the image, and of
films that use a small part of the grey scale; drawing values."""


@dataclasses.dataclass(frozen=True)
class Field:
    """The exposed field on a larger film.

    Attributes:
        corners: [4, 2] (x, y) fractions of the image.
        outside: grey outside of it, 0 to 1.
        edge: grey of a line along its border; NaN for none.
    """

    corners: np.ndarray
    outside: float
    edge: float


@dataclasses.dataclass(frozen=True)
class Marker:
    """A lead marker.

    Attributes:
        at: [2] its middle (x, y), fractions of the image.
        size: height of its letter as a fraction of the image.
        turn_deg: its turn.
        initials: further letters below.
        plate: grey of the plate that carries it, NaN for none.
        round_plate: whether the plate is a disc.
    """

    at: np.ndarray
    size: float
    turn_deg: float
    initials: str
    plate: float
    round_plate: bool


@dataclasses.dataclass(frozen=True)
class Film:
    """Properties of a film. Sampled with `sample_film`.

    Attributes:
        right_hand: whether it shows a right hand, thumb on the left.
        inverted: whether bone is dark.
        turn_deg: turn of the hand in the image plane.
        stretch: horizontal stretch.
        scale: factor on the size of the hand.
        shift: [2] shift (x, y), fractions of the image.
        flesh: attenuation of the palm.
        fingers: thickness of the fingers' flesh relative to the palm's.
        bulk: power with which flesh thins towards its edges.
        bone: attenuation of a compact bone of relative thickness 1.
        background: grey of the film without an object, 0 to 1.
        contrast: span from there to complete attenuation, 0 to 1.
        gamma: exponent of the exposure curve.
        heel: [2] relative change of the exposure across the image, in x and y: the beam weakens
            towards the anode (heel effect).
        noise: SD of the quantum noise at full exposure, relative to the contrast.
        grain: SD in pixels of the noise's own blur.
        blur: SD of the unsharpness as a fraction of the image's height.
        sharpening: how much of the difference to a blurred copy the scanner adds.
        trabeculae: relative SD of the texture of spongy bone.
        field: the exposed field, or None when it fills the image.
        borders: [4] bright or dark margin at left, top, right, bottom, fractions of the image.
        border_level: grey of that margin.
        marker: the side marker, or None.
    """

    right_hand: bool
    inverted: bool
    turn_deg: float
    stretch: float
    scale: float
    shift: np.ndarray
    flesh: float
    fingers: float
    bulk: float
    bone: float
    background: float
    contrast: float
    gamma: float
    heel: np.ndarray
    noise: float
    grain: float
    blur: float
    sharpening: float
    trabeculae: float
    field: Field | None
    borders: np.ndarray
    border_level: float
    marker: Marker | None


def _sample_field(rng: np.random.Generator) -> Field:
    margins = np.array([0.01, 0.0, 0.01, 0.0]) + rng.uniform(0.0, 0.13, 4) * (rng.random(4) < 0.7)
    left, top, right, bottom = margins
    corners = np.array([(left, top), (1 - right, top), (1 - right, 1 - bottom), (left, 1 - bottom)])
    tilt = math.radians(6.0 * rng.standard_normal() * (rng.random() < 0.4))
    turn = np.array([[math.cos(tilt), math.sin(tilt)], [-math.sin(tilt), math.cos(tilt)]])
    edge = float(rng.choice([np.nan, 0.0, 0.4, 0.9], p=[0.55, 0.15, 0.2, 0.1]))
    outside = float(rng.choice([0.0, 0.12, 0.55], p=[0.75, 0.2, 0.05]))
    return Field((corners - 0.5) @ turn + 0.5, outside, edge)


def _sample_marker(rng: np.random.Generator) -> Marker:
    # Beside the wrist, below or above the thumb, or in a corner: where the hand leaves room.
    places = [(0.1, 0.1), (0.12, 0.5), (0.14, 0.75), (0.86, 0.82), (0.88, 0.12)]
    at = np.array(places[rng.choice(5, p=[0.3, 0.2, 0.25, 0.1, 0.15])])
    letters = "".join(rng.choice(list("ABCDEHJKMNPRSTW"), rng.integers(0, 4)))
    return Marker(
        at=at + 0.04 * rng.standard_normal(2),
        size=float(rng.uniform(0.045, 0.085)),
        turn_deg=float(rng.choice([0, 90, -90], p=[0.85, 0.08, 0.07]) + 10 * rng.standard_normal()),
        initials=letters,
        plate=float(rng.choice([np.nan, 0.02, 0.25, 0.7], p=[0.35, 0.3, 0.2, 0.15])),
        round_plate=bool(rng.random() < 0.2),
    )


def sample_film(rng: np.random.Generator, variety: float = 1.0) -> Film:
    """Returns a film. All properties are always drawn, so that a seed determines the film.

    Args:
        rng: source of everything random.
        variety: 1 for films as varied as real ones, 0 for no variation.
    """
    kinds = rng.random(6)
    kinds[:5] /= max(variety, 1e-9)
    field, marker = _sample_field(rng), _sample_marker(rng)
    background = float(rng.choice([0.05, 0.13, 0.25, 0.45], p=[0.6, 0.2, 0.12, 0.08]))
    background += float(rng.uniform(-0.05, 0.05))
    span = float(rng.uniform(0.08, 0.3) if kinds[2] < DIM_SHARE else rng.uniform(0.5, 1.0))
    dim = max(span, 0.3) if kinds[2] < DIM_SHARE else 1.0
    sides = rng.random(4) < 0.15 * variety
    sampled = Film(
        right_hand=bool(kinds[0] < RIGHT_HAND_SHARE),
        inverted=bool(kinds[1] < INVERTED_SHARE),
        turn_deg=float(np.clip(TURN_SD_DEG * rng.standard_normal(), -MAX_TURN_DEG, MAX_TURN_DEG)),
        stretch=float(rng.uniform(*STRETCH)),
        scale=float(np.exp(SCALE_SD * np.clip(rng.standard_normal(), -2, 1.5))),
        shift=SHIFT_SD * np.clip(rng.standard_normal(2), -2, 2),
        flesh=float(rng.uniform(0.4, 0.9)),
        fingers=float(rng.uniform(0.15, 0.5)),
        bulk=float(rng.uniform(0.6, 2.2)),
        bone=float(rng.uniform(0.22, 0.62)),
        background=background * dim,
        contrast=span * (1.0 - background),
        gamma=float(rng.uniform(0.8, 2.0)),
        heel=np.array([rng.uniform(-0.2, 0.2), rng.uniform(-0.15, 0.45)]),
        noise=float(rng.uniform(0.001, 0.016)),
        grain=float(rng.uniform(0.0, 0.8)),
        blur=float(rng.uniform(0.0008, 0.0035)),
        sharpening=float(rng.uniform(0.0, 0.8)) * float(kinds[3] < 0.5),
        trabeculae=float(rng.uniform(0.0, 0.12)),
        field=field if kinds[4] < FRAMED_SHARE else None,
        borders=sides * rng.uniform(0.005, 0.035, 4),
        border_level=float(rng.choice([0.0, 0.5, 0.9], p=[0.5, 0.2, 0.3])),
        marker=marker if kinds[5] < 0.85 else None,
    )
    return towards_plain(sampled, variety)


PLAIN: Final[Mapping[str, Any]] = MappingProxyType(
    {
        "turn_deg": 0.0, "stretch": 1.3, "scale": 1.0, "shift": np.zeros(2), "flesh": 0.6,
        "fingers": 0.3, "bulk": 1.2, "bone": 0.5, "background": 0.1, "contrast": 0.7, "gamma": 1.2,
        "heel": np.zeros(2), "noise": 0.004, "grain": 0.3, "blur": 0.002, "sharpening": 0.0,
        "trabeculae": 0.03,
    }
)  # fmt: skip
"""The film without variety."""


def towards_plain(film: Film, variety: float) -> Film:
    """Returns the film with its differences from a plain film scaled by the variety."""
    nearer: dict[str, Any] = {
        name: plain + variety * (getattr(film, name) - plain) for name, plain in PLAIN.items()
    }
    return dataclasses.replace(film, **nearer)


def film_matrix(film: Film, scale: float) -> np.ndarray:
    """Returns the [2, 3] affine map from hand millimetres to fractions (x, y) of the image.

    Args:
        film: the film.
        scale: size of the hand, from `film_scale`.
    """
    turn = math.radians(film.turn_deg)
    rotation = np.array([[math.cos(turn), math.sin(turn)], [math.sin(turn), -math.cos(turn)]])
    linear = MM_TO_HEIGHT * scale * film.scale * rotation
    linear[0] *= film.stretch
    offset = np.array(CENTRE) + film.shift - linear @ np.array(CENTRE_MM)
    matrix = np.concatenate([linear, offset[:, None]], axis=1)
    if film.right_hand:
        matrix[0] = -matrix[0]
        matrix[0, 2] += 1.0
    return matrix


def field_mask(film: Film, size_px: int) -> np.ndarray:
    """Returns [size_px, size_px] uint8, 255 where the film was exposed."""
    left, top, right, bottom = np.rint(film.borders * size_px).astype(int)
    mask: np.ndarray = np.zeros((size_px, size_px), np.uint8)
    mask[top : size_px - bottom, left : size_px - right] = 255
    if film.field is not None:
        exposed: np.ndarray = np.zeros((size_px, size_px), np.uint8)
        corners = np.rint(16 * (film.field.corners * size_px - 0.5)).astype(np.int32)
        cv2.fillPoly(exposed, [corners], 255, cv2.LINE_AA, 4)
        mask = cv2.min(mask, exposed)
    return mask


def _add_marker(grey: np.ndarray, marker: Marker, letter: str) -> None:
    """Draws a marker; lead, so white."""
    size = grey.shape[0]
    height = max(marker.size * size, 4.0)
    side = math.ceil(height * 3.2)
    plate: np.ndarray = np.zeros((side, side), np.uint8)
    text: np.ndarray = np.zeros((side, side), np.uint8)
    middle = side // 2
    if marker.round_plate:
        cv2.circle(plate, (middle, middle), round(0.95 * height), 255, -1, cv2.LINE_AA)
    else:
        low = round((1.35 if marker.initials else 0.75) * height)
        box = (middle - round(0.7 * height), middle - round(0.75 * height))
        cv2.rectangle(plate, box, (middle + round(0.7 * height), middle + low), 255, -1)
    rows = [(letter, 0.0, 1.0)]
    if marker.initials:
        rows.append((marker.initials, 0.85, 0.5))
    for row, below, share in rows:
        scale = height * share / 22.0  # the font's capitals are about 22 px tall at scale 1
        thickness = max(1, round(0.13 * height * share))
        width = cv2.getTextSize(row, cv2.FONT_HERSHEY_SIMPLEX, scale, thickness)[0][0]
        place = (middle - width // 2, middle + round((0.5 * share + below) * height))
        cv2.putText(text, row, place, cv2.FONT_HERSHEY_SIMPLEX, scale, 255, thickness, cv2.LINE_AA)
    turn = cv2.getRotationMatrix2D((middle, middle), marker.turn_deg, 1.0)
    turn[:, 2] += marker.at * size - middle
    stencil = cv2.warpAffine(text, turn, (size, size)).astype(np.float32) / 255
    if not math.isnan(marker.plate):
        cover = cv2.warpAffine(plate, turn, (size, size)).astype(np.float32) / 255
        grey += 0.8 * cover * (marker.plate - grey)
    # Thin strokes on small images are only partly covered, yet lead stops the beam.
    np.maximum(grey, 0.97 * np.minimum(1.5 * stencil, 1.0), out=grey)


def expose(
    attenuation: np.ndarray, film: Film, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Turns attenuation into a film.

    Args:
        attenuation: [S, S] float32, at `SUPERSAMPLING` times the size of the image.
        film: how it was taken.
        rng: source of the noise.

    Returns:
        The image, [H, W] uint8 with H = W = S / `SUPERSAMPLING`, and the exposed field, [H, W]
        uint8, 255 inside.
    """
    size = attenuation.shape[0] // SUPERSAMPLING
    image: np.ndarray = cv2.resize(attenuation, (size, size), interpolation=cv2.INTER_AREA)
    image = cv2.GaussianBlur(image, (0, 0), max(film.blur * size, 0.25))
    if film.sharpening:
        smooth = cv2.GaussianBlur(image, (0, 0), 0.012 * size + 0.5)
        image = image + film.sharpening * (image - smooth)
    beam = np.exp(-1.1 * np.maximum(image, 0.0))
    ramp = np.linspace(-0.5, 0.5, size, dtype=np.float32)
    heel = 1.0 + film.heel[0] * ramp[None, :] + film.heel[1] * ramp[:, None]
    grey = film.background + film.contrast * ((1.0 - beam) / 0.75) ** film.gamma
    grey = (grey * heel).astype(np.float32)
    # Fewer quanta pass where more is absorbed, so noise grows there.
    noise: np.ndarray = rng.standard_normal(image.shape, dtype=np.float32)
    if film.grain > 0.3:
        noise = cv2.GaussianBlur(noise, (0, 0), film.grain) * (1.0 + 2.0 * film.grain)
    grey += film.contrast * film.noise * np.sqrt(1.0 / (beam + 0.1)) * noise
    if film.inverted:
        grey = 1.0 - grey
    mask = field_mask(film, size)
    inside = mask.astype(np.float32) / 255
    outside = film.border_level
    if film.field is not None:
        outside = film.field.outside
        if not math.isnan(film.field.edge):
            line = cv2.morphologyEx(mask, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8))
            grey += line.astype(np.float32) / 255 * (film.field.edge - grey)
    grey = grey * inside + outside * (1.0 - inside)
    if film.marker is not None:
        _add_marker(grey, film.marker, "R" if film.right_hand else "L")
    return np.rint(255.0 * np.clip(grey, 0.0, 1.0)).astype(np.uint8), mask
