"""Finds hands for a reader and brings them to a network's input in their frame; no TensorFlow."""

import math
import threading
from pathlib import Path

import numpy as np

from bone_age_tf import catalog, schema
from bone_age_tf.errors import ModelError
from bone_age_tf.images import resizing
from bone_age_tf.program import program
from bone_age_tf.reasons import LEAST_TILT, MIRRORED, NOT_FRAMED, TILT_STEP, rotated
from bone_age_tf.regions.detector import RegionDetector
from bone_age_tf.regions.frame import Hand, find_hand, framed
from bone_age_tf.regions.proportions import upright


class HandFramer:
    """Finds the hand on radiographs. For use from several threads.

    Attributes:
        folder: the export of the region detector.
        size_px: side of the detector's input in pixels.
    """

    def __init__(self, exports_dir: str | Path | None = None):
        """Loads the newest region detector.

        Args:
            exports_dir: see `catalog.find_network`.

        Raises:
            ModelError: there is none, or it cannot be used.
        """
        folder = catalog.find_network(schema.REGION_DETECTOR, exports_dir)
        if folder is None:
            raise ModelError(
                "this model reads hands in their frame, and there is no region detector that finds "
                f"them; make one with: {program()} --mode=train_region_detector"
            )
        self.folder = folder
        self._of_thread = threading.local()
        self._of_thread.detector = RegionDetector.load(folder)
        self.size_px = self._of_thread.detector.size_px

    def find(self, image: np.ndarray) -> Hand:
        """Finds the hand in [H, W] float32, 0 to 255, with bright bones; see `frame.find_hand`."""
        if not hasattr(self._of_thread, "detector"):
            self._of_thread.detector = RegionDetector.load(self.folder)
        return find_hand(image, self._of_thread.detector)

    def fit(
        self, image: np.ndarray, size_px: int, hand: Hand | None = None
    ) -> tuple[np.ndarray, tuple[str, ...]]:
        """Brings a radiograph to a network's input: the hand in its frame where it is certain.

        Args:
            image: [H, W] float32, 0 to 255, with bright bones.
            size_px: side of the input in pixels.
            hand: the hand in that image; None to find it.

        Returns:
            [size_px, size_px] float32, 0 to 255, and what was done, in words.
        """
        hand = self.find(image) if hand is None else hand
        seen = framed(image, hand, size_px)
        if seen is None:
            return resizing.resize(image, size_px, "pad"), (NOT_FRAMED,)
        return seen, turns_of(hand)


def turns_of(hand: Hand) -> tuple[str, ...]:
    """Returns in words how the frame turns a hand: large rotations, and mirroring."""
    across = upright(hand.places)[0]
    clockwise = math.degrees(math.atan2(-across[1], across[0]))
    tilt = TILT_STEP * round(clockwise / TILT_STEP)
    words = (rotated(tilt),) if abs(clockwise) >= LEAST_TILT else ()
    return (*words, MIRRORED) if hand.mirrored else words
