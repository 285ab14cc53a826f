"""The modes of the command line. Standard library only."""

import importlib
from types import ModuleType
from typing import Final

MODES: Final = {
    "train": "train a model, then evaluate, export and explain it",
    "evaluate": "measure a trained run on its test data",
    "export": "write a trained run as SavedModel, LiteRT and ONNX files",
    "explain": "show what predictions are based on",
    "predict": "read radiographs with an exported model or a server",
    "calibrate": "correct an exported model for a site, from its own cases",
    "transfer_check": "compare initial weights with random ones on the same budget",
    "train_film_check": "train the network for the quality check of radiographs",
    "train_region_detector": "train the network that finds the ossification regions",
    "audit": "look for wrong labels, copies and unusable images in a dataset",
    "web": "build and serve the page that reads radiographs in the browser",
    "pack": "write a prepared dataset as one compact file",
    "recipe": "train in several stages",
}
"""What each mode does; its module in this package has the same name."""


def load_mode(name: str) -> ModuleType:
    """Returns a mode's module, which has `define_flags(values)` and `run(values, overrides)`.

    Importing it imports no TensorFlow; `NEEDS_TENSORFLOW` tells whether `run` does. Optional:
    `EXAMPLES`, for `--help`; `INPUT_FLAG`, the flag that a bare argument stands for; `RESUMES`,
    whether the same command continues an interrupted one.
    """
    return importlib.import_module(f"bone_age_tf.commands.{name}")
