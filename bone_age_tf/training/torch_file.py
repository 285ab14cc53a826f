"""Reads tensors from files of PyTorch before version 1.6, without PyTorch.

Such a file is a sequence of pickles (a magic number, the protocol, facts about the machine, the
object, the keys of its storages), followed by the storages: length and raw little-endian values.
The object refers to storages by key (`torch.serialization`, `_legacy_save`).
"""

import collections
import pickle
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from bone_age_tf.errors import DataError
from bone_age_tf.tensors import Shape

_MAGIC = 0x1950A86A20F9469CFC6C
_TYPES = {"FloatStorage": np.dtype("<f4"), "LongStorage": np.dtype("<i8")}


def read_tensors(path: Path) -> dict[str, np.ndarray]:
    """Returns the tensors of a file as arrays by name.

    No code in the file is executed: only the classes of a dict of tensors are allowed.

    Raises:
        DataError: the file has another format, or contains other objects than tensors by name; the
            message names the file.
    """
    try:
        with path.open("rb") as file:
            return _read(file)
    except (pickle.UnpicklingError, EOFError, KeyError, TypeError, IndexError) as error:
        raise DataError(f"{path}: not a file of PyTorch tensors ({error})") from None


def _read(file: BinaryIO) -> dict[str, np.ndarray]:
    if pickle.load(file) != _MAGIC:
        raise pickle.UnpicklingError("no magic number")
    for _ in range(2):  # protocol, facts about the machine
        _TensorUnpickler(file).load()
    table = _TensorUnpickler(file)
    tensors = table.load()
    storages = {}
    for key in _TensorUnpickler(file).load():
        dtype = table.dtypes[key]
        length = int(np.frombuffer(file.read(8), "<i8")[0])
        storages[key] = np.frombuffer(file.read(length * dtype.itemsize), dtype)
    return {name: tensor.view(storages) for name, tensor in tensors.items()}


class _Tensor:
    """A tensor whose storage has not been read yet."""

    def __init__(self, key: Any, offset: Any, shape: Shape, strides: Any, *_: Any) -> None:
        self.key, self.offset, self.shape, self.strides = key, offset, shape, strides

    def view(self, storages: dict[str, np.ndarray]) -> np.ndarray:
        """Returns the array."""
        values = storages[self.key][self.offset :]
        steps = [stride * values.itemsize for stride in self.strides]
        return np.lib.stride_tricks.as_strided(values, self.shape, steps).copy()


class _TensorUnpickler(pickle.Unpickler):
    """Unpickler that only allows dicts and tensors."""

    def __init__(self, file: BinaryIO):
        super().__init__(file)
        self.dtypes: dict[str, np.dtype] = {}

    def find_class(self, module: str, name: str) -> Any:
        """Returns the object for a name in the file."""
        if (module, name) == ("collections", "OrderedDict"):
            return collections.OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _Tensor
        if module == "torch" and name in _TYPES:
            return _TYPES[name]
        raise pickle.UnpicklingError(f"it refers to {module}.{name}")

    def persistent_load(self, storage: tuple) -> str:
        """Returns the key of a storage (`storage`, type, key, device, length, view)."""
        _, dtype, key, *_ = storage
        self.dtypes[key] = dtype
        return key
