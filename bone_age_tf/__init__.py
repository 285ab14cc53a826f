"""Bone age from radiographs of the left hand and wrist, with TensorFlow and Keras.

    import bone_age_tf as ba

    reader = ba.load()
    result = reader.read("hand.png", sex="female")
    print(result.age_months, result.interval_90_months, result.status)

Research use; not a medical device. Names are imported when they are first used, so that reading
radiographs needs no TensorFlow.
"""

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.2.0"

_PUBLIC = {
    "BoneAgeError": "errors",
    "Bundle": "bundle",
    "Prediction": "inference.predictor",
    "Radiograph": "radiograph",
    "Reader": "reader",
    "Result": "inference.result",
    "ResultTable": "result_table",
    "Run": "runs",
    "build_model": "training_api",
    "get_config": "training_api",
    "list_exports": "catalog",
    "list_models": "models.catalog",
    "load": "reader",
    "train": "training_api",
}
"""Public name to the module that defines it."""

__all__ = [*_PUBLIC, "__version__"]

if TYPE_CHECKING:
    from bone_age_tf.bundle import Bundle as Bundle
    from bone_age_tf.catalog import list_exports as list_exports
    from bone_age_tf.errors import BoneAgeError as BoneAgeError
    from bone_age_tf.inference.predictor import Prediction as Prediction
    from bone_age_tf.inference.result import Result as Result
    from bone_age_tf.models.catalog import list_models as list_models
    from bone_age_tf.radiograph import Radiograph as Radiograph
    from bone_age_tf.reader import Reader as Reader
    from bone_age_tf.reader import load as load
    from bone_age_tf.result_table import ResultTable as ResultTable
    from bone_age_tf.runs import Run as Run
    from bone_age_tf.training_api import build_model as build_model
    from bone_age_tf.training_api import get_config as get_config
    from bone_age_tf.training_api import train as train


def __getattr__(name: str) -> Any:
    """Imports a public name when it is first used."""
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_PUBLIC[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """Returns the public names."""
    return sorted(__all__)
