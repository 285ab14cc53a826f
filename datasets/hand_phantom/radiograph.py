"""Projects a hand: attenuations of flesh and bones add up along the beam."""

import dataclasses
import itertools
from collections.abc import Sequence
from typing import Final

import cv2
import numpy as np

from .anatomy import FINGER_RADII_MM, Hand, film_scale, grow_hand, sample_child
from .bones import Bone
from .film import SUPERSAMPLING, Film, expose, film_matrix, sample_film

_SHIFT_BITS: Final = 4
_FIXED: Final = 1 << _SHIFT_BITS
_FLESH_EDGE: Final = 0.028  # of the image's height: about the radius of a finger
_CIRCLE: Final = np.stack(
    [f(np.linspace(0.0, 2.0 * np.pi, 16, endpoint=False)) for f in (np.cos, np.sin)], axis=-1
)


def to_film(points: np.ndarray, matrix: np.ndarray, size_px: int) -> np.ndarray:
    """Maps hand millimetres [N, 2] to pixels [N, 2], pixel centres at whole numbers."""
    return (points @ matrix[:, :2].T + matrix[:, 2]) * size_px - 0.5


def _fixed(points: np.ndarray) -> np.ndarray:
    return np.rint(points * _FIXED).astype(np.int32)


def _fill(canvas: np.ndarray, points: np.ndarray, level: int) -> None:
    cv2.fillPoly(canvas, [_fixed(points)], level, cv2.LINE_AA, _SHIFT_BITS)


def add_bone(canvas: np.ndarray, bone: Bone, matrix: np.ndarray) -> None:
    """Adds a bone to a square canvas, compact bone of relative thickness 1 as 1.

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
    weight = bone.thickness / 255
    canvas[low[1] : high[1], low[0] : high[0]] += weight * patch.astype(np.float32)


def bone_attenuation(bones: Sequence[Bone], matrix: np.ndarray, size_px: int) -> np.ndarray:
    """Returns [size_px, size_px] float32: all bones, compact bone of relative thickness 1 as 1."""
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
    elbow = np.array([[-24.0, -280.0], [22.0, -280.0]])
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


def flesh_attenuation(hand: Hand, matrix: np.ndarray, size_px: int, film: Film) -> np.ndarray:
    """Returns [size_px, size_px] float32: soft tissue alone, the middle of the palm as 1."""
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
    bulk = bulk.astype(np.float32) / 255
    bulk = film.fingers + (1.0 - film.fingers) * bulk**film.bulk
    return thickness * bulk * _forearm(matrix, size_px)


def _forearm(matrix: np.ndarray, size_px: int) -> np.ndarray:
    """Returns factors [size_px, size_px] float32: thickness grows from the wrist to the elbow."""
    up = np.linalg.inv(matrix[:, :2])[1] / size_px  # hand millimetres upwards per pixel in x and y
    offset = float(np.linalg.inv(matrix[:, :2])[1] @ matrix[:, 2])
    pixels = np.arange(size_px, dtype=np.float32)
    height = up[0] * pixels[None, :] + up[1] * pixels[:, None] - offset
    return (1.0 + 0.4 * np.clip((10.0 - height) / 70.0, 0.0, 1.0)).astype(np.float32)


@dataclasses.dataclass(frozen=True)
class Radiograph:
    """A radiograph with its ground truth.

    Attributes:
        image: [S, S] uint8; bone is bright unless the film is inverted.
        foreground: [S, S] uint8, 255 where the hand or forearm lies within the exposed field,
            otherwise 0.
        hand: the hand, in millimetres of the hand frame.
        matrix: [2, 3] from there to fractions (x, y) of the image; see `to_film`.
        film: how it was taken.
    """

    image: np.ndarray
    foreground: np.ndarray
    hand: Hand
    matrix: np.ndarray
    film: Film


def take_radiograph(
    age_months: float,
    sex: int,
    rng: np.random.Generator,
    size_px: int = 128,
    *,
    skeletal_age_months: float | None = None,
    hand_size_age_months: float | None = None,
    variety: float = 1.0,
) -> Radiograph:
    """Takes a radiograph of a new child's hand.

    Args:
        age_months: bone age in months.
        sex: `schema.FEMALE` or `schema.MALE`.
        rng: source of everything random: the child, the film and its noise. The same state gives
            the same child on the same film at any age.
        size_px: height and width of the image.
        skeletal_age_months: age at which the ossification centres are drawn, when it is not
            `age_months`.
        hand_size_age_months: age that sets size and build of the hand, when it is not
            `age_months`.
        variety: variation of films, postures and appearances: 1 as real ones, 0 none.
    """
    child = sample_child(sex, rng, variety)
    film = sample_film(rng, variety)
    skeletal = age_months if skeletal_age_months is None else skeletal_age_months
    build = age_months if hand_size_age_months is None else hand_size_age_months
    hand = grow_hand(skeletal, child, build)
    matrix = film_matrix(film, film_scale(build, child))
    canvas_px = SUPERSAMPLING * size_px
    flesh = flesh_attenuation(hand, matrix, canvas_px, film)
    bone = bone_attenuation(list(hand.bones.values()), matrix, canvas_px)
    bone *= hand.mineral * _spongy_texture(film, rng, size_px)
    image, field = expose(film.flesh * flesh + film.bone * bone, film, rng)
    body = cv2.resize(np.maximum(flesh, bone), (size_px, size_px), interpolation=cv2.INTER_AREA)
    foreground = np.where((body > 0.1) & (field > 127), 255, 0).astype(np.uint8)
    return Radiograph(image, foreground, hand, matrix, film)


def _spongy_texture(film: Film, rng: np.random.Generator, size_px: int) -> np.ndarray:
    """Returns factors [S, S] float32 about 1 at the size of the attenuation."""
    noise = rng.standard_normal((size_px, size_px), dtype=np.float32)
    canvas_px = SUPERSAMPLING * size_px
    finer = cv2.resize(noise, (canvas_px, canvas_px), interpolation=cv2.INTER_LINEAR)
    return 1.0 + film.trabeculae * finer
