"""Training from Python: configs, models and runs. TensorFlow is imported in function calls."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from bone_age_tf import schema
from bone_age_tf.errors import ConfigError
from bone_age_tf.extras import named_extras

if TYPE_CHECKING:
    import keras

    from bone_age_tf.runs import Run
    from bone_age_tf.settings import Config


def get_config(model: str, dataset: str = "hand_phantom", **overrides: Any) -> "Config":
    """Returns a model's settings for a dataset.

    Args:
        model: one of `list_models()`.
        dataset: one of `schema.DATASETS`, for which the settings are chosen.
        **overrides: values of settings; two underscores in a name stand for the dot, as in
            `augmentation__policy="films"`.

    Raises:
        ConfigError: the model, the dataset or a setting is unknown, or a value cannot be used.
        MissingExtraError: the extra `train` is not installed.
    """
    with named_extras("get_config"):
        from bone_age_tf import config as configs
    settings = [(key.replace("__", "."), str(value)) for key, value in overrides.items()]
    return configs.load_config(model, dataset, settings)


def build_model(model: str, dataset: str = "hand_phantom", **overrides: Any) -> "keras.Model":
    """Builds an untrained Keras model.

    Args:
        model: one of `list_models()`.
        dataset: see `get_config`.
        **overrides: see `get_config`.

    Returns:
        A functional model with the inputs `image` [B, H, W, 1] float32, 0 to 255, and `sex` [B, 1]
        (0 female, 1 male) and the outputs that `schema.OUTPUTS` describes.

    Raises:
        ConfigError: see `get_config`.
    """
    with named_extras("build_model"):
        from bone_age_tf.models.build import build_model as build
    return build(get_config(model, dataset, **overrides))


def train(
    config: "Config",
    workdir: str | Path | None = None,
    *,
    dataset: str | None = None,
    data_dir: str | Path = "data",
    manual_dir: str | Path | None = None,
    skip_bad_rows: bool = False,
    exports_dir: str | Path = "exports",
    precision: str = "auto",
    seed: int = 0,
    distribution: str = "none",
) -> "Run":
    """Trains a model, or continues an interrupted training of the same folder.

    Args:
        config: from `get_config`.
        workdir: the run's folder; None for a new folder under `runs`.
        dataset: dataset or dataset/config, such as hand_phantom/tiny; None for the config's.
        data_dir: folder of prepared datasets.
        manual_dir: folder of your files for the dataset.
        skip_bad_rows: whether rows that cannot be used are skipped instead of raising an error.
        exports_dir: folder to which `Run.export` writes.
        precision: one of `schema.PRECISIONS`.
        seed: seed of every random choice.
        distribution: `none`, or `mirrored` to train on all GPUs of this machine. Several machines
            need the command, which connects them before TensorFlow begins.

    Returns:
        The run; `evaluate()`, `export()` and `explain()` continue from there.

    Raises:
        ConfigError: the folder contains another run, the data are not available, or the
            distribution is neither of these.
        DataError: the dataset cannot be used.
        TrainingDivergedError: the loss is not finite.
    """
    with named_extras("train"):
        from bone_age_tf.runs import DataOptions, begin_run
        from bone_age_tf.training.distribution import make_distribution
    if distribution == schema.MULTIWORKER:
        raise ConfigError(
            "distribution is 'multiworker': use the command, bone-age train "
            "--distribution=multiworker, on every machine"
        )
    if dataset is not None and dataset.partition("/")[0] != config.dataset:
        raise ConfigError(f"dataset is {dataset!r}; the config is for {config.dataset!r}")
    options = DataOptions(
        Path(data_dir), None if manual_dir is None else Path(manual_dir), skip_bad_rows
    )
    run = begin_run(
        config,
        None if workdir is None else Path(workdir),
        seed,
        dataset,
        options,
        precision,
        Path(exports_dir),
        make_distribution(distribution),
    )
    run.train()
    return run
