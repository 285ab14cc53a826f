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
    """Writes a network with kernels rounded to half precision, which halves the file.

    Kernels remain float32 arrays with a mantissa of ten bits. The given network is not changed.
    Keras reads the file like any other.

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
    """Returns an HDF5 file whose arrays are compressed by bytes of the same significance.

    The last bits of rounded kernels are zero, so that a file is a quarter smaller than without the
    shuffle filter. HDF5 reads it like any other.
    """
    packed = io.BytesIO()
    with h5py.File(io.BytesIO(content)) as source, h5py.File(packed, "w") as target:

        def copy(name: str, item: h5py.Dataset | h5py.Group) -> None:
            if isinstance(item, h5py.Dataset):
                filters = {"compression": "gzip", "compression_opts": _COMPRESSION, "shuffle": True}
                options = {**filters, "chunks": item.shape} if item.size >= _SMALL else {}
                new = target.create_dataset(name, data=item[()], **options)
            else:
                new = target.require_group(name)
            new.attrs.update(item.attrs)

        target.attrs.update(source.attrs)
        source.visititems(copy)
    return packed.getvalue()


def rounded(values: np.ndarray) -> np.ndarray:
    """Returns weights, float32; kernels are rounded to values of half precision."""
    return values.astype(np.float16).astype(np.float32) if values.ndim >= _KERNEL_AXES else values
