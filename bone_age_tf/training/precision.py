"""Which number format trains fastest here."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import keras
import tensorflow as tf


def choose_precision(wanted: str) -> str:
    """Resolves `auto` and returns the name of a Keras dtype policy.

    A GPU with tensor cores for it gets mixed_bfloat16 (compute capability 8.0) or mixed_float16
    (7.0). A CPU gets mixed_bfloat16 only where it multiplies that format itself: emulated, it is
    slower than float32 (`benchmarks/training_speed.py` measures it).

    Args:
        wanted: `auto` or a policy's name.
    """
    if wanted != "auto":
        return wanted
    capabilities = [
        tf.config.experimental.get_device_details(gpu).get("compute_capability", (0, 0))
        for gpu in tf.config.list_physical_devices("GPU")
    ]
    if capabilities:
        weakest = min(capabilities)
        if weakest >= (8, 0):
            return "mixed_bfloat16"
        return "mixed_float16" if weakest >= (7, 0) else "float32"
    return "mixed_bfloat16" if _cpu_multiplies_bfloat16() else "float32"


def set_precision(wanted: str) -> str:
    """Makes the chosen policy Keras' own and returns its name."""
    policy = choose_precision(wanted)
    keras.mixed_precision.set_global_policy(policy)
    return policy


@contextlib.contextmanager
def in_float32() -> Iterator[None]:
    """Builds what is exported: the weights are float32 in any precision, and LiteRT wants it."""
    policy = keras.mixed_precision.global_policy()
    keras.mixed_precision.set_global_policy("float32")
    try:
        yield
    finally:
        keras.mixed_precision.set_global_policy(policy)


def _cpu_multiplies_bfloat16(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    try:
        flags = cpuinfo.read_text()
    except OSError:
        return False
    return "avx512_bf16" in flags or "amx_bf16" in flags
