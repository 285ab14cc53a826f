"""Packages of the optional extras, and the error message if one is missing.

Standard library only.
"""

import contextlib
import importlib.util
from collections.abc import Iterable, Iterator

from bone_age_tf.errors import MissingExtraError

_EXTRAS = {
    "beam": ("apache_beam", "pyarrow"),
    "dicom": ("gdcm", "highdicom", "jpeg_ls", "openjpeg", "pydicom", "pylibjpeg"),
    "explain": ("tf_explain",),
    "node": ("dicomweb_client", "pynetdicom", "requests"),
    "onnx": ("onnx", "onnxruntime", "tf2onnx"),
    "pandas": ("pandas",),
    "serve": ("google", "grpc"),
    "spark": ("pyspark",),
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
    """Raises an error that names the extra if the block imports a missing package of an extra.

    Args:
        purpose: what needs the package, for the message, such as "--mode=train".

    Raises:
        MissingExtraError: a package of an extra is not installed.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        extra = _extra_of(package)
        if extra is None:
            raise
        raise MissingExtraError(purpose, extra) from error


def require_packages(purpose: str, packages: Iterable[str]) -> None:
    """Checks that packages of extras are installed, without importing them.

    Args:
        purpose: what needs the packages, for the message.
        packages: top-level packages.

    Raises:
        MissingExtraError: a package is not installed; the message names all extras that are needed.
    """
    missing = [package for package in packages if importlib.util.find_spec(package) is None]
    extras = dict.fromkeys(extra for package in missing if (extra := _extra_of(package)))
    if extras:
        raise MissingExtraError(purpose, ",".join(extras))


def _extra_of(package: str) -> str | None:
    return next((name for name, packages in _EXTRAS.items() if package in packages), None)
