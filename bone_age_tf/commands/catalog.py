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
    "score": "read an archive of radiographs, on Apache Beam or Spark",
    "calibrate": "correct an exported model for a site, from its own cases",
    "transfer_check": "compare initial weights with random ones on the same budget",
    "train_quality_check": "train the network for the quality check of radiographs",
    "train_region_detector": "train the network that finds the ossification regions",
    "audit": "look for wrong labels, copies and unusable images in a dataset",
    "node": "read the radiographs that a PACS sends, and send it the results",
    "web": "build and serve the page that reads radiographs in the browser",
    "pack": "write a prepared dataset as one compact file",
    "recipe": "train in several stages",
}
"""Purpose of each mode by name; the mode's module in this package has the same name."""

FORMER_NAMES: Final = {"train_film_check": "train_quality_check"}
"""Former names of modes, which are still accepted."""


def load_mode(name: str) -> ModuleType:
    """Returns a mode's module, which has `define_flags(values)` and `run(values, overrides)`.

    Importing it does not import TensorFlow; `NEEDS_TENSORFLOW` is true if `run` does. Optional
    attributes: `EXAMPLES`, text for `--help`; `INPUT_FLAG`, the flag whose value may be given as a
    bare argument; `RESUMES`, whether the same command continues an interrupted one.
    """
    return importlib.import_module(f"bone_age_tf.commands.{name}")
