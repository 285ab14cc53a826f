"""Optional extras: which packages belong to which, and one line where one is missing.

Standard library only.
"""

import contextlib
from collections.abc import Iterator

from bone_age_tf.errors import MissingExtraError

_EXTRAS = {
    "explain": ("tf_explain",),
    "onnx": ("onnx", "onnxruntime", "tf2onnx"),
    "pandas": ("pandas",),
    "serve": ("google", "grpc"),
    "train": (
        "ai_edge_quantizer",
        "h5py",
        "imagehash",
        "importlib_resources",
        "jinja2",
        "keras",
        "keras_cv",
        "matplotlib",
        "ml_collections",
        "openpyxl",
        "tensorboard",
        "tensorflow",
        "tensorflow_datasets",
    ),
}
"""Top-level packages by the extra that installs them."""


@contextlib.contextmanager
def named_extras(purpose: str) -> Iterator[None]:
    """Names the extra to install where the block imports a package of an extra that is missing.

    Args:
        purpose: what needs it, for people, such as "--mode=train".

    Raises:
        MissingExtraError: a package of an extra is not installed.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        extra = next((name for name, packages in _EXTRAS.items() if package in packages), None)
        if extra is None:
            raise
        raise MissingExtraError(purpose, extra) from error
