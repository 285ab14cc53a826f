"""Names of the formats of exports. Standard library only, for the command line."""

from typing import Final

FLOAT32: Final = "float32"
FLOAT32_MAP: Final = "float32_map"
FLOAT16: Final = "float16"
DYNAMIC: Final = "dynamic"
INT8: Final = "int8"
UINT8: Final = "uint8"
ONNX: Final = "onnx"

FORMATS: Final = {
    FLOAT32: "as it was trained",
    FLOAT32_MAP: "the same with the output map, which says where the age comes from",
    FLOAT16: "weights of 16 bits, half the size; computes in float32 or, on a GPU, in float16",
    DYNAMIC: "weights of 8 bits, a quarter of the size; needs no calibration",
    INT8: "the backbone computes in 8 bits, the fastest on processors; float32 in and out",
    UINT8: "the same, and takes the image as uint8",
    ONNX: "for ONNX Runtime, any batch; needs the extra onnx",
}
DEFAULT_FORMATS: Final = (FLOAT32, INT8)


def file_name(form: str) -> str:
    """Returns the name of a format's file in an export."""
    return "model.onnx" if form == ONNX else f"model_{form}.tflite"
