"""The quality check of a radiograph before its bone age is predicted; no TensorFlow."""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from ai_edge_litert.interpreter import Interpreter

from bone_age_tf import schema
from bone_age_tf.images import resizing
from bone_age_tf.inference.image_network import load_image_network
from bone_age_tf.program import program
from bone_age_tf.reasons import (
    BRIGHT,
    GREYS_INVERTED,
    LEAST_LEVELS,
    LEAST_RANGE,
    LEAST_SIDE_PX,
    LEVEL_SHARE,
    LEVELS_SIDE_PX,
    MARGINS_CROPPED,
    OF_KINDS,
    PAINTED_PERCENT,
    PERHAPS_TWO,
    POSE_CORRECTIONS,
    RIM_PX,
    SURE_INVERTED,
    SURE_MIRRORED,
    SURE_TURNED,
    SURE_WHOLE,
    TEXTS,
    TRIMMED,
    WIDE,
    Reason,
    correction_text,
)

if TYPE_CHECKING:
    from bone_age_tf.regions.frame import Hand


@dataclass(frozen=True)
class Checked:
    """The outcome of a quality check.

    Attributes:
        image: [H, W] float32, cropped to what the margins leave, upright, a left hand, bones
            bright; None where the radiograph is rejected.
        rejection: why it is rejected; empty where it is not.
        corrections: what was corrected, in words.
        hand: the hand in `image`, where it was looked for; a hand that is certain is left in the
            position in which it was found.
    """

    image: np.ndarray | None
    rejection: str = ""
    corrections: tuple[str, ...] = ()
    hand: "Hand | None" = None

    @property
    def reason(self) -> str:
        """The rejection or the corrections as a text, empty where there are none."""
        return self.rejection or correction_text(self.corrections)


class QualityChecker:
    """The exported network for the quality check. For use from several threads.

    Attributes:
        size_px: side of the square that the network takes.
    """

    def __init__(self, interpreter: Interpreter, size_px: int, hand_threshold: float):
        self._runner = interpreter.get_signature_runner(schema.SERVING_SIGNATURE)
        self._interpreter = interpreter
        self._lock = threading.Lock()
        self.size_px, self._hand_threshold = size_px, hand_threshold

    @classmethod
    def load(cls, folder: str | Path) -> "QualityChecker":
        """Loads an export folder, `exports/film_check/<version>`.

        Raises:
            ModelError: a file is missing or malformed.
        """

        def make(interpreter: Interpreter, content: dict) -> "QualityChecker":
            checker = cls(interpreter, int(content["size_px"]), float(content["hand_threshold"]))
            checker.run_network(np.zeros((checker.size_px, checker.size_px), np.float32))
            return checker

        again = f"{program()} --mode=train_quality_check"
        remedy = f"make it again with: {again}, or use --noquality_check"
        return load_image_network(folder, make, "quality check", remedy)

    def check(
        self, image: np.ndarray, find: "Callable[[np.ndarray], Hand] | None" = None
    ) -> Checked:
        """Rejects an image or corrects it.

        Args:
            image: [H, W] float32, 0 to 255.
            find: finds the hand in an image with bright bones. An image with a certain hand is not
                rejected for what is around it, except a second hand: either one could have been
                found. If the hand is not certain, the network must be sure of it (`SURE_WHOLE`). A
                hand that lacks a digit, or whose wrist or joints lie beyond the edges, is rejected.
                The hand's position is not corrected here, since its frame does that better.
        """
        whole, image = image, resizing.trim_margins(image)
        height, width = image.shape
        if is_too_small(min(height, width), min(whole.shape)):
            cut = "" if image.shape == whole.shape else TRIMMED
            size = f"{width} x {height} px{cut}; the shorter side needs {LEAST_SIDE_PX} or more"
            return Checked(None, f"{TEXTS[Reason.TOO_SMALL]}: {size}")
        greys = sample_greys(image)
        low, high = np.percentile(greys, [1, 99])
        if high - low < LEAST_RANGE:
            return Checked(None, TEXTS[Reason.BLANK])
        if count_levels(greys) < LEAST_LEVELS:
            return Checked(None, TEXTS[Reason.FEW_LEVELS])
        outputs = self.run_network(resizing.resize(image, self.size_px, "pad"))
        kinds = outputs[schema.IMAGE_KIND][0]
        probability = outputs[schema.INVERTED][0, 0]
        inverted = bool(probability > SURE_INVERTED and not has_dark_rim(greys))
        hand = None if find is None else find(255.0 - image if inverted else image)
        is_certain = hand is not None and hand.is_certain
        lacks_digit = hand is not None and hand.lacks_digit
        if (is_certain or lacks_digit) and kinds[schema.TWO_HANDS] > PERHAPS_TWO:
            return Checked(None, TEXTS[Reason.TWO_HANDS])
        if lacks_digit:
            return Checked(None, TEXTS[Reason.LACKS_DIGIT])
        threshold = self._hand_threshold if hand is None else SURE_WHOLE
        if kinds[0] < threshold and not is_certain:
            return Checked(None, TEXTS[OF_KINDS[schema.IMAGE_KINDS[int(kinds.argmax())]]])
        if hand is not None and hand.is_cut:
            return Checked(None, TEXTS[Reason.CUT])
        pose = 0 if is_certain else likely_pose(outputs[schema.POSE][0])
        corrections = [POSE_CORRECTIONS[pose]] if pose else []
        corrections += [GREYS_INVERTED] if inverted else []
        corrections += [MARGINS_CROPPED] if whole.size > WIDE * image.size else []
        if pose or inverted:
            image = corrected(image, pose, inverted)
        if pose and find is not None:
            hand = find(image)
        return Checked(image, "", tuple(corrections), hand)

    def run_network(self, image: np.ndarray) -> dict[str, np.ndarray]:
        """Returns the network's outputs for an image [size_px, size_px], 0 to 255."""
        with self._lock:
            outputs = self._runner(image=image[np.newaxis, :, :, np.newaxis])
            return {name: np.array(values) for name, values in outputs.items()}


def is_too_small(side_px: int, whole_side_px: int) -> bool:
    """Returns whether an image is too small for growth plates to be visible.

    An image of just the minimum size may lose thin margins.

    Args:
        side_px: shorter side without the margins, in pixels.
        whole_side_px: shorter side with the margins, in pixels.
    """
    has_lost_much = 4 * side_px < 3 * whole_side_px
    return side_px < LEAST_SIDE_PX and (has_lost_much or whole_side_px < LEAST_SIDE_PX)


def likely_pose(poses: np.ndarray) -> int:
    """Returns the pose to correct, an index in `schema.POSES`.

    Args:
        poses: [8] probabilities; the last four are the first four, mirrored.
    """
    turns = poses[:4] + poses[4:]
    turn = int(turns.argmax()) if turns.max() > SURE_TURNED else 0
    return turn + 4 * bool(poses[4:].sum() > SURE_MIRRORED)


def corrected(image: np.ndarray, pose: int, inverted: bool) -> np.ndarray:
    """Returns an image [H, W], 0 to 255, that shows an upright left hand with bright bones.

    Args:
        image: [H, W], 0 to 255.
        pose: its pose, an index in `schema.POSES`.
        inverted: whether its bones are dark.
    """
    upright = np.rot90(image, -(pose % 4))
    if pose >= 4:
        upright = upright[:, ::-1]
    return np.ascontiguousarray(255.0 - upright if inverted else upright, np.float32)


def sample_greys(image: np.ndarray) -> np.ndarray:
    """Returns every n-th row and column of an image [H, W], enough to count grey levels."""
    step = max(1, min(image.shape) // LEVELS_SIDE_PX)
    return image[::step, ::step]


def count_levels(greys: np.ndarray) -> int:
    """Returns the number of grey levels that hold at least 1 / `LEVEL_SHARE` of pixels [H, W]."""
    counts = np.bincount(np.rint(greys).astype(int).ravel())
    return int(np.count_nonzero(LEVEL_SHARE * counts >= greys.size))


def has_dark_rim(greys: np.ndarray) -> bool:
    """Returns whether a hand on a uniform bright background is darker at its rim than inside.

    Soft tissue is thin at the rim of the hand. With bright bones the rim is therefore dark,
    whatever background was painted around the hand; with inverted grey levels the rim is bright.

    Args:
        greys: [H, W] float32, an image or every n-th row and column of an image.
    """
    levels = np.rint(greys).astype(np.int64)
    background = int(np.bincount(levels.ravel()).argmax())
    around = np.abs(levels - background) <= resizing.PLAIN
    if background < BRIGHT or 100 * np.count_nonzero(around) < PAINTED_PERCENT * around.size:
        return False
    windows = np.lib.stride_tricks.sliding_window_view(np.pad(around, RIM_PX), 2 * [2 * RIM_PX + 1])
    near = windows.any(axis=(2, 3))
    rim, inside = levels[near & ~around], levels[~near]
    return bool(rim.size and inside.size and rim.sum() * inside.size < inside.sum() * rim.size)
