"""Messages of TensorFlow Serving without TensorFlow, whose import takes seconds.

The official package `tensorflow-serving-api` imports TensorFlow. This module defines the fields
that prediction needs, by their published numbers; tests compare them with the official messages.
Protocol Buffers ignore unknown fields, so that servers may send more.

Sources: `tensorflow_serving/apis/{predict,model,prediction_log}.proto` and
`tensorflow/core/framework/{tensor,tensor_shape}.proto`.
"""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, wrappers_pb2
from google.protobuf.message import Message

PREDICT_METHOD: Final = "/tensorflow.serving.PredictionService/Predict"

_Field = descriptor_pb2.FieldDescriptorProto
_DTYPES: Final = {
    1: (np.dtype(np.float32), "float_val"),
    3: (np.dtype(np.int32), "int_val"),
    7: (np.dtype(object), "string_val"),
    9: (np.dtype(np.int64), "int64_val"),
    10: (np.dtype(bool), "bool_val"),
}
"""NumPy type and field of the values of a tensor, by number in `tensorflow.DataType`."""

_TENSOR: Final = "tensorflow.TensorProto"
_MESSAGES: Final = {
    "tensorflow": {
        "TensorShapeDim": (("size", 1, "int64"),),
        "TensorShapeProto": (("dim", 2, "*tensorflow.TensorShapeDim"),),
        "TensorProto": (
            ("dtype", 1, "int32"),
            ("tensor_shape", 2, "tensorflow.TensorShapeProto"),
            ("tensor_content", 4, "bytes"),
            ("float_val", 5, "*float"),
            ("int_val", 7, "*int32"),
            ("string_val", 8, "*bytes"),
            ("int64_val", 10, "*int64"),
            ("bool_val", 11, "*bool"),
        ),
    },
    "tensorflow.serving": {
        "ModelSpec": (
            ("name", 1, "string"),
            ("version", 2, "google.protobuf.Int64Value"),
            ("signature_name", 3, "string"),
            ("version_label", 4, "string"),
        ),
        "NamedTensor": (("key", 1, "string"), ("value", 2, _TENSOR)),
        "PredictRequest": (
            ("model_spec", 1, "tensorflow.serving.ModelSpec"),
            ("inputs", 2, "*tensorflow.serving.NamedTensor"),
            ("output_filter", 3, "*string"),
        ),
        "PredictResponse": (
            ("outputs", 1, "*tensorflow.serving.NamedTensor"),
            ("model_spec", 2, "tensorflow.serving.ModelSpec"),
        ),
        "PredictLog": (("request", 1, "tensorflow.serving.PredictRequest"),),
        "PredictionLog": (("predict_log", 6, "tensorflow.serving.PredictLog"),),
    },
}
"""Fields with number and type by message; a map is a list of entries with key and value."""


def _message_classes() -> dict[str, type[Message]]:
    # A separate pool, since the official definitions may be in the default pool.
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(wrappers_pb2.DESCRIPTOR.serialized_pb)
    known = [wrappers_pb2.DESCRIPTOR.name]
    for package, messages in _MESSAGES.items():
        file = descriptor_pb2.FileDescriptorProto(
            name=f"{package}.proto",
            package=package,
            syntax="proto3",
            dependency=known,
        )
        for name, fields in messages.items():
            message = file.message_type.add(name=name)
            for field, number, kind in fields:
                many, plain = kind.startswith("*"), kind.removeprefix("*")
                added = message.field.add(name=field, number=number)
                added.label = _Field.LABEL_REPEATED if many else _Field.LABEL_OPTIONAL
                if "." in plain:
                    added.type, added.type_name = _Field.TYPE_MESSAGE, f".{plain}"
                else:
                    added.type = getattr(_Field, f"TYPE_{plain.upper()}")
        pool.AddSerializedFile(file.SerializeToString())
        known.append(file.name)
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{package}.{name}"))
        for package, messages in _MESSAGES.items()
        for name in messages
    }


_CLASSES: Final = _message_classes()


def predict_request(
    model: str,
    inputs: Mapping[str, np.ndarray],
    signature: str = "serving_default",
    version: int | None = None,
    label: str | None = None,
) -> Any:
    """Returns a PredictRequest.

    Args:
        model: name of the model on the server.
        inputs: inputs of the signature by name; float32, int32, int64, bool, or objects of bytes.
        signature: name of the signature.
        version: number of the version; None for the server's default.
        label: label of a version, instead of its number.
    """
    spec: dict[str, Any] = {"name": model, "signature_name": signature}
    if label is not None:
        spec["version_label"] = label
    request = _CLASSES["PredictRequest"](model_spec=spec)
    if version is not None:
        request.model_spec.version.value = version
    for name, values in inputs.items():
        entry = request.inputs.add(key=name)
        _fill(entry.value, np.asarray(values))
    return request


def prediction_log(request: Any) -> Any:
    """Returns the PredictionLog of a request, the record of a warm-up file."""
    log = _CLASSES["PredictionLog"]()
    log.predict_log.request.CopyFrom(request)
    return log


def read_response(data: bytes) -> dict[str, np.ndarray]:
    """Returns the outputs of a serialised PredictResponse by name; texts as objects of bytes.

    Raises:
        ValueError: the data are no such message, or a tensor has an unsupported type.
    """
    try:
        response: Any = _CLASSES["PredictResponse"].FromString(data)
    except Exception as error:  # the exception types differ between implementations of protobuf
        raise ValueError(f"not a PredictResponse ({error})") from None
    return {entry.key: _read(entry.value) for entry in response.outputs}


def _fill(tensor: Any, values: np.ndarray) -> None:
    for number, (dtype, field) in _DTYPES.items():
        if values.dtype == dtype:
            tensor.dtype = number
            for size in values.shape:
                tensor.tensor_shape.dim.add(size=size)
            if field == "string_val":
                tensor.string_val.extend(values.ravel().tolist())
            else:
                tensor.tensor_content = values.tobytes()
            return
    raise ValueError(f"values of {values.dtype} cannot be sent")


def _read(tensor: Any) -> np.ndarray:
    if tensor.dtype not in _DTYPES:
        raise ValueError(f"a tensor of type {tensor.dtype} cannot be read")
    dtype, field = _DTYPES[tensor.dtype]
    shape = [dim.size for dim in tensor.tensor_shape.dim]
    if tensor.tensor_content:
        return np.frombuffer(tensor.tensor_content, dtype).reshape(shape)
    values = np.array(list(getattr(tensor, field)), dtype)
    # The last value is repeated for missing values.
    missing = int(np.prod(shape)) - values.size
    if missing > 0:
        values = np.concatenate([values, np.repeat(values[-1:], missing)])
    return values.reshape(shape)
