"""Hands in any position, frame and company with the boxes of their regions, for the detector.

NumPy and OpenCV only; every random choice comes from the given generator.
"""

from typing import Any, Final

import cv2
import numpy as np

from bone_age_tf import schema
from bone_age_tf.images import resizing
from bone_age_tf.quality.samples import exposed
from bone_age_tf.regions import frame, proportions, views
from bone_age_tf.regions.boxes import RegionImages

MIRRORED_SHARE: Final = 0.15
"""Samples that show a right hand, in which no region is to be found."""
CUT_SHARE: Final = 0.4
"""Samples that show the upright, cut hand of the second pass."""
_ANY_ANGLE_SHARE: Final = 0.65
_LEAN_DEGREES, _CUT_LEAN_DEGREES = 18.0, 9.0
_HEIGHT: Final = (0.28, 1.0)
"""Height of the hand on a whole radiograph, as a fraction of the square."""
_COMPANY_SHARE, _CAPTION_SHARE, _EDGE_SHARE = 0.06, 0.35, 0.35
SHORTENED_SHARE: Final = 0.25
"""Samples in which one or two digits end early, a third of them beyond the last joint."""
_FAINT_SHARE, _DARK_SHARE, _PHOTOGRAPH_SHARE = 0.12, 0.12, 0.12
_KEPT_AREA: Final = 0.5
"""A region with less of its area on the image counts as not seen."""
_FINER: Final = 2


def make_region_samples(
    hands: RegionImages, places: np.ndarray, random: np.random.Generator, size_px: int
) -> tuple[np.ndarray, np.ndarray]:
    """Draws one sample from each chosen image.

    Args:
        hands: left hands on padded squares.
        places: [B] which of them.
        random: of every choice.
        size_px: side of the samples in pixels.

    Returns:
        Images [B, S, S, 1] float32, 0 to 255, and [B, 17, 5] float32: boxes, fractions within the
        image, NaN where a region is not on it, and of all regions of a right hand; and 1 where the
        region is shown, 0 where it is gone, so that its box is where it was.
    """
    images, truths = [], []
    for place in places:
        view = draw_view(hands.boxes[place], random)
        image, boxes, is_shown = (
            hands.images[place],
            hands.boxes[place],
            np.ones(len(schema.REGIONS)),
        )
        if random.random() < SHORTENED_SHARE:
            for digit in random.permutation(5)[: 1 + (random.random() < 0.2)]:
                image, gone = shortened(image, boxes, list(proportions.DIGIT_JOINTS[digit]), random)
                is_shown[gone] = 0.0
        radiograph = draw_sample(image, boxes, view, size_px, random)
        if random.random() < _COMPANY_SHARE:
            radiograph = _with_company(radiograph, hands, view, random)
        images.append(_other_exposure(radiograph, random))
        found = on_film(views.moved_boxes(boxes.astype(np.float64), view))
        found = np.full_like(found, np.nan) if np.linalg.det(view[:, :2]) < 0 else found
        truths.append(np.concatenate([found, is_shown[:, None]], axis=1))
    return np.stack(images)[..., None].astype(np.float32), np.stack(truths).astype(np.float32)


def draw_view(boxes: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Returns a transform [2, 3] from fractions (x, y) of an image to those of a sample.

    Args:
        boxes: [17, 4] of the hand, fractions of the image; NaN where a region is not there.
        random: of every choice.
    """
    centres = (boxes[:, :2] + boxes[:, 2:])[:, ::-1].astype(np.float64) / 2
    if not np.isfinite(centres).all():  # a hand that the image cuts off
        upright = np.eye(2, 3)
    else:
        upright = frame.frame_view(centres, border=schema.VIEW_BORDER)
    if random.random() < CUT_SHARE:
        angle, zoom = random.normal(0, _CUT_LEAN_DEGREES), np.exp(random.normal(0, 0.1))
        shift = random.normal(0, 0.04, 2)
    else:
        any_angle = random.random() < _ANY_ANGLE_SHARE
        angle = random.uniform(-180, 180) if any_angle else random.normal(0, _LEAN_DEGREES)
        zoom = np.exp(random.uniform(*np.log(_HEIGHT))) / (1 - 2 * schema.VIEW_BORDER)
        room = max(0.05, 0.5 * (1 - 0.85 * zoom * (1 - 2 * schema.VIEW_BORDER)))
        shift = random.uniform(-room, room, 2)
    turn = cv2.getRotationMatrix2D((0.5, 0.5), angle, zoom)
    turn[:, :2] += zoom * random.uniform(-0.09, 0.09, (2, 2))  # also narrower or sheared
    turn[:, 2] = 0.5 - turn[:, :2] @ [0.5, 0.5] + shift
    if random.random() < MIRRORED_SHARE:
        turn = np.array([[-1.0, 0.0, 1.0], [0.0, 1.0, 0.0]]) @ _square(turn)
    return turn @ _square(upright)


def _square(matrix: np.ndarray) -> np.ndarray:
    """Returns an affine transform [2, 3] as [3, 3]."""
    return np.concatenate([matrix, [[0.0, 0.0, 1.0]]])


def shortened(
    image: np.ndarray, boxes: np.ndarray, joints: list[int], random: np.random.Generator
) -> tuple[np.ndarray, list[int]]:
    """Ends a digit between two joints or within its last bone, as after an amputation.

    Args:
        image: [S, S] uint8.
        boxes: [17, 4] float32, fractions of the image; NaN where a region is not there.
        joints: one of `proportions.DIGIT_JOINTS`.
        random: of every choice.

    Returns:
        The image with background instead of the rest of the digit, and the joints that are gone;
        the image as it is where the digit is not complete.
    """
    side = len(image)
    places = side * (boxes[:, 1::-1] + boxes[:, :1:-1]).astype(np.float64) / 2
    points, palm = places[joints], proportions.palm_length(places)
    if not np.isfinite([*points.ravel(), palm]).all():
        return image, []
    tip = points[-1] + random.uniform(1.0, 1.5) * (points[-1] - points[-2])
    points = np.concatenate([points, [tip]])
    kept = int(random.integers(1, len(points)))
    wide = max(3, round(random.uniform(0.2, 0.36) * palm))
    bone = points[kept] - points[kept - 1]
    away = wide / 2 + random.uniform(0.05, 0.15) * palm  # the end of a thick line is round
    start = points[kept - 1] + away * bone / max(1.0, float(np.hypot(*bone)))
    mask = np.zeros(image.shape, np.uint8)
    line = np.concatenate([[start], points[kept:]]).round().astype(np.int32)
    cv2.polylines(mask, [line], False, (255,), wide)
    soft = cv2.GaussianBlur(mask, (0, 0), random.uniform(0.4, 2.0)).astype(np.float32) / 255
    exposed_greys = image[image > 4]
    ground = np.percentile(exposed_greys, random.uniform(1, 12)) if exposed_greys.size else 0.0
    grain = random.normal(0, random.uniform(0, 3), image.shape)
    return resizing.to_uint8(image * (1 - soft) + (ground + grain) * soft), joints[kept:]


def draw_sample(
    image: np.ndarray,
    boxes: np.ndarray,
    view: np.ndarray,
    size_px: int,
    random: np.random.Generator,
) -> np.ndarray:
    """Returns [size_px, size_px] float32: the radiograph in a view, with what lies around it.

    Around it lies black, or the grey of a lit cassette or a viewer; sometimes with an edge, a
    narrower exposed field and captions. Sometimes the radiograph itself is faint or dark, or all
    of it is a photograph in uneven light.

    Args:
        image: [S, S] uint8.
        boxes: [17, 4] of its regions, fractions of the image; NaN where a region is not there.
        view: [2, 3] from fractions (x, y) of the image to those of the sample.
        size_px: side of the sample in pixels.
        random: of every choice.
    """
    corners = _field(image, boxes, random)
    side = _FINER * size_px
    at = (views.moved_points(corners, view) * side * 16).round().astype(np.int32)
    inside = np.zeros((side, side), np.uint8)
    cv2.fillConvexPoly(inside, at, 255, cv2.LINE_AA, 4)
    seen = _badly_exposed(warped(image, view, side).astype(np.float32), random)
    share = inside.astype(np.float32) / 255
    radiograph = resizing.to_uint8(share * seen + (1 - share) * _surroundings(image, side, random))
    if random.random() < _EDGE_SHARE:
        thick = int(random.integers(1, 4 * _FINER))
        grey = float(random.choice([255.0, 255.0, random.uniform(60, 255)]))
        cv2.polylines(radiograph, [at], True, (grey,), thick, cv2.LINE_AA, 4)
    if random.random() < _CAPTION_SHARE:
        _write_captions(radiograph, random)
    small = cv2.resize(radiograph, (size_px, size_px), interpolation=cv2.INTER_AREA)
    small = small.astype(np.float32)
    return _photographed(small, random) if random.random() < _PHOTOGRAPH_SHARE else small


def _badly_exposed(image: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Returns an image [S, S] float32 as it is, faint on a bright ground, or dark."""
    kind = random.random()
    if kind > _FAINT_SHARE + _DARK_SHARE or not (image > 4).any():
        return image
    # Many films use a fifth of the range only, except for a marker.
    image = np.minimum(image * (255.0 / np.percentile(image[image > 4], 98)), 255.0)
    if kind < _FAINT_SHARE:
        grain = random.normal(0, random.uniform(0, 4), image.shape)
        return random.uniform(0, 180) + random.uniform(0.12, 0.5) * image + grain
    black = np.percentile(image[image > 4], random.uniform(30, 80))  # soft tissue, or more
    return np.maximum(image - black, 0.0)


def _photographed(image: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Returns an image [S, S] float32 out of focus, in uneven light and with glare."""
    y, x = np.mgrid[0 : 1 : 1j * len(image), 0 : 1 : 1j * len(image)]
    light = random.uniform(0.6, 1.0) + 0.5 * (
        random.uniform(-1, 1) * (x - 0.5) + random.uniform(-1, 1) * (y - 0.5)
    )
    away = np.square(x - random.uniform()) + np.square(y - random.uniform())
    glare = random.uniform(0, 80) * np.exp(-away / random.uniform(0.003, 0.02))
    blurred = cv2.GaussianBlur(image, (0, 0), random.uniform(0.3, 0.8))
    return np.clip(blurred * light + glare + random.uniform(0, 30), 0, 255).astype(np.float32)


def warped(image: np.ndarray, view: np.ndarray, side_px: int) -> np.ndarray:
    """Returns an image [S, S] uint8 in a view of fractions, [side_px, side_px] uint8."""
    in_pixels = side_px * view
    in_pixels[:, :2] /= image.shape[0]
    in_pixels[:, 2] += 0.5 * in_pixels[:, :2].sum(axis=1) - 0.5
    return cv2.warpAffine(image, in_pixels, (side_px, side_px), flags=cv2.INTER_LINEAR)


def _field(image: np.ndarray, boxes: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Returns the corners [4, 2] (x, y) of the exposed field, fractions of the padded square."""
    rows, columns = (np.flatnonzero(image.max(axis=axis) > 4) for axis in (1, 0))
    size = len(image)
    low, high = np.zeros(2), np.ones(2)
    if len(rows) and len(columns):
        low = np.array([columns[0], rows[0]]) / size
        high = np.array([columns[-1] + 1, rows[-1] + 1]) / size
    if random.random() < 0.25:  # narrower, but around the hand
        ends = boxes[np.isfinite(boxes[:, 0])]
        margin = 0.12
        first = np.maximum(low, ends[:, 1::-1].min(axis=0) - margin)
        last = np.minimum(high, ends[:, :1:-1].max(axis=0) + margin)
        low = low + random.random(2) * np.maximum(first - low, 0)
        high = high - random.random(2) * np.maximum(high - last, 0)
    return np.array([low, (high[0], low[1]), high, (low[0], high[1])])


def _surroundings(image: np.ndarray, side: int, random: np.random.Generator) -> Any:
    """Returns what lies around the field, a grey or [side, side] float32."""
    kind = random.random()
    if kind < 0.45:
        return 0.0
    if kind < 0.65:
        return float(np.median(image[image > 4])) if (image > 4).any() else 0.0
    grey = random.uniform(20, 255)
    if kind < 0.85:
        return grey
    slope = random.uniform(-60, 60, 2)
    line = np.linspace(-0.5, 0.5, side, dtype=np.float32)
    return np.clip(grey + slope[0] * line[:, None] + slope[1] * line[None, :], 0, 255)


def _write_captions(radiograph: np.ndarray, random: np.random.Generator) -> None:
    """Writes letters, some on a plate, onto [S, S] uint8."""
    side = len(radiograph)
    letters = list("ABCDEFGHIKLLLLMNOPRRRSTUVW0123456789 .:/")
    for _ in range(int(random.integers(1, 4))):
        text = "".join(random.choice(letters, int(random.choice([1, 1, 2, 4, 12, 20]))))
        scale = random.uniform(0.3, 1.2) if len(text) > 2 else random.uniform(0.5, 2.0)
        size, low = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, 1)
        at = int(random.uniform(0, 0.9) * side), int(random.uniform(0.05, 1.0) * side)
        if random.random() < 0.5:
            end = at[0] + size[0] + 3, at[1] + low
            start = at[0] - 3, at[1] - size[1] - 3
            cv2.rectangle(radiograph, start, end, (float(random.uniform(0, 255)),), -1)
        ink = (float(random.uniform(120, 255)),)
        thick = int(random.integers(1, 4))
        cv2.putText(radiograph, text, at, cv2.FONT_HERSHEY_SIMPLEX, scale, ink, thick, cv2.LINE_AA)


def _with_company(
    radiograph: np.ndarray, hands: RegionImages, view: np.ndarray, random: np.random.Generator
) -> np.ndarray:
    """Returns a radiograph [S, S] with a piece of another radiograph beside the hand."""
    side = len(radiograph)
    other = hands.images[random.integers(len(hands))]
    turn = cv2.getRotationMatrix2D((0.5, 0.5), random.uniform(-180, 180), random.uniform(0.3, 0.8))
    angle = random.uniform(0, 2 * np.pi)
    turn[:, 2] = turn[:, 2] + 0.75 * np.array([np.cos(angle), np.sin(angle)])
    return np.maximum(radiograph, warped(other, turn, side).astype(np.float32))


def _other_exposure(radiograph: np.ndarray, random: np.random.Generator) -> np.ndarray:
    if random.random() < 0.12:  # burnt out, or nearly lost in the dark
        black, white = random.uniform(0, 40), random.uniform(110, 230)
        radiograph = np.clip((radiograph - black) * 255 / (white - black), 0, 255)
    radiograph = exposed(radiograph, random)
    if random.random() < 0.25:
        radiograph = 255.0 * np.power(radiograph / 255.0, np.exp(random.uniform(-0.6, 0.6)))
    return radiograph


def on_film(boxes: np.ndarray) -> np.ndarray:
    """Cuts boxes [R, 4] off at the image's edges; NaN where too little is left."""
    cut = np.clip(boxes, 0.0, 1.0)

    def area(rectangles: Any) -> Any:
        return np.prod(rectangles[:, 2:] - rectangles[:, :2], axis=1)

    with np.errstate(invalid="ignore"):
        is_visible = area(cut) >= _KEPT_AREA * area(boxes)
    return np.where(is_visible[:, None], cut, np.nan)


def as_inputs(images: np.ndarray, size_px: int | None = None) -> np.ndarray:
    """Returns squares [N, P, P] uint8 as the detector takes them, [N, S, S, 1] float32."""
    if size_px is not None and images.shape[1] != size_px:
        whole = [resizing.resize(image.astype(np.float32), size_px) for image in images]
        return np.stack(whole)[..., None]
    return images[..., None].astype(np.float32)
