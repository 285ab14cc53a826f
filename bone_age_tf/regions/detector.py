"""Detects ossification regions in an image through LiteRT; no TensorFlow."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ai_edge_litert.interpreter import Interpreter

from bone_age_tf import schema
from bone_age_tf.images import resizing
from bone_age_tf.inference.image_network import load_image_network
from bone_age_tf.program import program


@dataclass(frozen=True)
class Regions:
    """Detected regions.

    Attributes:
        boxes: [17, 4] float32 in the order of `schema.REGIONS`: ymin, xmin, ymax, xmax as fractions
            of the image.
        scores: [17] float32, predicted overlap (IoU) of each box with its region, 0 to 1.
    """

    boxes: np.ndarray
    scores: np.ndarray


class RegionDetector:
    """The exported region detector. Not for use from several threads at once.

    Attributes:
        size_px: side of the square that the network takes, in pixels.
        resize_mode: how an image comes to that size, one of `schema.RESIZE_MODES`.
    """

    def __init__(self, interpreter: Interpreter, size_px: int, resize_mode: str = "stretch"):
        self._runner = interpreter.get_signature_runner(schema.SERVING_SIGNATURE)
        self._interpreter, self.size_px, self.resize_mode = interpreter, size_px, resize_mode

    @classmethod
    def load(cls, folder: str | Path) -> "RegionDetector":
        """Loads an export folder, `exports/region_detector/<version>`.

        Raises:
            ModelError: a file is missing or malformed.
        """

        def make(interpreter: Interpreter, content: dict) -> "RegionDetector":
            resize_mode = content.get("resize", "stretch")
            detector = cls(interpreter, int(content["size_px"]), resize_mode)
            detector.find(np.zeros((detector.size_px, detector.size_px), np.float32))
            return detector

        again = f"{program()} --mode=train_region_detector"
        remedy = f"make it again with: {again}, or delete the folder"
        return load_image_network(folder, make, "region detector", remedy)

    def find(self, image: np.ndarray) -> Regions:
        """Finds the regions of a left hand with bright bones.

        Args:
            image: [H, W] float32, 0 to 255: an original image, or the square input of a model. The
                boxes are fractions of the given image.
        """
        image = np.asarray(image, np.float32)
        square = resizing.resize(image, self.size_px, self.resize_mode)
        outputs = self._runner(image=square[np.newaxis, :, :, np.newaxis])
        boxes = np.array(outputs[schema.REGION_BOXES][0])
        if self.resize_mode == "pad":
            sides = np.array(image.shape * 2, np.float32)
            boxes = (boxes - 0.5) * sides.max() / sides + 0.5
        return Regions(boxes, np.array(outputs[schema.REGION_SCORES][0]))
