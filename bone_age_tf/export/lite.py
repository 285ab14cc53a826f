"""LiteRT files: float32, and int8 calibrated on training images."""

import warnings
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import tensorflow as tf

from bone_age_tf import schema
from bone_age_tf.export.saved_model import BYTES_SIGNATURE

FLOAT_OPERATIONS = ("SOFTMAX", "SUM", "DIV", "LESS", "GREATER", "CUMSUM", "MUL", "MINIMUM")
"""Left in float32 in the int8 file. A probability per age bin is smaller than one int8 step, and
the expected age would be made of rounding; the percentile stretch divides by a contrast that may
be small. They cost next to nothing beside the convolutions."""


def convert_float32(saved_model: Path) -> bytes:
    """Converts a SavedModel of `write_single_case_model` with built-in operators only."""
    return _converter(saved_model).convert()


def convert_int8(saved_model: Path, calibration: Iterable[tuple[np.ndarray, np.ndarray]]) -> bytes:
    """Converts to int8 weights and activations, with float32 inputs and outputs.

    Args:
        saved_model: made by `write_single_case_model`.
        calibration: pairs of an image, [1, size_px, size_px, 1] float32, and a sex, [1, 1]; from
            training images, never from those that the figures are measured on.
    """
    cases = list(calibration)

    def representative():
        for image, sex in cases:
            yield {
                schema.IMAGE: image.astype(np.float32),
                schema.SEX: sex.astype(np.float32),
            }

    converter = _converter(saved_model)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = representative
    options = tf.lite.experimental.QuantizationDebugOptions(denylisted_ops=list(FLOAT_OPERATIONS))
    with warnings.catch_warnings():
        # TensorFlow's own converter warns of the interpreter that it uses inside.
        warnings.filterwarnings("ignore", message=".*tf.lite.Interpreter is deprecated.*")
        debugger = tf.lite.experimental.QuantizationDebugger(
            converter=converter, debug_dataset=representative, debug_options=options
        )
    return debugger.get_nondebug_quantized_model()


def _converter(saved_model: Path) -> tf.lite.TFLiteConverter:
    converter = tf.lite.TFLiteConverter.from_saved_model(
        str(saved_model), signature_keys=[BYTES_SIGNATURE]
    )
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    return converter
