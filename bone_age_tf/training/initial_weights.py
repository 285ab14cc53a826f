"""Initial weights of a run: random, ImageNet, another run, or a file."""

import dataclasses
import importlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType

import keras
import numpy as np

from bone_age_tf.config import read_config
from bone_age_tf.errors import ConfigError
from bone_age_tf.models.build import load_network, model_traits
from bone_age_tf.models.catalog import MODELS
from bone_age_tf.settings import Config

RANDOM, IMAGENET = "random", "imagenet"
BEST = Path("checkpoints") / "best.keras"


@dataclasses.dataclass(frozen=True)
class Loaded:
    """Names of the layers that were and were not loaded from a source.

    Attributes:
        layers: layers whose weights were loaded.
        missing: layers that the source does not have.
        other_shape: layers that have another shape in the source.
        unused: layers that only the source has.
        parameters: number of loaded parameters.
    """

    layers: tuple[str, ...]
    missing: tuple[str, ...]
    other_shape: tuple[str, ...]
    unused: tuple[str, ...]
    parameters: int

    def __str__(self) -> str:
        lines = [f"loaded {len(self.layers)} layers, {self.parameters:,} parameters"]
        for description, names in (
            ("left random, not in the source", self.missing),
            ("left random, of another shape in the source", self.other_shape),
            ("only in the source", self.unused),
        ):
            if names:
                lines.append(f"  {description}: {', '.join(names)}")
        return "\n".join(lines)


def initialise(network: keras.Model, config: Config) -> Loaded | None:
    """Loads the weights that `config.init` names into a new network.

    Layers are matched by name, and loaded if all shapes agree. What is never trained, such as the
    region detector in `bonewise`, comes from its export instead.

    Args:
        network: a model that `build_model` built; changed in place.
        config: its config; `init` is `random`, `imagenet`, the folder of a run, a `.keras` file, or
            the `.h5` file of ImageNet weights that Keras distributes for this model. The weights of
            several runs or files, separated by commas, are averaged (model soups; Wortsman et al.
            2022, arXiv 2203.05482), which requires networks with a common origin.

    Returns:
        The layers that were and were not loaded; None for `random`.

    Raises:
        ConfigError: the source is not available, was trained on another range of pixels, or has no
            layer of the network. The message gives the remedy.
    """
    traits = model_traits(config.model)
    loaded = None
    if config.init != RANDOM:
        loaded = load_matching(network, _source(config), traits.source_layer)
    if traits.load_frozen is not None:
        traits.load_frozen(network)
    if loaded is not None and not loaded.layers:
        raise ConfigError(
            f"--config.init={config.init}: no layer has the name and shapes of one of "
            f"{config.model}; its layers are {', '.join(loaded.unused[:5])}, ..."
        )
    return loaded


def require_source(config: Config) -> None:
    """Checks that the source in `config.init` is available, before other work begins.

    Raises:
        ConfigError: see `initialise`, except for errors that only occur when weights are read.
    """
    if config.init == IMAGENET:
        published = _published(config.model)
        if isinstance(published, ModuleType):
            published.find_file()
    elif config.init != RANDOM:
        _files(config)


def load_matching(
    network: keras.Model,
    source: keras.Model,
    source_layer: Callable[[str], str] | None = None,
) -> Loaded:
    """Loads the weights of each layer with the same name and shapes in a source.

    Args:
        network: the network, changed in place.
        source: where the weights come from.
        source_layer: function from the name of a layer to the name in the source of a layer that
            is not there under its own.
    """
    theirs = {layer.name: layer for layer in source.layers if layer.weights}
    ours = {layer.name: layer for layer in network.layers if layer.weights}
    taken, missing, other_shape, used, parameters = [], [], [], set(), 0
    for own_name, layer in ours.items():
        name = own_name
        if name not in theirs and source_layer is not None:
            name = source_layer(own_name)
        used.add(name)
        if name not in theirs:
            missing.append(own_name)
        elif [w.shape for w in theirs[name].weights] != [w.shape for w in layer.weights]:
            other_shape.append(own_name)
        else:
            layer.set_weights(theirs[name].get_weights())
            taken.append(own_name)
            parameters += layer.count_params()
    unused = [name for name in theirs if name not in used]
    return Loaded(tuple(taken), tuple(missing), tuple(other_shape), tuple(unused), parameters)


def mean_weights(networks: Sequence[keras.Model]) -> list[np.ndarray]:
    """Returns the mean of each weight over networks of the same model.

    Raises:
        ValueError: the number or the shapes of the weights differ.
    """
    each = zip(*(network.get_weights() for network in networks), strict=True)
    return [np.mean(weights, axis=0) for weights in each]


def _source(config: Config) -> keras.Model:
    if config.init == IMAGENET:
        return _imagenet(config.model)
    first, *others = (_read(config, path) for path in _files(config))
    if others:
        try:
            first.set_weights(mean_weights([first, *others]))
        except ValueError:
            raise ConfigError(
                f"--config.init={config.init}: these are not networks of the same model"
            ) from None
    return first


def _read(config: Config, path: Path) -> keras.Model:
    try:
        if path.suffix == ".h5":
            return _application(config.model)(include_top=False, weights=str(path))
        return load_network(path)
    except (ValueError, TypeError, OSError, KeyError) as error:
        raise ConfigError(f"{path}: not a Keras model that can be read ({error})") from None


def _files(config: Config) -> list[Path]:
    return [_file(config, name) for name in config.init.split(",")]


def _file(config: Config, name: str) -> Path:
    path = Path(name)
    if path.is_dir():
        pixels = read_config(path / "config.json").get("pixels", "unit")
        if pixels != config.pixels:
            raise ConfigError(
                f"{path} was trained on pixels={pixels}; add --config.pixels={pixels}"
            )
        path = path / BEST
    if not path.is_file():
        raise ConfigError(
            f"--config.init={name}: no such file or run; give random, imagenet, the folder "
            "of a trained run such as runs/NAME, a .keras file, or the .h5 file that Keras "
            "distributes for this model; or several runs with commas between"
        )
    return path


def _published(name: str) -> Callable[..., keras.Model] | ModuleType:
    """Returns the source of a model's ImageNet weights: Keras' function, or a module.

    Raises:
        ConfigError: there are no ImageNet weights for the model.
    """
    imagenet = model_traits(name).imagenet
    if imagenet is None:
        known = ", ".join(each for each in MODELS if model_traits(each).imagenet is not None)
        raise ConfigError(f"there are no ImageNet weights for {name}; there are for {known}")
    return importlib.import_module(imagenet) if isinstance(imagenet, str) else imagenet


def _application(name: str) -> Callable[..., keras.Model]:
    """Returns Keras' function that builds a model's backbone with ImageNet weights.

    Raises:
        ConfigError: Keras distributes none.
    """
    published = _published(name)
    if isinstance(published, ModuleType):
        raise ConfigError(f"Keras distributes no ImageNet weights for {name}")
    return published


def _imagenet(name: str) -> keras.Model:
    published = _published(name)
    if isinstance(published, ModuleType):
        return published.load_imagenet()
    try:
        return published(include_top=False, weights="imagenet")
    except ConfigError:
        raise
    # The exceptions of a failed download are not documented and depend on the cause.
    except Exception as error:
        file = f"{name}_weights_tf_dim_ordering_tf_kernels_notop.h5"
        folder = Path(os.environ.get("KERAS_HOME", Path.home() / ".keras")) / "models"
        raise ConfigError(
            f"the ImageNet weights of {name} could not be fetched ({error}). Put the file {file}, "
            f"which Keras distributes, into {folder} and start again; or use --config.init=random"
        ) from None
