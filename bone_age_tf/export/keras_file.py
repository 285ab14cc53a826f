"""Writes the trained network as a `.keras` file of half the size."""

import zipfile
from pathlib import Path

import keras
import numpy as np

_COMPRESSION = 1
"""Deflate level, 1 to 9. Level 9 makes the file of a ResNet50 7 % smaller and takes 13 times as
long."""

_KERNEL_AXES = 2
"""Minimum number of axes of weights that are rounded. Biases, scales and moments have fewer axes;
they are small, and moments of pixels exceed the range of half precision."""


def write_keras_file(network: keras.Model, path: Path) -> None:
    """Writes a network with kernels rounded to half precision, which halves the file.

    Kernels remain float32 arrays with a mantissa of ten bits. The given network is not changed.
    Keras reads the file like any other.

    Args:
        network: the network in float32.
        path: path of the new `.keras` file.
    """
    trained = network.get_weights()
    network.set_weights([_rounded(values) for values in trained])
    plain = path.with_name(f"plain-{path.name}")
    try:
        network.save(plain)
    finally:
        network.set_weights(trained)
    with (
        zipfile.ZipFile(plain) as source,
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=_COMPRESSION) as target,
    ):
        for name in source.namelist():
            target.writestr(name, source.read(name))
    plain.unlink()


def _rounded(values: np.ndarray) -> np.ndarray:
    return values.astype(np.float16).astype(np.float32) if values.ndim >= _KERNEL_AXES else values
