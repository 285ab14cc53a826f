"""The quality check as TensorFlow graph operations, from encoded files to the model's input.

The operations do the same as `bone_age_tf.quality.checker`; tests compare the two. A file that
cannot be decoded does not fail its batch: a tf.data pipeline inside the graph decodes the files and
skips those that raise an error, and a file that is missing at its end is reported as damaged. All
other operations are outside that pipeline, where TensorFlow optimises the graph once and not in
every call.
"""

from dataclasses import dataclass
from typing import Any

import keras
import tensorflow as tf

from bone_age_tf import schema
from bone_age_tf.images import encoded_header, graph_reading
from bone_age_tf.images.file_kinds import HEAD_BYTES, OTHER_KINDS
from bone_age_tf.images.resizing import PLAIN
from bone_age_tf.images.traced import traced_once
from bone_age_tf.reasons import (
    BRIGHT,
    LEAST_LEVELS,
    LEAST_RANGE,
    LEAST_SIDE_PX,
    LEVEL_SHARE,
    LEVELS_SIDE_PX,
    MOST_PIXELS,
    OF_KINDS,
    PAINTED_PERCENT,
    PERHAPS_TWO,
    RIM_PX,
    SURE_INVERTED,
    SURE_MIRRORED,
    SURE_TURNED,
    SURE_WHOLE,
    WIDE,
    Reason,
)
from bone_age_tf.regions.graph import FRAMED, find_hand, fit_image, is_certain
from bone_age_tf.tensors import Tensor

_AT_ONCE = 8
"""Maximum number of images of a batch that are processed in parallel."""


@dataclass(frozen=True)
class QualityCheck:
    """The trained network of the quality check.

    Attributes:
        network: the trained network, see `quality.network`.
        hand_threshold: probability of a whole hand below which an image is rejected.
        version: number of its export.
    """

    network: keras.Model
    hand_threshold: float
    version: int


def check_files(
    files: tf.Tensor,
    size_px: int,
    resize: str,
    quality_check: QualityCheck | None,
    detector: keras.Model | None = None,
) -> dict[str, tf.Tensor]:
    """Decodes, checks, corrects and resizes each file.

    Args:
        files: [B] string, PNG or JPEG files.
        size_px: side of the model's input image in pixels.
        resize: one of `schema.INPUT_MODES`.
        quality_check: the network of the quality check; None neither rejects nor corrects images.
        detector: the region detector, for `schema.FRAME`.

    Returns:
        `image` [B, size_px, size_px, 1] float32, 0 to 255, black for a file that cannot be read;
        `reason` [B] int32, codes of `Reason`; `pose` [B] int32, index in `schema.POSES` before
        the correction; `inverted` [B] bool, whether the bones were dark; `height` and `width` [B]
        int32, in pixels; `trimmed` [B] bool, whether margins are excluded from height and width;
        `wide` [B] bool, whether the margins were wide; `other` [B] int32, index in `OTHER_KINDS` of
        a file that is no PNG or JPEG, -1 if its type is unknown; `framing` [B] int32, 0 for images
        without a frame, else one of `regions.graph`, and `tilt` [B] int32, the rotation into the
        frame in steps of `TILT_STEP` degrees.
    """
    headers = tf.map_fn(encoded_header.read_header, files, fn_output_signature=_HEADER)
    pixels, decoded = _decode_files(files, headers)

    def check_case(case: Any) -> Tensor:
        image = _decoded_image(pixels, case)
        if quality_check is not None:
            return _check_image(image, size_px, resize, quality_check, detector)
        fitted, framing = fit_image(image, size_px, resize, detector)
        reason = tf.where(_is_reported(framing), int(Reason.CORRECTED), int(Reason.NONE))
        return _outcome(reason, fitted, framing)

    looks = tf.map_fn(
        check_case,
        headers | decoded,
        parallel_iterations=_AT_ONCE,
        fn_output_signature=_OUTCOME | {"image": tf.TensorSpec([size_px, size_px, 1], tf.float32)},
    )
    too_large = _is_too_large(headers)
    unread = tf.where(too_large, int(Reason.TOO_LARGE), int(Reason.DAMAGED))
    unread = tf.where(headers["kind"] == encoded_header.NO_IMAGE, int(Reason.NO_IMAGE), unread)
    unread = tf.where(tf.strings.length(files) > 0, unread, int(Reason.EMPTY_FILE))
    looks["reason"] = tf.where(decoded["size"] > 0, looks["reason"], unread)
    for side in ("height", "width"):
        looks[side] = tf.where(too_large, tf.cast(headers[side], tf.int32), looks[side])
    return looks | {"other": other_kind(files)}


def other_kind(files: tf.Tensor) -> tf.Tensor:
    """Returns the index in `OTHER_KINDS` of each file [B], -1 if its type is unknown."""
    heads = tf.strings.join([tf.strings.substr(files, 0, HEAD_BYTES), "\0" * HEAD_BYTES])
    kinds = tf.fill(tf.shape(files), -1)
    for number, (place, mark, _) in reversed(list(enumerate(OTHER_KINDS))):
        is_kind = tf.strings.substr(heads, place, len(mark)) == mark.encode("latin-1")
        kinds = tf.where(is_kind, number, kinds)
    return kinds


_HEADER = {
    "kind": tf.TensorSpec([], tf.int32),
    "height": tf.TensorSpec([], tf.int64),
    "width": tf.TensorSpec([], tf.int64),
    "white": tf.TensorSpec([], tf.float32),
    "orientation": tf.TensorSpec([], tf.int64),
}
_OUTCOME = {
    "reason": tf.TensorSpec([], tf.int32),
    "pose": tf.TensorSpec([], tf.int32),
    "inverted": tf.TensorSpec([], tf.bool),
    "height": tf.TensorSpec([], tf.int32),
    "width": tf.TensorSpec([], tf.int32),
    "trimmed": tf.TensorSpec([], tf.bool),
    "wide": tf.TensorSpec([], tf.bool),
    "framing": tf.TensorSpec([], tf.int32),
    "tilt": tf.TensorSpec([], tf.int32),
}


def _is_too_large(headers: dict[str, tf.Tensor]) -> tf.Tensor:
    return headers["height"] * headers["width"] > MOST_PIXELS


def _decode_files(
    files: tf.Tensor, headers: dict[str, tf.Tensor]
) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
    """Returns the decoded values of all images in one vector, and the location of each image.

    Each call builds the pipeline again, at a cost that grows with the number of its operations, so
    the pipeline decodes and does nothing else.

    Returns:
        The values [N] uint16; and for each file `start` [B] int64, `size` [B] int64 (0 for a file
        that cannot be decoded) and `shape` [B, 3] int32 (rows, columns, channels).
    """
    count = tf.shape(files)[0]
    kinds = tf.where(_is_too_large(headers), encoded_header.NO_IMAGE, headers["kind"])

    def decode(place: Tensor, data: Any, kind: Tensor) -> tuple[Any, ...]:
        image = graph_reading.decode_pixels(data, kind)
        return place, tf.reshape(image, [-1]), tf.shape(image)

    images = tf.data.Dataset.from_tensor_slices((tf.range(count), files, kinds))
    images = images.map(decode, num_parallel_calls=_AT_ONCE).ignore_errors()
    # An empty last element, so that there is a batch even if no file can be decoded.
    none = (count, tf.zeros([0], tf.uint16), tf.zeros([3], tf.int32))
    images = images.concatenate(tf.data.Dataset.from_tensors(none))
    images = images.ragged_batch(tf.cast(count, tf.int64) + 1).with_options(_plain_options())
    places, pixels, shapes = images.get_single_element()
    decoded = tf.size(places)
    rows = tf.tensor_scatter_nd_update(
        tf.repeat(decoded - 1, count + 1), places[:, tf.newaxis], tf.range(decoded)
    )[:-1]
    of_rows = {"start": pixels.row_starts(), "size": pixels.row_lengths(), "shape": shapes}
    return pixels.values, {name: tf.gather(values, rows) for name, values in of_rows.items()}


def _plain_options() -> tf.data.Options:
    """Returns options that turn off optimisations, which only long pipelines benefit from."""
    options = tf.data.Options()
    options.autotune.enabled = False
    options.experimental_optimization.apply_default_optimizations = False
    return options


def _decoded_image(pixels: tf.Tensor, case: dict[str, tf.Tensor]) -> tf.Tensor:
    """Returns one image [H, W, 1] in its EXIF orientation, or a black pixel if not decoded."""
    start, size = case["start"], case["size"]

    def decoded() -> Tensor:
        image = tf.reshape(pixels[start : start + size], case["shape"])
        grey = graph_reading.to_grey(image, case["kind"], case["white"])
        return encoded_header.turn_upright(grey, case["orientation"])

    return tf.cond(size > 0, decoded, lambda: tf.zeros([1, 1, 1]))


def _outcome(
    reason: Tensor,
    image: Tensor,
    framing: dict[str, Tensor],
    pose: Tensor = 0,
    inverted: Tensor = False,
    height: Tensor = 0,
    width: Tensor = 0,
    trimmed: Tensor = False,
    wide: Tensor = False,
) -> dict[str, Tensor]:
    return {
        "image": image,
        "reason": reason,
        "pose": tf.convert_to_tensor(pose, tf.int32),
        "inverted": tf.convert_to_tensor(inverted),
        "height": tf.convert_to_tensor(height, tf.int32),
        "width": tf.convert_to_tensor(width, tf.int32),
        "trimmed": tf.convert_to_tensor(trimmed),
        "wide": tf.convert_to_tensor(wide),
        **framing,
    }


def _is_reported(framing: dict[str, Tensor]) -> Tensor:
    """Returns whether the reason tells how the image was framed."""
    return (framing["framing"] > FRAMED) | (framing["tilt"] != 0)


def _check_image(
    whole: tf.Tensor,
    size_px: int,
    resize: str,
    quality_check: QualityCheck,
    detector: keras.Model | None,
) -> Tensor:
    """Checks, corrects and resizes one image; almost without branches, which are slower here."""
    image = graph_reading.trim_margins(whole)
    height, width = tf.shape(image)[0], tf.shape(image)[1]
    network = quality_check.network
    small = graph_reading.resize(image, network.input_shape[1])
    outputs = {
        name: values[0] for name, values in network(small[tf.newaxis], training=False).items()
    }
    poses = outputs[schema.POSE]
    turns = poses[:4] + poses[4:]
    turn = tf.argmax(turns, output_type=tf.int32)
    turn = tf.where(tf.reduce_max(turns) > SURE_TURNED, turn, 0)
    pose = turn + tf.where(tf.reduce_sum(poses[4:]) > SURE_MIRRORED, 4, 0)
    greys = _sample_greys(image)
    dark = (outputs[schema.INVERTED][0] > SURE_INVERTED) & ~_has_dark_rim(greys)
    wide = tf.size(whole) > WIDE * tf.size(image)
    hand, certain = None, tf.constant(False)
    if resize == schema.FRAME:
        assert detector is not None
        hand = find_hand(tf.where(dark, 255.0 - image, image), detector)
        certain = is_certain(hand)
        pose = tf.where(certain, 0, pose)
    right = _corrected(image, pose, dark)
    if hand is not None:
        found = hand
        hand = tf.cond(pose > 0, lambda: find_hand(right, detector), lambda: found)
    fitted, framing = fit_image(right, size_px, resize, detector, hand)
    is_corrected = (pose > 0) | dark | wide | _is_reported(framing)
    reason = tf.where(is_corrected, int(Reason.CORRECTED), int(Reason.NONE))
    kinds = outputs[schema.IMAGE_KIND]
    refusals = tf.constant([int(OF_KINDS[kind]) for kind in schema.IMAGE_KINDS])
    threshold = quality_check.hand_threshold if hand is None else SURE_WHOLE
    refused = (kinds[0] < threshold) & ~certain
    reason = tf.where(refused, tf.gather(refusals, tf.argmax(kinds)), reason)
    if hand is not None:
        cut = (reason < Reason.TOO_SMALL) & found["cut"]
        reason = tf.where(cut, int(Reason.CUT), reason)
        reason = tf.where(found["lacks_digit"], int(Reason.LACKS_DIGIT), reason)
        two = (certain | found["lacks_digit"]) & (kinds[schema.TWO_HANDS] > PERHAPS_TWO)
        reason = tf.where(two, int(Reason.TWO_HANDS), reason)
    greys = tf.reshape(greys, [-1])
    reason = tf.where(_levels(greys) < LEAST_LEVELS, int(Reason.FEW_LEVELS), reason)
    reason = tf.where(_range(greys) < LEAST_RANGE, int(Reason.BLANK), reason)
    side, whole_side = tf.minimum(height, width), tf.reduce_min(tf.shape(whole)[:2])
    has_lost_much = 4 * side < 3 * whole_side
    too_small = (side < LEAST_SIDE_PX) & (has_lost_much | (whole_side < LEAST_SIDE_PX))
    reason = tf.where(too_small, int(Reason.TOO_SMALL), reason)
    trimmed = tf.reduce_any(tf.shape(image) < tf.shape(whole))
    return _outcome(reason, fitted, framing, pose, dark, height, width, trimmed, wide)


def _corrected(image: tf.Tensor, pose: tf.Tensor, dark: tf.Tensor) -> tf.Tensor:
    upright = tf.image.rot90(image, tf.math.floormod(-pose, 4))
    upright = tf.cond(pose >= 4, lambda: tf.reverse(upright, [1]), lambda: upright)
    return tf.cond(dark, lambda: 255.0 - upright, lambda: upright)


def _sample_greys(image: tf.Tensor) -> tf.Tensor:
    """Returns every n-th row and column [h, w] of an image, enough to count grey levels."""
    step = tf.maximum(1, tf.minimum(tf.shape(image)[0], tf.shape(image)[1]) // LEVELS_SIDE_PX)
    return image[::step, ::step, 0]


@traced_once(tf.TensorSpec([None, None], tf.float32))
def _has_dark_rim(greys: tf.Tensor) -> tf.Tensor:
    """Implements `bone_age_tf.quality.checker.has_dark_rim` as graph operations."""
    levels = tf.cast(tf.round(greys), tf.int32)
    counts = tf.math.bincount(tf.reshape(levels, [-1]))
    background = tf.argmax(counts, output_type=tf.int32)
    around = tf.abs(levels - background) <= PLAIN
    covered = tf.math.count_nonzero(around, dtype=tf.int32)
    painted = (background >= BRIGHT) & (100 * covered >= PAINTED_PERCENT * tf.size(levels))
    cells = tf.cast(around, tf.float32)[tf.newaxis, ..., tf.newaxis]
    near = tf.nn.max_pool2d(cells, 2 * RIM_PX + 1, 1, "SAME")[0, ..., 0] > 0
    rim, inside = near & ~around, ~near
    (rim_sum, rim_size), (sum_, size) = (
        (
            tf.reduce_sum(tf.where(part, levels, 0)),
            tf.math.count_nonzero(part, dtype=tf.int32),
        )
        for part in (rim, inside)
    )
    darker = tf.cast(rim_sum, tf.int64) * tf.cast(size, tf.int64) < (
        tf.cast(sum_, tf.int64) * tf.cast(rim_size, tf.int64)
    )
    return painted & (rim_size > 0) & (size > 0) & darker


@traced_once(tf.TensorSpec([None], tf.float32))
def _levels(greys: tf.Tensor) -> tf.Tensor:
    """Returns the number of grey levels that hold at least 1 / `LEVEL_SHARE` of the pixels."""
    counts = tf.math.bincount(tf.cast(tf.round(greys), tf.int32))
    return tf.math.count_nonzero(LEVEL_SHARE * counts >= tf.size(greys), dtype=tf.int32)


@traced_once(tf.TensorSpec([None], tf.float32))
def _range(greys: tf.Tensor) -> tf.Tensor:
    """Returns the difference between the 99th and the 1st percentile of greys [N].

    Percentiles are interpolated linearly, as NumPy's; only the two ends are sorted.
    """
    last = tf.size(greys) - 1
    place = 0.01 * tf.cast(last, tf.float64)
    below = tf.cast(tf.floor(place), tf.int32)
    share = tf.cast(place - tf.floor(place), tf.float32)

    def from_end(values: Tensor) -> Tensor:
        ends = tf.math.top_k(values, tf.minimum(below + 1, last) + 1).values
        return ends[below] + (ends[-1] - ends[below]) * share

    return from_end(greys) + from_end(-greys)
