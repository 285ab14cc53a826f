"""Converts LiteRT files with 16-bit weights for browsers.

With 16-bit weights the runtime in the browser computes convolutions by its slow general kernels, so
that a radiograph takes twice as long. Its fast kernels need constants of 32 bits, into which the
runtime of Python converts the weights when it loads a file. The numbers are the same.
"""

from collections.abc import Iterator

import numpy as np
from ai_edge_litert import schema_py_generated as schema_py
from ai_edge_litert.tools import flatbuffer_utils


def convert_to_float32(data: bytes) -> bytes:
    """Returns a LiteRT file with constants of 32 bits in place of those of 16 bits.

    Args:
        data: a LiteRT file. Others than those with weights of 16 bits are returned as they are.
    """
    model = flatbuffer_utils.read_model_from_bytearray(bytearray(data))
    converted: set[int] = set()
    for graph in model.subgraphs:
        kept = []
        for operator in graph.operators:
            half = _half_weights(model, graph, operator)
            if half is None:
                kept.append(operator)
                continue
            single = schema_py.BufferT()
            single.data = np.frombuffer(half.astype(np.float32).tobytes(), np.uint8)
            graph.tensors[operator.outputs[0]].buffer = len(model.buffers)
            model.buffers.append(single)
            converted.add(graph.tensors[operator.inputs[0]].buffer)
        graph.operators = kept
    if not converted:
        return data
    for buffer in converted - set(_buffers_in_use(model)):
        model.buffers[buffer].data = None
    return bytes(flatbuffer_utils.convert_object_to_bytearray(model))


def _buffers_in_use(model: schema_py.ModelT) -> Iterator[int]:
    """Yields the buffers of tensors that operators take or that are outputs of the file."""
    for graph in model.subgraphs:
        for operator in graph.operators:
            yield from (graph.tensors[tensor].buffer for tensor in operator.inputs if tensor >= 0)
        yield from (graph.tensors[tensor].buffer for tensor in graph.outputs)


def _half_weights(
    model: schema_py.ModelT, graph: schema_py.SubGraphT, operator: schema_py.OperatorT
) -> np.ndarray | None:
    """Returns the 16-bit constant that an operator converts to 32 bits; None for other ones."""
    code = model.operatorCodes[operator.opcodeIndex]
    if max(code.builtinCode, code.deprecatedBuiltinCode) != schema_py.BuiltinOperator.DEQUANTIZE:
        return None
    source = graph.tensors[operator.inputs[0]]
    content = model.buffers[source.buffer].data
    if source.type != schema_py.TensorType.FLOAT16 or content is None or not len(content):
        return None
    return np.frombuffer(bytes(content), np.float16)
