"""Devices and workers of a training, and what they agree on; TensorFlow only.

Imports TensorFlow in function calls.
"""

import contextlib
import dataclasses
import functools
import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from typing import Any

import keras
import numpy as np

from bone_age_tf import schema
from bone_age_tf.errors import ConfigError, EngineError, require_known
from bone_age_tf.tensors import Tensor

TF_CONFIG = "TF_CONFIG"
_EXAMPLE = (
    '\'{"cluster": {"worker": ["HOST_0:PORT", "HOST_1:PORT"]}, '
    '"task": {"type": "worker", "index": 0}}\''
)
_CHIEF, _WORKER = "chief", "worker"


@dataclasses.dataclass(frozen=True)
class Distribution:
    """The replicas of a training: one for each device of each worker.

    Each replica computes the gradient of an equal part of every batch. Methods that communicate
    raise an `EngineError` if another worker has ended.

    Attributes:
        strategy: TensorFlow's strategy, which provides the communication. Variables are created
            outside its scope, so that each worker has one ordinary copy of them.
        worker: index of this worker; worker 0 is the chief, which writes all files.
        workers: number of workers.
    """

    strategy: Any
    worker: int = 0
    workers: int = 1

    @property
    def replicas(self) -> int:
        """Number of devices of all workers."""
        return self.strategy.num_replicas_in_sync

    @property
    def replicas_here(self) -> int:
        """Number of devices of this worker."""
        return self.replicas // self.workers

    @property
    def is_chief(self) -> bool:
        """Whether this worker writes the files of the run."""
        return self.worker == 0

    def require_divisible(self, batch_size: int) -> None:
        """Checks that all replicas get the same number of images.

        Raises:
            ConfigError: the number of replicas does not divide the batch size.
        """
        if batch_size % self.replicas:
            below = batch_size // self.replicas * self.replicas
            raise ConfigError(
                f"{self.replicas} devices cannot share a batch of {batch_size} images equally; "
                f"use --config.batch_size={max(below, self.replicas)}"
            )

    def rows_here(self, batch_size: int) -> slice:
        """Returns the rows of a batch that belong to this worker."""
        rows = batch_size // self.workers
        return slice(self.worker * rows, (self.worker + 1) * rows)

    def require_same(self, settings: dict[str, Any]) -> None:
        """Checks that all workers have the same settings, before any of them trains.

        Every worker must call this method.

        Args:
            settings: what determines the training, with values that JSON can represent.

        Raises:
            ConfigError: the settings of a worker differ from those of the chief.
        """
        if self.workers == 1:
            return
        texts = {
            name: json.dumps(value, sort_keys=True, default=str) for name, value in settings.items()
        }
        own = np.array([_digest(text) for text in texts.values()], np.int64)
        table = np.zeros((self.workers, len(own)), np.int64)
        table[self.worker] = own
        table = keras.ops.convert_to_numpy(self._sum([table])[0])
        same = (table == table[0]).all(axis=0)
        names = [name for name, equal in zip(texts, same, strict=True) if not equal]
        if names:
            raise ConfigError(
                f"the workers differ in {', '.join(names)}: start the same command with the same "
                "data on every machine"
            )

    def from_chief(self, number: int) -> int:
        """Returns the number that the chief passes; every worker must call this method."""
        (value,) = self._broadcast([np.array(number, np.int64)])
        return int(value)

    def copy_from_chief(self, variables: Sequence[keras.Variable]) -> None:
        """Gives variables the values of the chief; every worker must call this method."""
        if self.workers == 1:
            return
        values = [_sendable(variable.value) for variable in variables]
        for variable, value in zip(variables, self._broadcast(values), strict=True):
            if not self.is_chief:
                variable.assign(keras.ops.cast(value, variable.dtype))

    def wait_for_all(self) -> None:
        """Returns when every worker has called this method, after which workers may end."""
        self.from_chief(0)
        # No worker ends before all others have completed the wait above. One that completes the
        # following wait may end while another one still reads from it.
        with contextlib.suppress(EngineError):
            self.from_chief(0)

    def _broadcast(self, values: Sequence[Any]) -> list[Any]:
        if self.is_chief:
            return self._sum(values)
        return self._sum([keras.ops.zeros_like(value) for value in values])

    def _sum(self, values: Sequence[Any]) -> list[Any]:
        """Returns the sums of arrays over all workers."""
        if self.workers == 1:
            return list(values)
        sum_fn = _sum_fn(self.strategy, self.replicas_here)
        with lost_workers_reported():
            return sum_fn([keras.ops.convert_to_tensor(value) for value in values])


def make_distribution(kind: str) -> Distribution | None:
    """Connects the devices or the workers of a training.

    TensorFlow connects workers only before its first operation, so this function must be called
    at the start of a program.

    Args:
        kind: one of `schema.DISTRIBUTIONS`. `mirrored` uses all GPUs of this machine, or all
            logical CPU devices if there is no GPU; `multiworker` uses the machines that the
            environment variable TF_CONFIG lists, each with all its GPUs.

    Returns:
        The distribution; None for `none`.

    Raises:
        ConfigError: the kind is unknown, Keras runs on another backend than TensorFlow, or
            TF_CONFIG is missing or malformed.
    """
    require_known("distribution", kind, schema.DISTRIBUTIONS)
    if kind == schema.NO_DISTRIBUTION:
        return None
    backend = keras.backend.backend()
    if backend != "tensorflow":
        raise ConfigError(f"--distribution={kind} needs TensorFlow; KERAS_BACKEND is {backend}")
    if kind == schema.MULTIWORKER:
        worker, workers = read_task(os.environ.get(TF_CONFIG))
    import tensorflow as tf

    if kind == schema.MULTIWORKER:
        from bone_age_tf.images.traced import inline_traced_functions

        inline_traced_functions()
        return Distribution(tf.distribute.MultiWorkerMirroredStrategy(), worker, workers)
    devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
    return Distribution(tf.distribute.MirroredStrategy([device.name for device in devices]))


def read_task(text: str | None) -> tuple[int, int]:
    """Returns this worker's index, 0 for the chief, and the number of workers.

    Args:
        text: the value of TF_CONFIG: JSON with the addresses of all workers in `cluster` and the
            worker that runs here in `task`. A cluster may have a task of the type `chief`;
            otherwise worker 0 is the chief.

    Raises:
        ConfigError: the text is missing or malformed, or names other tasks.
    """
    if not text:
        raise ConfigError(
            f"--distribution=multiworker needs the environment variable {TF_CONFIG}, on this "
            f"machine for instance {TF_CONFIG}={_EXAMPLE}"
        )
    try:
        content = json.loads(text)
        cluster = {name: list(addresses) for name, addresses in content["cluster"].items()}
        kind, index = content["task"]["type"], int(content["task"]["index"])
        tasks = [(name, n) for name in (_CHIEF, _WORKER) for n in range(len(cluster.get(name, ())))]
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ConfigError(f"{TF_CONFIG} is {text!r}; it must look like {_EXAMPLE}") from None
    unknown = sorted(set(cluster) - {_CHIEF, _WORKER})
    if unknown:
        raise ConfigError(f"{TF_CONFIG} lists {', '.join(unknown)}; only workers are used here")
    if (kind, index) not in tasks:
        raise ConfigError(
            f"{TF_CONFIG} has no address for the task of this machine, {kind} {index}"
        )
    return tasks.index((kind, index)), len(tasks)


@contextlib.contextmanager
def lost_workers_reported() -> Iterator[None]:
    """Raises an `EngineError` where the communication has failed."""
    import tensorflow as tf

    lost = (
        tf.errors.UnavailableError,
        tf.errors.AbortedError,
        tf.errors.CancelledError,
        tf.errors.DeadlineExceededError,
    )
    try:
        yield
    except lost as error:
        raise EngineError(
            "the connection to another worker is lost; start the same command on every machine "
            "again, and the training resumes"
        ) from error


@functools.cache
def _sum_fn(strategy: Any, replicas_here: int) -> Any:
    """Returns a function from tensors to their sums over the workers, traced once for a size."""
    import tensorflow as tf

    def sum_values(values: list[Tensor]) -> list[Tensor]:
        def of_replica() -> list[Tensor]:
            context = tf.distribute.get_replica_context()
            first = tf.equal(context.replica_id_in_sync_group % replicas_here, 0)
            sums = list(values)
            # Tensors that are summed together are packed, which needs the same type.
            for dtype in sorted({value.dtype.name for value in values}):
                places = [n for n, value in enumerate(values) if value.dtype.name == dtype]
                own = [tf.where(first, values[n], tf.zeros_like(values[n])) for n in places]
                reduced = context.all_reduce(tf.distribute.ReduceOp.SUM, own)
                for n, value in zip(places, reduced, strict=True):
                    sums[n] = value
            return sums

        return [strategy.experimental_local_results(v)[0] for v in strategy.run(of_replica)]

    return tf.function(sum_values, autograph=False)


def _sendable(value: Tensor) -> Tensor:
    """Returns a tensor in a type that can be summed between machines."""
    kept = ("float32", "float64", "int32", "int64")
    dtype = keras.backend.standardize_dtype(value.dtype)
    if dtype in kept:
        return value
    return keras.ops.cast(value, "float32" if "float" in dtype else "int64")


def _digest(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:6], "big")
