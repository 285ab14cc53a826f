"""ONNX files; they need the extra `onnx` (`pip install -e '.[onnx]'`)."""

import importlib
import json
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from bone_age_tf import schema
from bone_age_tf.errors import MissingExtraError
from bone_age_tf.tensors import Tensor

_OPSET = 18


def write_onnx(model: keras.Model, metadata: dict, path: Path) -> None:
    """Writes a model from pixels to the outputs of its head, of any batch size.

    Args:
        model: built with a static image size; inputs `image` [B, size_px, size_px, 1] float32, 0 to
            255, and `sex` [B, 1] float32, outputs by name.
        metadata: becomes the file's metadata, as JSON under `metadata.json`.
        path: to write.

    Raises:
        ValueError: the extra is not installed.
    """
    tf2onnx, onnx = _require("tf2onnx"), _require("onnx")
    size_px = model.input[schema.IMAGE].shape[1]

    def serve(image: Tensor, sex: Tensor) -> Tensor:
        return model({schema.IMAGE: image, schema.SEX: sex}, training=False)

    written, _ = tf2onnx.convert.from_function(
        tf.function(serve),
        input_signature=[
            tf.TensorSpec([None, size_px, size_px, 1], tf.float32, name=schema.IMAGE),
            tf.TensorSpec([None, 1], tf.float32, name=schema.SEX),
        ],
        opset=_OPSET,
    )
    _name_outputs(written.graph, sorted(model.output))
    entry = written.metadata_props.add()
    entry.key, entry.value = schema.METADATA_FILE, json.dumps(metadata)
    written.doc_string = metadata.get("intended_use", "")
    onnx.checker.check_model(written)
    path.write_bytes(written.SerializeToString())


def months_of_onnx(path: Path, images: np.ndarray, sexes: np.ndarray) -> np.ndarray:
    """Returns the ages [N] in months that ONNX Runtime predicts.

    Raises:
        ValueError: the extra is not installed.
    """
    runtime = _require("onnxruntime")
    session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    inputs = {schema.IMAGE: images.astype(np.float32), schema.SEX: sexes.astype(np.float32)}
    return np.ravel(session.run([schema.AGE_MONTHS], inputs)[0])


def _name_outputs(graph: Any, names: list[str]) -> None:
    """Restores the model's names of outputs, which tf2onnx replaces by numbers."""
    for output, name in zip(list(graph.output), names, strict=True):
        old, output.name = output.name, name
        for node in graph.node:
            node.output[:] = [name if one == old else one for one in node.output]
            node.input[:] = [name if one == old else one for one in node.input]


def _require(package: str) -> Any:
    try:
        return importlib.import_module(package)
    except ImportError:
        raise MissingExtraError("--formats=onnx", "onnx") from None
