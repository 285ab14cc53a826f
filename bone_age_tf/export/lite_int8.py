"""Full-integer LiteRT files, tuned until their predictions agree with the float32 file.

The backbone is computed in int8: convolutions with per-channel weights and the operations between
them, so that there is no conversion in between. The percentile stretch and the head remain in
float32 at a negligible cost, and inputs and outputs are float32 (or uint8, see `lite`). A few
layers are sensitive to rounding. They are determined on training images and remain in float32.
"""

import contextlib
import io
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema_py
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from ai_edge_quantizer import quantizer, recipe_manager
from ai_edge_quantizer.qtyping import TFLOperationName
from ai_edge_quantizer.utils import tfl_flatbuffer_utils

from bone_age_tf import schema
from bone_age_tf.errors import ExportError
from bone_age_tf.progress import Minutes

Case = tuple[np.ndarray, np.ndarray]
"""An image, [1, size_px, size_px, 1] float32, and a sex, [1, 1] float32."""

RANGE_PERCENTILE = 95.0
"""Percentile, over the calibration images, of the extremes of a tensor, which sets its range. With
the maximum over 200 images, the quantisation steps would be too coarse for the others."""
GOOD_MEAN_MONTHS, GOOD_MAX_MONTHS = 0.25, 1.4
"""Limits of the difference from float32 on training images in months, below the promised limits,
which are measured on other images."""
SHARE_OF_ERROR = 0.04
"""Mean difference from float32, as a share of the network's own error, that needs no tuning."""
MOST_EASE = 1.8
"""Largest factor of the two limits above: 0.45 and 2.5 months, still below what is promised."""
_TUNING_CASES = 100
_SENSITIVITY_CASES = 12
_GROUP = 8
"""Number of convolutions whose sensitivity is first measured together."""
_SINGLES = 4
"""Number of convolutions that are ranked individually before whole groups are used."""
_MOST_IN_FLOAT = 0.4
"""Maximum share of the convolutions that remain in float32."""

_CONVOLUTIONS = (TFLOperationName.CONV_2D, TFLOperationName.DEPTHWISE_CONV_2D)
_BETWEEN = (
    TFLOperationName.ADD,
    TFLOperationName.MAX_POOL_2D,
    TFLOperationName.AVERAGE_POOL_2D,
    TFLOperationName.PAD,
    TFLOperationName.STRIDED_SLICE,
)
"""Operations between convolutions that are computed in int8."""


@dataclass(frozen=True)
class _Operation:
    kind: TFLOperationName
    output: str


def convert_int8(float32: bytes, calibration: Sequence[Case], error_months: float = 0.0) -> bytes:
    """Converts a file to one whose backbone is computed in int8.

    Args:
        float32: a file from `lite.convert_float32`, with a float32 or uint8 image.
        calibration: cases from training images of all ages and both sexes, not used for figures.
        error_months: mean absolute error of the network. A difference of `SHARE_OF_ERROR` of it is
            accepted within the promised limits, without the tuning, which takes most of the time.

    Raises:
        ExportError: there are no calibration images, or no convolutions.
    """
    if not calibration:
        raise ExportError("int8 needs images to calibrate on; set --config.calibration_images=200")
    operations = _backbone(float32)
    ranges = activation_ranges(float32, calibration)
    step = max(1, len(calibration) // _TUNING_CASES)
    tuning = calibration[::step][:_TUNING_CASES]
    expected = months_of(float32, tuning)
    ease = np.clip(SHARE_OF_ERROR * error_months / GOOD_MEAN_MONTHS, 1.0, MOST_EASE)

    progress = Minutes("quantising to int8, files tried")

    def quantize(chosen: Sequence[_Operation]) -> bytes:
        progress.step()
        return _quantize(float32, chosen, ranges)

    data = quantize(operations)
    best, off = data, _difference(data, tuning, expected)
    if off[1] <= ease:
        return best
    convolutions = [one for one in operations if one.kind in _CONVOLUTIONS]
    in_float: set[_Operation] = set()
    counts = _counts(len(convolutions))
    for one in _most_sensitive_first(convolutions, quantize, tuning, expected):
        in_float.add(one)
        if len(in_float) not in counts:
            continue
        data = quantize([other for other in operations if other not in in_float])
        found = _difference(data, tuning, expected)
        if found < off:
            best, off = data, found
        if found[1] <= ease:
            return data
        if len(in_float) == counts[-1]:
            break
    return best


def _difference(data: bytes, tuning: Sequence[Case], expected: np.ndarray) -> tuple[float, float]:
    """Returns the mean difference of a file from float32 in months, and its ratio to the limits.

    The ratio is at most 1 if mean and maximum are within the limits.
    """
    difference = np.abs(months_of(data, tuning) - expected)
    share = max(difference.mean() / GOOD_MEAN_MONTHS, difference.max() / GOOD_MAX_MONTHS)
    return float(difference.mean()), float(share)


def _counts(convolutions: int) -> list[int]:
    """Returns the numbers of convolutions that are tried in float32."""
    most = max(1, int(_MOST_IN_FLOAT * convolutions))
    counts = [1, 2, 4, 8, 16, 32, 48]
    return [count for count in counts if count < most] + [most]


def _most_sensitive_first(
    convolutions: Sequence[_Operation],
    quantize: Callable[[Sequence[_Operation]], bytes],
    tuning: Sequence[Case],
    expected: np.ndarray,
) -> Iterator[_Operation]:
    """Yields convolutions in descending order of the change of the age with int8 for each alone.

    Neighbours are measured together, and only the group with the largest change is halved, so that
    the first `_SINGLES` convolutions of a deep network need a fraction of all measurements. After
    these, groups are yielded without further division.
    """
    few = slice(None, None, max(1, len(tuning) // _SENSITIVITY_CASES))

    def measured(group: Sequence[_Operation]) -> tuple[float, Sequence[_Operation]]:
        return float(np.abs(months_of(quantize(group), tuning[few]) - expected[few]).mean()), group

    groups = [
        measured(convolutions[at : at + _GROUP]) for at in range(0, len(convolutions), _GROUP)
    ]
    yielded = 0
    while groups:
        groups.sort(key=lambda group: group[0])
        _, worst = groups.pop()
        if len(worst) == 1 or yielded >= _SINGLES:
            yield from worst
            yielded += len(worst)
            continue
        half = (len(worst) + 1) // 2
        groups += [measured(worst[:half]), measured(worst[half:])]


def _backbone(float32: bytes) -> list[_Operation]:
    """Returns the convolutions, and the operations of `_BETWEEN` between them."""
    model = tfl_flatbuffer_utils.read_model(float32)
    graph = model.subgraphs[0]
    kinds = {code: kind for kind, code in tfl_flatbuffer_utils.TFL_OP_NAME_TO_CODE.items()}
    found, in_backbone = [], set()
    for operator in graph.operators:
        kind = kinds.get(model.operatorCodes[operator.opcodeIndex].builtinCode)
        output = operator.outputs[0]
        inputs = [place for place in operator.inputs if _is_computed(graph.tensors[place], model)]
        follows = kind in _BETWEEN and all(place in in_backbone for place in inputs)
        if kind in _CONVOLUTIONS or follows:
            in_backbone.add(output)
            name = tfl_flatbuffer_utils.get_tensor_name(graph.tensors[output])
            found.append(_Operation(kind, name))
    if not any(one.kind in _CONVOLUTIONS for one in found):
        raise ExportError("the network has no convolution that could be int8")
    return found


def _is_computed(tensor: Any, model: Any) -> bool:
    """Returns whether a tensor is computed, as opposed to a constant in the file."""
    return model.buffers[tensor.buffer].data is None


def activation_ranges(float32: bytes, calibration: Sequence[Case]) -> dict[str, dict]:
    """Returns the ranges of all computed float32 tensors in the quantizer's format.

    The quantizer's calibration uses a moving average of the extremes, which clips half of the
    images, and takes minutes. The tensors are therefore read from an interpreter.
    """
    model = tfl_flatbuffer_utils.read_model(float32)
    graph = model.subgraphs[0]
    computed = {
        tfl_flatbuffer_utils.get_tensor_name(tensor)
        for tensor in graph.tensors
        if tensor.type == schema_py.TensorType.FLOAT32 and _is_computed(tensor, model)
    }
    interpreter = Interpreter(
        model_content=float32,
        experimental_preserve_all_tensors=True,
        experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
        num_threads=2,
    )
    interpreter.allocate_tensors()
    run = interpreter.get_signature_runner(schema.SERVING_SIGNATURE)
    places = {
        one["name"]: one["index"]
        for one in interpreter.get_tensor_details()
        if one["name"] in computed
    }
    ends: dict[str, list[tuple[float, float]]] = {name: [] for name in places}
    for image, sex in calibration:
        ask(run, (image, sex))
        for name, place in places.items():
            values = interpreter.tensor(place)()
            ends[name].append((float(values.min()), float(values.max())))
    return {
        name: {
            "min": np.percentile([low for low, _ in found], 100 - RANGE_PERCENTILE, keepdims=True),
            "max": np.percentile([high for _, high in found], RANGE_PERCENTILE, keepdims=True),
        }
        for name, found in ends.items()
    }


def _quantize(float32: bytes, chosen: Sequence[_Operation], ranges: dict) -> bytes:
    recipes = recipe_manager.RecipeManager()
    for one in chosen:
        recipes.add_static_config(
            f"^{re.escape(one.output)};?$", one.kind, activation_num_bits=8, weight_num_bits=8
        )
    recipe = recipes.get_quantization_recipe()
    known = {name: {end: np.float32(of[end]) for end in of} for name, of in ranges.items()}
    # It draws progress bars.
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        return bytes(quantizer.Quantizer(float32, recipe).quantize(known).quantized_model)


def months_of(data: bytes, cases: Sequence[Case]) -> np.ndarray:
    """Returns the ages [N] in months that a LiteRT file predicts."""
    runner = Interpreter(model_content=data, num_threads=2).get_signature_runner(
        schema.SERVING_SIGNATURE
    )
    return np.array([ask(runner, case)[schema.AGE_MONTHS].item() for case in cases], float)


def ask(runner: Any, case: Case) -> dict[str, np.ndarray]:
    """Returns the outputs of a LiteRT file for a case, with a float32 or uint8 image."""
    image, sex = case
    dtype = np.dtype(runner.get_input_details()[schema.IMAGE]["dtype"])
    if dtype == np.uint8:
        image = np.clip(np.rint(image), 0, 255)
    return runner(image=image.astype(dtype), sex=sex.astype(np.float32))
