"""LiteRT files of all formats except the tuned format (`lite_int8`), with metadata."""

import contextlib
import io
import json
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from ai_edge_litert import schema_py_generated as schema_py
from ai_edge_litert.tools import flatbuffer_utils
from ai_edge_quantizer import quantizer, recipe_manager
from ai_edge_quantizer.algorithm_manager import AlgorithmName
from ai_edge_quantizer.qtyping import TFLOperationName

from bone_age_tf import schema
from bone_age_tf.tensors import Tensor

_MOST_WEIGHTS = (TFLOperationName.CONV_2D, TFLOperationName.FULLY_CONNECTED)
METADATA_ENTRY = schema.METADATA_FILE
"""Name of the metadata buffer in a LiteRT file."""


def convert_float32(network_fn: Callable[..., dict[str, Tensor]], *inputs: tf.TensorSpec) -> bytes:
    """Converts a function to a LiteRT file with built-in operators only.

    The function is traced once and no SavedModel is written, which shortens a conversion. The
    converter then writes no signature; it is added here.

    Args:
        network_fn: takes one tensor for each of `inputs` and returns tensors by name.
        inputs: named, of static shapes.

    Returns:
        The file's bytes, with the signature `serving_default`.
    """
    traced = tf.function(network_fn, autograph=False).get_concrete_function(*inputs)
    converter = tf.lite.TFLiteConverter.from_concrete_functions([traced])
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    model = flatbuffer_utils.read_model_from_bytearray(bytearray(converter.convert()))
    graph = model.subgraphs[0]
    signature = schema_py.SignatureDefT()
    signature.signatureKey, signature.subgraphIndex = schema.SERVING_SIGNATURE, 0
    signature.inputs = _tensor_maps([spec.name for spec in inputs], graph.inputs)
    # The outputs of a traced function stand in the order of their names.
    signature.outputs = _tensor_maps(sorted(traced.structured_outputs), graph.outputs)
    model.signatureDefs = [signature]
    return _as_bytes(model)


def convert_network(network: keras.Model, size_px: int, uint8: bool = False) -> bytes:
    """Converts a network that reads ages, for one radiograph at a time.

    Args:
        network: built with a static image size; inputs `image` and `sex`, outputs by name.
        size_px: that size.
        uint8: whether the file takes the image as uint8 and not as float32.

    Returns:
        The bytes of a LiteRT file that takes `image` [1, size_px, size_px, 1], 0 to 255, and `sex`
        [1, 1] float32.
    """
    dtype = tf.uint8 if uint8 else tf.float32
    return convert_float32(
        lambda image, sex: dict(
            network({schema.IMAGE: tf.cast(image, tf.float32), schema.SEX: sex}, training=False)
        ),
        tf.TensorSpec([1, size_px, size_px, 1], dtype, name=schema.IMAGE),
        tf.TensorSpec([1, 1], tf.float32, name=schema.SEX),
    )


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


def _tensor_maps(names: Sequence[str], places: Sequence[int]) -> list[Any]:
    """Returns the names of a signature's tensors, with their places in the graph."""
    maps = []
    for name, place in zip(names, places, strict=True):
        entry = schema_py.TensorMapT()
        entry.name, entry.tensorIndex = name, place
        maps.append(entry)
    return maps


def _as_bytes(model: Any) -> bytes:
    """Serialises a LiteRT model."""
    for buffer in model.buffers:
        if buffer.data is not None:  # a list would be written byte by byte, which takes a minute
            buffer.data = np.frombuffer(bytes(buffer.data), np.uint8)
    return bytes(flatbuffer_utils.convert_object_to_bytearray(model))


def with_metadata(data: bytes, metadata: dict) -> bytes:
    """Returns a LiteRT file with metadata as JSON in a metadata buffer."""
    model = flatbuffer_utils.read_model_from_bytearray(bytearray(data))
    text = json.dumps(metadata, separators=(",", ":")).encode()
    buffer = schema_py.BufferT()
    buffer.data = text
    entry = schema_py.MetadataT()
    entry.name, entry.buffer = METADATA_ENTRY, len(model.buffers)
    model.buffers.append(buffer)
    model.metadata = [*(model.metadata or []), entry]
    model.description = metadata.get("intended_use")
    return _as_bytes(model)


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
