"""Files with 16-bit weights become files with constants of 32 bits and the same answers."""

import numpy as np
from ai_edge_litert import schema_py_generated as schema_py
from ai_edge_litert.interpreter import Interpreter
from ai_edge_litert.tools import flatbuffer_utils

from bone_age_tf.web.float32_file import convert_to_float32


def answer(data, image):
    network = Interpreter(model_content=data, num_threads=1)
    return network.get_signature_runner("serving_default")(image=image)


def test_it_answers_the_same_without_16_bit_weights(root):
    (path,) = (root / "exports" / "region_detector").glob("*/model_float16.tflite")
    half = path.read_bytes()
    single = convert_to_float32(half)
    assert len(single) > 1.8 * len(half)
    image = np.random.default_rng(0).uniform(0, 255, (1, 128, 128, 1)).astype(np.float32)
    for name, values in answer(half, image).items():
        np.testing.assert_array_equal(answer(single, image)[name], values)


def test_operators_that_share_a_constant_both_keep_it(root):
    (path,) = (root / "exports" / "region_detector").glob("*/model_float16.tflite")
    model = flatbuffer_utils.read_model_from_bytearray(bytearray(path.read_bytes()))
    halves = [t for t in model.subgraphs[0].tensors if t.type == schema_py.TensorType.FLOAT16]
    one, other = next(
        (one, other)
        for place, one in enumerate(halves)
        for other in halves[:place]
        if list(one.shape) == list(other.shape)
    )
    one.buffer = other.buffer
    shared = bytes(flatbuffer_utils.convert_object_to_bytearray(model))
    image = np.random.default_rng(0).uniform(0, 255, (1, 128, 128, 1)).astype(np.float32)
    for name, values in answer(shared, image).items():
        np.testing.assert_array_equal(answer(convert_to_float32(shared), image)[name], values)


def test_other_files_stay_as_they_are(root):
    (path,) = (root / "exports" / "region_detector").glob("*/model_float16.tflite")
    single = convert_to_float32(path.read_bytes())
    assert convert_to_float32(single) == single
