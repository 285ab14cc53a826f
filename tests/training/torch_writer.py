"""Writes files as PyTorch before 1.6 did, without PyTorch, for the tests of what reads them."""

import collections
import pickle
import sys
import types

import numpy as np


class _Storage:
    def __init__(self, key, values):
        self.key, self.values = key, values


def write_tensors(path, tensors, monkeypatch):
    """Writes arrays by name; a transposed view keeps its strides, as PyTorch does."""
    torch, utils = types.ModuleType("torch"), types.ModuleType("torch._utils")

    def rebuild(*arguments):
        return arguments

    rebuild.__module__, rebuild.__qualname__ = "torch._utils", "_rebuild_tensor_v2"
    utils._rebuild_tensor_v2 = rebuild
    kinds = {}
    for name, dtype in (("FloatStorage", "float32"), ("LongStorage", "int64")):
        kinds[dtype] = type(name, (), {"__module__": "torch", "__qualname__": name})
        setattr(torch, name, kinds[dtype])
    monkeypatch.setitem(sys.modules, "torch", torch)
    monkeypatch.setitem(sys.modules, "torch._utils", utils)
    storages = []

    class Tensor:
        def __init__(self, array):
            base = array if array.base is None else array.base
            self.array = array
            self.storage = _Storage(str(len(storages)), base)
            storages.append(self.storage)

        def __reduce__(self):
            array = self.array
            steps = tuple(step // array.itemsize for step in array.strides)
            facts = (self.storage, 0, array.shape, steps, False, collections.OrderedDict())
            return rebuild, facts

    class Pickler(pickle.Pickler):
        def persistent_id(self, thing):
            if isinstance(thing, _Storage):
                kind = kinds[str(thing.values.dtype)]
                return "storage", kind, thing.key, "cpu", thing.values.size, None
            return None

    table = collections.OrderedDict((name, Tensor(array)) for name, array in tensors.items())
    with path.open("wb") as file:
        pickle.dump(0x1950A86A20F9469CFC6C, file, protocol=2)
        pickle.dump(1001, file, protocol=2)
        pickle.dump({"little_endian": True}, file, protocol=2)
        Pickler(file, protocol=2).dump(table)
        pickle.dump([storage.key for storage in storages], file, protocol=2)
        for storage in storages:
            file.write(np.int64(storage.values.size).tobytes())
            file.write(np.ascontiguousarray(storage.values).tobytes())
