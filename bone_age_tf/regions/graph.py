"""The hand and its frame as TensorFlow graph operations, as `regions.frame` finds them.

The operations do the same as `regions.frame` and `regions.views`; tests compare the two.
"""

import functools
import math
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from bone_age_tf import schema
from bone_age_tf.images import graph_reading
from bone_age_tf.reasons import LEAST_TILT, TILT_STEP
from bone_age_tf.regions import frame, proportions
from bone_age_tf.regions.graph_views import block_means, warp
from bone_age_tf.tensors import Tensor

NO_FRAME, FRAMED, MIRRORED, WHOLE = range(4)
"""Outcomes of `fit_image`: a model without frames; the hand in its frame, as it is or mirrored; the
whole radiograph, the hand being doubtful."""

_TURN = np.array([[0.0, 1.0], [-1.0, 0.0]])
_WHOLE_VIEWS = np.stack(
    [
        np.linalg.matrix_power(_TURN, quarters) @ np.diag([mirror, 1.0])
        for quarters in frame.QUARTERS
        for mirror in (1.0, -1.0)
    ]
).astype(np.float32)
"""[8, 2, 2] the linear parts of the first looks: each quarter turn, as it is and mirrored."""


def _places(*names: str) -> list[int]:
    return [schema.REGIONS.index(name) for name in names]


_COUNT = len(schema.REGIONS)
_WRIST, _MCP3 = _places("wrist", "MCP3")
_LENGTHS = _places(*proportions.LENGTH_LIMITS)
_BEFORE = [
    _COUNT  # the origin
    if name.startswith("MCP")
    else schema.REGIONS.index(proportions.JOINT_BEFORE[name[:-1]] + name[-1])
    for name in proportions.LENGTH_LIMITS
]
_LENGTH_LIMITS = np.array(list(proportions.LENGTH_LIMITS.values()), np.float32)
_ACROSS = [
    _places(*(f"{joint}{finger}" for finger in proportions.FINGERS))
    for joint in proportions.GAP_LIMITS
]
_GAP_LIMITS = np.array(list(proportions.GAP_LIMITS.values()), np.float32)[:, np.newaxis]
_JUDGED = (
    *proportions.LENGTH_LIMITS,
    *(
        f"{finger}{finger + 1}"
        for _ in proportions.GAP_LIMITS
        for finger in proportions.FINGERS[:-1]
    ),
    *map(str, proportions.FINGERS),
    *("12", "radius and ulna", "palm"),
)
_WITHOUT_DIGIT = np.array(
    [[float(str(digit) not in name) for name in _JUDGED] for digit in range(1, 6)], np.float32
)
"""[5, 29] 1 for each of `find_impossible` that does not concern a digit, 0 for others."""
_NOT_JUDGED = np.array(
    [
        [float(place not in proportions.FINGER_JOINTS or place in lost) for place in range(_COUNT)]
        for _, *lost in proportions.DIGIT_JOINTS
    ],
    np.float32,
)
"""[5, 17] 1 for the joints that a digit can have lost and for no joints of digits, else 0."""
_KNUCKLES, _MIDDLES, _LAST = (
    _places(*(f"{joint}{finger}" for finger in proportions.FINGERS))
    for joint in ("MCP", "PIP", "DIP")
)


def find_hand(image: tf.Tensor, network: keras.Model) -> dict[str, tf.Tensor]:
    """Finds the hand as `frame.find_hand` does.

    Args:
        image: [H, W, 1] float32, 0 to 255, with bright bones.
        network: the region detector, see `regions.network`, of images that are padded to squares.

    Returns:
        `places` [17, 2] float32, (x, y) of the middles of `schema.REGIONS` in pixels; `mirrored`, a
        bool; `doubt`, a float32; `cut` and `lacks_digit`, bools, see `frame.Hand`.
    """
    shape = tf.shape(image)[:2]
    most = frame.SEARCH * network.input_shape[1]
    block = tf.maximum(1, tf.minimum(tf.reduce_max(shape) // most, tf.reduce_min(shape)))
    small = block_means(image[..., 0], block)
    places, mirrored, _ = _search(small, network)
    places, scores = _last_look(small, places, mirrored, network)
    doubt, lacks = measure_doubt(places, scores, mirrored)
    small_shape = tf.cast(tf.shape(small), tf.float32)
    cut = lies_beyond(places, mirrored, small_shape[::-1])
    return {
        "places": places * tf.cast(block, tf.float32),
        "mirrored": mirrored,
        "doubt": doubt,
        "cut": cut,
        "lacks_digit": lacks,
    }


def framed(image: tf.Tensor, hand: dict[str, tf.Tensor], size_px: int) -> tf.Tensor:
    """Returns the hand [size_px, size_px, 1] float32 in its frame, however doubtful it is.

    Args:
        image: [H, W, 1] float32, 0 to 255.
        hand: from `find_hand`.
        size_px: side of the frame in pixels.
    """
    view = frame_view(hand["places"], hand["mirrored"], schema.FRAME_MARGIN)
    return warp(image[..., 0], view, size_px)[..., tf.newaxis]


def fit_image(
    image: tf.Tensor,
    size_px: int,
    mode: str,
    network: keras.Model | None,
    hand: dict[str, tf.Tensor] | None = None,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Brings an image to a model's input, as `Reader.fit_image` does.

    Args:
        image: [H, W, 1], 0 to 255; with bright bones, float32, for `schema.FRAME`.
        size_px: side of the input in pixels.
        mode: one of `schema.INPUT_MODES`.
        network: the region detector, for `schema.FRAME`.
        hand: the hand in that image; None to find it.

    Returns:
        [size_px, size_px, 1] float32, 0 to 255; and `framing`, an int32, `NO_FRAME` to `WHOLE`, and
        `tilt`, an int32, the rotation into the frame in steps of `TILT_STEP` degrees, clockwise, 0
        for one below `LEAST_TILT`.
    """
    if mode != schema.FRAME:
        fitted = graph_reading.resize(image, size_px, mode)
        return fitted, {"framing": tf.constant(NO_FRAME), "tilt": tf.constant(0)}
    assert network is not None
    hand = find_hand(image, network) if hand is None else hand
    certain = is_certain(hand)
    fitted = tf.cond(
        certain,
        lambda: framed(image, hand, size_px),
        lambda: graph_reading.resize(image, size_px, "pad"),
    )
    across = upright(hand["places"], tf.constant(False))[0]
    degrees = tf.atan2(-across[1], across[0]) * (180 / math.pi)
    steps = tf.cast(tf.round(degrees / TILT_STEP), tf.int32)
    tilt = tf.where(certain & (tf.abs(degrees) >= LEAST_TILT), steps, 0)
    framing = tf.where(certain, tf.where(hand["mirrored"], MIRRORED, FRAMED), WHOLE)
    return fitted, {"framing": framing, "tilt": tilt}


def is_certain(hand: dict[str, tf.Tensor]) -> tf.Tensor:
    """Returns whether the frame of a hand from `find_hand` should be used."""
    return hand["doubt"] <= frame.DOUBT_LIMIT


def _search(image: tf.Tensor, network: keras.Model) -> tuple[Tensor, ...]:
    """Returns places, mirrored and doubt of the hand, as `frame.find_hand` searches it."""
    sides = tf.cast(tf.shape(image)[::-1], tf.float32)

    def whole_look(number: Tensor) -> tuple[Tensor, Tensor]:
        linear = tf.gather(tf.constant(_WHOLE_VIEWS), number) / tf.reduce_max(sides)
        offset = 0.5 - tf.linalg.matvec(linear, sides / 2)
        view = tf.concat([linear, offset[:, tf.newaxis]], axis=1)
        places, _, doubt = _look(image, view, number % 2 == 1, network)
        return places, doubt

    def both_looks(number: Tensor) -> tuple[Tensor, Tensor]:
        (first, doubt), (second, other_doubt) = whole_look(number), whole_look(number + 1)
        return tf.stack([first, second]), tf.stack([doubt, other_doubt])

    def goes_on(number: Tensor, best_doubt: Tensor, *_: Any) -> Tensor:
        is_done = (number % 2 == 0) & (best_doubt <= frame.DOUBT_LIMIT)
        return (number < len(_WHOLE_VIEWS)) & (best_doubt > frame.SURE) & ~is_done

    def look(
        number: Tensor, doubt: Tensor, places: Tensor, mirrored: Tensor, looks: Any, doubts: Tensor
    ) -> tuple[Tensor, ...]:
        looks, doubts = tf.cond(
            number % 2 == 0, lambda: both_looks(number), lambda: (looks, doubts)
        )
        first = tf.argmin(doubts, output_type=tf.int32)
        which = tf.where(number % 2 == 0, first, 1 - first)
        least = tf.minimum(tf.reduce_min(doubts), doubt)
        is_far = doubts[which] > least + frame.MORE_DOUBT
        closer, closer_doubt = tf.cond(
            is_far,
            lambda: (places, tf.constant(2.0)),
            lambda: _closer(image, tf.gather(looks, which), which == 1, network),
        )
        better = closer_doubt < doubt
        places = tf.where(better, closer, places)
        mirrored = tf.where(better, which == 1, mirrored)
        return number + 1, tf.minimum(doubt, closer_doubt), places, mirrored, looks, doubts

    none = tf.zeros([_COUNT, 2])
    hand = (tf.constant(2.0), none, tf.constant(False))
    start = (tf.constant(0), *hand, tf.stack([none, none]), tf.zeros([2]))
    _, doubt, places, mirrored, _, _ = tf.while_loop(goes_on, look, start, parallel_iterations=1)
    return places, mirrored, doubt


def _closer(
    image: tf.Tensor, places: tf.Tensor, mirrored: tf.Tensor, network: keras.Model
) -> tuple[Tensor, Tensor]:
    """Returns places and doubt of the least doubtful of several closer looks."""

    def goes_on(number: Tensor, is_settled: Tensor, *_: Any) -> Tensor:
        return (number < frame.CLOSER_LOOKS) & ~is_settled

    def look(
        number: Tensor, _: Tensor, last: Tensor, best: Tensor, best_doubt: Tensor
    ) -> tuple[Tensor, ...]:
        found, _, doubt = _look(image, _view_around(last, mirrored), mirrored, network)
        moved = tf.reduce_max(tf.abs(found - last))
        best = tf.where(doubt < best_doubt, found, best)
        is_settled = moved <= frame.SETTLED * palm_length(found)
        return number + 1, is_settled, found, best, tf.minimum(doubt, best_doubt)

    start = (tf.constant(0), tf.constant(False), places, places, tf.constant(2.0))
    *_, best, doubt = tf.while_loop(goes_on, look, start, parallel_iterations=1)
    return best, doubt


def _last_look(
    image: tf.Tensor, places: tf.Tensor, mirrored: tf.Tensor, network: keras.Model
) -> tuple[Tensor, Tensor]:
    """Returns the mean places and scores of the last looks."""
    view = _view_around(places, mirrored)
    looks = [
        _look(image, view + tf.constant([[0.0, 0.0, shift]] * 2), mirrored, network)
        for shift in frame.LAST_SHIFTS
    ]
    places, scores = (tf.reduce_mean(tf.stack([look[i] for look in looks]), 0) for i in (0, 1))
    return places, scores


def _view_around(places: tf.Tensor, mirrored: tf.Tensor) -> tf.Tensor:
    return frame_view(places, mirrored, schema.VIEW_BORDER)


def _look(
    image: tf.Tensor, view: tf.Tensor, mirrored: tf.Tensor, network: keras.Model
) -> tuple[Tensor, ...]:
    """Returns places [17, 2], scores [17] and doubt of what is found in a view of [H, W]."""
    return _traced_look(network)(image, view, mirrored)


@functools.cache
def _traced_look(network: keras.Model) -> Callable[..., tuple[Tensor, ...]]:
    """Returns `_look` as a function that is traced once, though a search calls it four times."""

    def look(image: tf.Tensor, view: tf.Tensor, mirrored: tf.Tensor) -> tuple[Tensor, ...]:
        seen = warp(image, view, network.input_shape[1])
        found = network(seen[tf.newaxis, ..., tf.newaxis], training=False)
        boxes = found[schema.REGION_BOXES][0]
        centres = ((boxes[:, :2] + boxes[:, 2:]) / 2)[:, ::-1]
        back = tf.linalg.inv(view[:, :2])
        places = tf.matmul(centres - view[:, 2], back, transpose_b=True)
        scores = found[schema.REGION_SCORES][0]
        return places, scores, measure_doubt(places, scores, mirrored)[0]

    signature = [
        tf.TensorSpec([None, None], tf.float32),
        tf.TensorSpec([2, 3], tf.float32),
        tf.TensorSpec([], tf.bool),
    ]
    return tf.function(look, input_signature=signature, autograph=False)


def palm_length(places: tf.Tensor) -> tf.Tensor:
    """Returns `proportions.palm_length` of places [17, 2]."""
    return tf.norm(places[_MCP3] - places[_WRIST])


def lies_beyond(places: tf.Tensor, mirrored: tf.Tensor, size: tf.Tensor) -> tf.Tensor:
    """Returns `frame.lies_beyond` of places [17, 2] in an image of a width and height [2]."""
    down = upright(places, mirrored)[1] * frame.BELOW_WRIST * palm_length(places)
    points = tf.concat([places, tf.gather(places, _places("radius", "ulna")) + down], axis=0)
    return tf.reduce_any((points < 0.0) | (points > size))


def upright(places: tf.Tensor, mirrored: tf.Tensor) -> tf.Tensor:
    """Returns `proportions.upright` [2, 2] of places [17, 2]."""
    palm = places[_MCP3] - places[_WRIST]
    length = tf.norm(palm)
    up = tf.where(length > 0, palm / length, [0.0, -1.0])
    across = tf.stack([-up[1], up[0]]) * tf.where(mirrored, -1.0, 1.0)
    return tf.stack([across, -up])


def frame_view(places: tf.Tensor, mirrored: tf.Tensor, border: float) -> tf.Tensor:
    """Returns `frame.frame_view` [2, 3] of places [17, 2], of an aspect of 1."""
    linear = upright(places, mirrored)
    own = tf.matmul(places, linear, transpose_b=True)
    palm = palm_length(places)
    beyond = 2.0 * tf.gather(own, _LAST) - tf.gather(own, _MIDDLES)
    pip1, mcp1, radius, ulna = (own[place] for place in _places("PIP1", "MCP1", "radius", "ulna"))
    tips = tf.concat([beyond, (2.0 * pip1 - mcp1)[tf.newaxis]], axis=0)
    across = tf.concat([own, tips], axis=0)[:, 0]
    left, right = tf.reduce_min(across) - 0.13 * palm, tf.reduce_max(across) + 0.13 * palm
    top, bottom = tf.reduce_min(tips[:, 1]), tf.maximum(radius[1], ulna[1]) + 0.28 * palm
    side = tf.maximum(tf.maximum(bottom - top, right - left), 1e-6) / (1.0 - 2.0 * border)
    corner = tf.stack([(left + right) / 2, (top + bottom) / 2]) - side / 2
    return tf.concat([linear, -corner[:, tf.newaxis]], axis=1) / side


def measure_doubt(
    places: tf.Tensor, scores: tf.Tensor, mirrored: tf.Tensor
) -> tuple[Tensor, Tensor]:
    """Returns `frame.measure_doubt` and `frame.lacks_digit` of places [17, 2] and scores [17]."""
    wrong = find_impossible(places, mirrored)
    lowest = tf.reduce_min(tf.gather(scores, proportions.FINGER_JOINTS))
    whole = _doubt(lowest, tf.reduce_sum(wrong))
    lowest = tf.reduce_min(scores + _NOT_JUDGED, axis=1)
    rest = tf.reduce_min(_doubt(lowest, tf.linalg.matvec(_WITHOUT_DIGIT, wrong)))
    lacking = frame.LACKING_DOUBT + (1.0 - frame.LACKING_DOUBT) * rest
    is_lower = 1.0 - whole <= frame.LACKING_SHARE * (1.0 - rest)
    lacks = (whole > frame.LACKING_LEAST) & (rest <= frame.LACKING_LIMIT) & is_lower
    return tf.minimum(whole, lacking), lacks


def _doubt(lowest: tf.Tensor, wrong: tf.Tensor) -> tf.Tensor:
    return tf.clip_by_value(1.0 - lowest + frame.DOUBT_OF_GEOMETRY * wrong, 0.0, 1.0)


def find_impossible(places: tf.Tensor, mirrored: tf.Tensor) -> tf.Tensor:
    """Returns float32 [29], 1 for each that `proportions.impossible_proportions` names, else 0."""
    linear = upright(places, mirrored)
    own = tf.matmul(places - places[_WRIST], linear, transpose_b=True) / palm_length(places)
    with_origin = tf.concat([own, tf.zeros([1, 2])], axis=0)
    lengths = tf.norm(tf.gather(own, _LENGTHS) - tf.gather(with_origin, _BEFORE), axis=1)
    across = tf.gather(own[:, 0], _ACROSS)
    gaps = across[:, :-1] - across[:, 1:]
    knuckles, middles, last = (tf.gather(own, some) for some in (_KNUCKLES, _MIDDLES, _LAST))
    first, second = middles - knuckles, last - middles
    product = tf.maximum(1e-9, tf.norm(first, axis=1) * tf.norm(second, axis=1))
    cosine = tf.reduce_sum(first * second, axis=1) / product
    bent = cosine < math.cos(math.radians(proportions.MOST_BENT_DEGREES))
    mcp1, mcp2, radius, ulna = (own[one] for one in _places("MCP1", "MCP2", "radius", "ulna"))
    wrong = [
        _outside(lengths, _LENGTH_LIMITS[:, 0], _LENGTH_LIMITS[:, 1]),
        tf.reshape(_outside(gaps, _GAP_LIMITS[..., 0], _GAP_LIMITS[..., 1]), [-1]),
        bent | (first[:, 1] > 0),
        [mcp1[0] < mcp2[0]],
        [(radius[0] < ulna[0]) | (tf.minimum(radius[1], ulna[1]) < 0.1)],
    ]
    is_finite = tf.reduce_all(tf.math.is_finite(own))
    flags = tf.concat(
        [*(tf.logical_and(group, is_finite) for group in wrong), [~is_finite]], axis=0
    )
    return tf.cast(flags, tf.float32)


def _outside(values: tf.Tensor, low: np.ndarray, high: np.ndarray) -> tf.Tensor:
    return ~((values >= low) & (values <= high))
