"""Chooses the fastest number format for training on this machine."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import keras

from bone_age_tf.models.build import build_model
from bone_age_tf.settings import Config

FLOAT32, BFLOAT16, FLOAT16 = "float32", "mixed_bfloat16", "mixed_float16"


def choose_precision(precision: str, config: Config | None = None) -> str:
    """Resolves `auto` and returns the name of a Keras dtype policy.

    For GPUs with suitable tensor cores it is mixed_bfloat16 (compute capability 8.0) or
    mixed_float16 (7.0). For CPUs it is mixed_bfloat16 if the processor multiplies that format
    natively, since emulation is slower than float32, and if the network has no depthwise
    convolutions, which are slower in it (see `benchmarks/training_speed.py`).

    Args:
        precision: `auto` or the name of a policy.
        config: config of the network; None for a network of dense convolutions.
    """
    if precision != "auto":
        return precision
    capabilities = _gpu_capabilities()
    if capabilities:
        weakest = min(capabilities)
        if weakest >= (8, 0):
            return BFLOAT16
        return FLOAT16 if weakest >= (7, 0) else FLOAT32
    if not _cpu_multiplies_bfloat16():
        return FLOAT32
    return FLOAT32 if config is not None and _is_depthwise(config) else BFLOAT16


def set_precision(precision: str, config: Config | None = None) -> str:
    """Sets Keras' global dtype policy and returns its name; see `choose_precision`."""
    policy = choose_precision(precision, config)
    keras.mixed_precision.set_global_policy(policy)
    return policy


@contextlib.contextmanager
def in_float32() -> Iterator[None]:
    """Sets float32 while the block runs, for building models for export."""
    policy = keras.mixed_precision.global_policy()
    keras.mixed_precision.set_global_policy(FLOAT32)
    try:
        yield
    finally:
        keras.mixed_precision.set_global_policy(policy)


def _gpu_capabilities() -> list[tuple[int, int]]:
    """Returns the compute capability of each GPU of the backend; (0, 0) if it is unknown."""
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        return [
            tf.config.experimental.get_device_details(gpu).get("compute_capability", (0, 0))
            for gpu in tf.config.list_physical_devices("GPU")
        ]
    if backend == "jax":
        import jax

        versions = [
            str(getattr(device, "compute_capability", "0.0")).split(".")
            for device in jax.devices()
            if device.platform == "gpu"
        ]
        return [(int(major), int(minor)) for major, minor in versions]
    import torch

    return [torch.cuda.get_device_capability(n) for n in range(torch.cuda.device_count())]


def _cpu_multiplies_bfloat16(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    try:
        flags = cpuinfo.read_text()
    except OSError:
        return False
    return "avx512_bf16" in flags or "amx_bf16" in flags


def _is_depthwise(config: Config) -> bool:
    """Returns whether the network has depthwise convolutions."""
    return any(
        isinstance(layer, keras.layers.DepthwiseConv2D) for layer in build_model(config).layers
    )
