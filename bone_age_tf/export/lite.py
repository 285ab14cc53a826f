"""LiteRT files of all formats except the tuned format (`lite_int8`), with metadata."""

import contextlib
import io
import json
from pathlib import Path

import numpy as np
import tensorflow as tf
from ai_edge_litert import schema_py_generated as schema_py
from ai_edge_litert.tools import flatbuffer_utils
from ai_edge_quantizer import quantizer, recipe_manager
from ai_edge_quantizer.algorithm_manager import AlgorithmName
from ai_edge_quantizer.qtyping import TFLOperationName

from bone_age_tf import schema

_MOST_WEIGHTS = (TFLOperationName.CONV_2D, TFLOperationName.FULLY_CONNECTED)
METADATA_ENTRY = schema.METADATA_FILE
"""Name of the metadata buffer in a LiteRT file."""


def convert_float32(saved_model: Path) -> bytes:
    """Converts a SavedModel of `write_single_case_model` with built-in operators only."""
    return _converter(saved_model).convert()


def convert_float16(float32: bytes) -> bytes:
    """Converts a file to 16-bit weights.

    Depthwise convolutions are not converted: they have few weights and are the most sensitive to
    rounding.

    Args:
        float32: a file from `convert_float32`.
    """
    recipes = recipe_manager.RecipeManager()
    for kind in _MOST_WEIGHTS:
        recipes.add_weight_only_config(
            ".*", kind, num_bits=16, algorithm_key=AlgorithmName.FLOAT_CASTING
        )
    return _quantize(float32, recipes)


def convert_dynamic(float32: bytes) -> bytes:
    """Converts a file to 8-bit weights per channel, with dynamic ranges of activations.

    Depthwise convolutions are not converted: they have few weights and no fast kernel for it.

    Args:
        float32: a file from `convert_float32`.
    """
    recipes = recipe_manager.RecipeManager()
    for kind in _MOST_WEIGHTS:
        recipes.add_dynamic_config(".*", kind, num_bits=8)
    return _quantize(float32, recipes)


def _quantize(float32: bytes, recipes: recipe_manager.RecipeManager) -> bytes:
    recipe = recipes.get_quantization_recipe()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        return bytes(quantizer.Quantizer(float32, recipe).quantize().quantized_model)


def _converter(saved_model: Path) -> tf.lite.TFLiteConverter:
    converter = tf.lite.TFLiteConverter.from_saved_model(
        str(saved_model), signature_keys=[schema.SERVING_SIGNATURE]
    )
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    return converter


def with_metadata(data: bytes, metadata: dict) -> bytes:
    """Returns a LiteRT file with metadata as JSON in a metadata buffer."""
    model = flatbuffer_utils.read_model_from_bytearray(bytearray(data))
    text = json.dumps(metadata, separators=(",", ":")).encode()
    buffer = schema_py.BufferT()
    buffer.data = text
    entry = schema_py.MetadataT()
    entry.name, entry.buffer = METADATA_ENTRY, len(model.buffers)
    model.buffers.append(buffer)
    for one in model.buffers:
        if one.data is not None:  # what is no array is written byte by byte, which takes a minute
            one.data = np.frombuffer(bytes(one.data), np.uint8)
    model.metadata = [*(model.metadata or []), entry]
    model.description = metadata.get("intended_use")
    return bytes(flatbuffer_utils.convert_object_to_bytearray(model))


def read_metadata(data: bytes) -> dict:
    """Returns the metadata that `with_metadata` wrote.

    Raises:
        ValueError: the file has no metadata.
    """
    model = schema_py.Model.GetRootAs(data, 0)
    for place in range(model.MetadataLength()):
        entry = model.Metadata(place)
        if entry.Name().decode() == METADATA_ENTRY:
            return json.loads(bytes(model.Buffers(entry.Buffer()).DataAsNumpy()))
    raise ValueError(f"the file has no {METADATA_ENTRY}")
