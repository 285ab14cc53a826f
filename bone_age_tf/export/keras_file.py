"""Writes the trained network as a `.keras` file of half the size."""

import io
import zipfile
from pathlib import Path

import h5py
import keras
import numpy as np

_COMPRESSION = 4
"""Deflate level, 1 to 9. Level 9 takes ten times as long and makes files 2 % smaller."""
_WEIGHTS = ".h5"
_SMALL = 64
"""Number of values below which weights are not compressed."""

_KERNEL_AXES = 2
"""Minimum number of axes of weights that are rounded. Biases, scales and moments have fewer axes;
they are small, and moments of pixels exceed the range of half precision."""


def write_keras_file(network: keras.Model, path: Path) -> None:
    """Writes a network with kernels in half precision, which halves the file.

    The given network is not changed. Keras reads the file like any other, and casts the kernels to
    the network's own precision.

    Args:
        network: the network in float32.
        path: path of the new `.keras` file.
    """
    trained = network.get_weights()
    network.set_weights([rounded(values) for values in trained])
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
            content = source.read(name)
            target.writestr(name, _shuffled(content) if name.endswith(_WEIGHTS) else content)
    plain.unlink()


def _shuffled(content: bytes) -> bytes:
    """Returns an HDF5 file with rounded kernels as float16, which HDF5 reads like any other.

    The arrays are compressed by bytes of the same significance (shuffle filter).
    """
    packed = io.BytesIO()
    with h5py.File(io.BytesIO(content)) as source, h5py.File(packed, "w") as target:

        def copy(name: str, item: h5py.Dataset | h5py.Group) -> None:
            if isinstance(item, h5py.Dataset):
                filters = {"compression": "gzip", "compression_opts": _COMPRESSION, "shuffle": True}
                options = {**filters, "chunks": item.shape} if item.size >= _SMALL else {}
                new = target.create_dataset(name, data=_halved(item[()]), **options)
            else:
                new = target.require_group(name)
            new.attrs.update(item.attrs)

        target.attrs.update(source.attrs)
        source.visititems(copy)
    return packed.getvalue()


def _halved(values: np.ndarray) -> np.ndarray:
    """Returns rounded kernels as float16, and other arrays as they are."""
    if values.dtype != np.float32 or values.ndim < _KERNEL_AXES:
        return values
    half = values.astype(np.float16)
    return half if np.array_equal(half.astype(np.float32), values) else values


def rounded(values: np.ndarray) -> np.ndarray:
    """Returns weights, float32; kernels are rounded to values of half precision."""
    return values.astype(np.float16).astype(np.float32) if values.ndim >= _KERNEL_AXES else values
