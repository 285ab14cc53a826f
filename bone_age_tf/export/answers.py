"""Status and reason outputs of a SavedModel; numbers of files without a prediction become NaN."""

from collections.abc import Mapping

import tensorflow as tf

from bone_age_tf import schema
from bone_age_tf.images.file_kinds import OTHER_KINDS
from bone_age_tf.reasons import (
    ERROR,
    GREYS_INVERTED,
    LEAST_SIDE_PX,
    MARGINS_CROPPED,
    MIRRORED,
    NOT_FRAMED,
    OK,
    POSE_CORRECTIONS,
    REASON,
    REASON_CODE,
    REJECTED,
    SEPARATOR,
    STATUS,
    TEXTS,
    TILT_STEP,
    TRIMMED,
    WHOLE_LIMIT,
    Reason,
    rotated,
)
from bone_age_tf.regions.graph import WHOLE

_HALF_TURN = 180 // TILT_STEP
_TILTS = [
    rotated(TILT_STEP * steps) if steps else "" for steps in range(-_HALF_TURN, _HALF_TURN + 1)
]
_FRAMINGS = ["", "", MIRRORED, NOT_FRAMED]
"""Corrections of each `framing` of `regions.graph.fit_image`."""


def with_status(
    checked: Mapping[str, tf.Tensor], sex: tf.Tensor, outputs: Mapping[str, tf.Tensor]
) -> dict[str, tf.Tensor]:
    """Adds status and reason to the model's outputs, and removes the numbers of rejected files.

    Args:
        checked: result of `quality.graph.check_files`.
        sex: [B, 1], the sex in the request.
        outputs: outputs of the model by name, with the batch as the first axis.

    Returns:
        The outputs by name, NaN for files without a prediction (0 or an empty text for types
        without NaN), and `status` [B] string, `reason` [B] string and `reason_code` [B] int32.
    """
    reason = checked["reason"]
    reason = tf.where(tf.reduce_all(is_sex(sex), axis=1), reason, int(Reason.SEX))
    was_read = reason < Reason.TOO_SMALL
    reason = tf.where(was_read & ~_all_finite(outputs), int(Reason.NO_NUMBER), reason)
    distance = outputs.get(schema.UNFAMILIARITY)
    if distance is not None:
        far = (reason < Reason.TOO_SMALL) & (distance[:, 0] > _limit(checked))
        reason = tf.where(far, int(Reason.UNFAMILIAR), reason)
    answered = reason < Reason.TOO_SMALL
    known = answered | (reason == Reason.UNFAMILIAR)
    found = {
        name: _only(known if name == schema.UNFAMILIARITY else answered, value)
        for name, value in outputs.items()
    }
    statuses = tf.where(answered, OK, tf.where(reason < Reason.EMPTY_FILE, REJECTED, ERROR))
    texts = _texts(reason, checked, distance)
    return found | {STATUS: statuses, REASON: texts, REASON_CODE: reason}


def _limit(checked: Mapping[str, tf.Tensor]) -> tf.Tensor:
    """Returns the largest distance from the training images at which each case is read."""
    return tf.where(checked["framing"] == WHOLE, WHOLE_LIMIT, 1.0)


def is_sex(sex: tf.Tensor) -> tf.Tensor:
    """Returns whether each value is the code of a sex."""
    codes = [float(code) for code in range(len(schema.SEX_NAMES))]
    return tf.reduce_any(tf.equal(sex[..., tf.newaxis], codes), axis=-1)


def _all_finite(outputs: Mapping[str, tf.Tensor]) -> tf.Tensor:
    """Returns for each case whether all its numbers are finite."""
    finite = [
        tf.reduce_all(tf.reshape(tf.math.is_finite(value), [tf.shape(value)[0], -1]), axis=1)
        for value in outputs.values()
        if value.dtype.is_floating
    ]
    return tf.reduce_all(tf.stack(finite), axis=0)


def _only(kept: tf.Tensor, value: tf.Tensor) -> tf.Tensor:
    """Returns the values of the kept cases; NaN, 0 or an empty text for the others."""
    shape = tf.concat([tf.shape(kept), tf.ones([value.shape.rank - 1], tf.int32)], axis=0)
    nothing = "" if value.dtype == tf.string else float("nan") if value.dtype.is_floating else 0
    none = tf.constant(nothing, value.dtype)
    return tf.where(tf.reshape(kept, shape), value, none)


def _texts(
    reason: tf.Tensor, checked: Mapping[str, tf.Tensor], distance: tf.Tensor | None
) -> tf.Tensor:
    """Returns the reasons as the same texts as in local prediction."""
    always = tf.constant([TEXTS.get(code, "") for code in range(max(Reason) + 1)])  # type: ignore[call-overload]
    texts = tf.gather(always, reason)
    size = [tf.as_string(checked["width"]), " x ", tf.as_string(checked["height"])]
    cut = tf.where(checked["trimmed"], TRIMMED, "")
    small = ["; the shorter side needs ", str(LEAST_SIDE_PX), " or more"]
    pose = tf.gather(tf.constant(POSE_CORRECTIONS), checked["pose"])
    ways = _joined(pose, tf.where(checked["inverted"], GREYS_INVERTED, ""))
    ways = _joined(ways, tf.where(checked["wide"], MARGINS_CROPPED, ""))
    ways = _joined(ways, tf.gather(_TILTS, checked["tilt"] + _HALF_TURN))
    ways = _joined(ways, tf.gather(_FRAMINGS, checked["framing"]))
    others = tf.constant(["", *(f" but {text}" for _, _, text in OTHER_KINDS)])
    longer = {
        Reason.CORRECTED: [texts, " ", ways],
        Reason.TOO_SMALL: [texts, ": ", *size, " px", cut, *small],
        Reason.TOO_LARGE: [*size, " ", texts],
        Reason.NO_IMAGE: [texts, tf.gather(others, checked["other"] + 1)],
    }
    if distance is not None:
        far = tf.strings.as_string(distance[:, 0], precision=2)
        limit = tf.strings.as_string(_limit(checked), precision=2)
        longer[Reason.UNFAMILIAR] = [texts, " (distance ", far, ", limit ", limit, ")"]
    for code, parts in longer.items():
        texts = tf.where(reason == code, tf.strings.join(parts), texts)
    return texts


def _joined(first: tf.Tensor, second: tf.Tensor) -> tf.Tensor:
    """Joins two corrections of each case, with a separator if it has both."""
    both = (tf.strings.length(first) > 0) & (tf.strings.length(second) > 0)
    return tf.strings.join([first, tf.where(both, SEPARATOR, ""), second])
