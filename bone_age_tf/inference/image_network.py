"""Loads exported networks with one image as the input; no TensorFlow."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from ai_edge_litert.interpreter import Interpreter

from bone_age_tf import schema
from bone_age_tf.errors import ModelError
from bone_age_tf.inference.predictor import load_interpreter

Loaded = TypeVar("Loaded")


def load_image_network(
    folder: str | Path,
    make: Callable[[Interpreter, dict[str, Any]], Loaded],
    what: str,
    remedy: str,
) -> Loaded:
    """Loads an export folder, `exports/<name>/<version>`.

    Args:
        folder: folder with `metadata.json` and a LiteRT file.
        make: creates the object from the interpreter and the metadata, and runs the network once.
        what: name of the network in messages.
        remedy: remedy in messages.

    Raises:
        ModelError: a file is missing or malformed, or `make` fails.
    """
    folder = Path(folder)
    try:
        content = json.loads((folder / schema.METADATA_FILE).read_text("utf-8"))
        (name,) = content["files"].values()
        path = folder / name
        return make(load_interpreter(path), content)
    except (AttributeError, KeyError, OSError, RuntimeError, TypeError, ValueError) as error:
        raise ModelError(
            f"{folder}: not a usable {what} ({type(error).__name__}: {error}); {remedy}"
        ) from None
