"""LiteRT files: float32, and int8 calibrated on training images."""

import contextlib
import io
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from ai_edge_quantizer import quantizer, recipe_manager
from ai_edge_quantizer.qtyping import TFLOperationName
from ai_edge_quantizer.utils import tfl_flatbuffer_utils

from bone_age_tf import schema
from bone_age_tf.export.saved_model import BYTES_SIGNATURE

RECTIFIED = "Relu"
"""In the name of the output of a convolution that the converter fused with its activation."""

RANGE_PERCENTILE = 95.0
"""Of the extremes that the calibration images reach in a tensor. The largest of 200 images would
set steps too coarse for all the others."""


def convert_float32(saved_model: Path) -> bytes:
    """Converts a SavedModel of `write_single_case_model` with built-in operators only."""
    converter = tf.lite.TFLiteConverter.from_saved_model(
        str(saved_model), signature_keys=[BYTES_SIGNATURE]
    )
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    return converter.convert()


def convert_int8(float32: bytes, calibration: Iterable[tuple[np.ndarray, np.ndarray]]) -> bytes:
    """Makes a file whose convolutions compute in int8; inputs and outputs stay float32.

    Weights are int8 for each channel. A convolution with a rectifier takes and gives int8 with
    ranges from the calibration images. Two kinds take int8 with each image's own range and give
    float32: one without a rectifier, since it is added to a residual stream whose range is wide,
    and the first, whose rounding all others inherit. All else, such as the percentile stretch and
    the head, stays in float32 and costs next to nothing.

    Args:
        float32: made by `convert_float32`.
        calibration: pairs of an image, [1, size_px, size_px, 1] float32, and a sex, [1, 1]; from
            training images, never from those that the figures are measured on.

    Raises:
        ValueError: no calibration images, or no convolution.
    """
    recipes = recipe_manager.RecipeManager()
    recipes.add_dynamic_config(".*", TFLOperationName.CONV_2D, num_bits=8)
    recipes.add_static_config(
        f".*{RECTIFIED}.*", TFLOperationName.CONV_2D, activation_num_bits=8, weight_num_bits=8
    )
    # The latest that matches a name holds.
    recipes.add_dynamic_config(
        re.escape(_first_convolution(float32)), TFLOperationName.CONV_2D, num_bits=8
    )
    recipe = recipes.get_quantization_recipe()
    ranges = _activation_ranges(float32, recipe, calibration)
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        return bytes(quantizer.Quantizer(float32, recipe).quantize(ranges).quantized_model)


def _first_convolution(float32: bytes) -> str:
    """Returns the name of the output of the first convolution."""
    model = tfl_flatbuffer_utils.read_model(float32)
    graph = model.subgraphs[0]
    convolution = tfl_flatbuffer_utils.TFL_OP_NAME_TO_CODE[TFLOperationName.CONV_2D]
    for operator in graph.operators:
        if model.operatorCodes[operator.opcodeIndex].builtinCode == convolution:
            return tfl_flatbuffer_utils.get_tensor_name(graph.tensors[operator.outputs[0]])
    raise ValueError("the network has no convolution that could be int8")


def _activation_ranges(
    float32: bytes, recipe: list[dict], calibration: Iterable[tuple[np.ndarray, np.ndarray]]
) -> dict[str, dict[str, Any]]:
    """Returns the ranges of every tensor, as the quantizer takes them.

    The quantizer's own calibration over many images keeps a moving average of their extremes,
    which cuts half of the images off; so it is asked for one image at a time.
    """
    found = []
    # It draws a progress bar for every single image.
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        for image, sex in calibration:
            case = {schema.IMAGE: image.astype(np.float32), schema.SEX: sex.astype(np.float32)}
            # A new quantizer each time: one keeps its moving average from call to call.
            found.append(quantizer.Quantizer(float32, recipe).calibrate({BYTES_SIGNATURE: [case]}))
    if not found:
        raise ValueError("int8 needs images to calibrate on; set --config.calibration_images=200")
    ranges = {}
    for name, first in found[0].items():
        ranges[name] = dict(first)
        if np.size(first.get("min", ())) == 1:
            for end, percentile in (("min", 100.0 - RANGE_PERCENTILE), ("max", RANGE_PERCENTILE)):
                values = [one[name][end] for one in found]
                ranges[name][end] = np.percentile(values, percentile, axis=0).astype(np.float32)
    return ranges
