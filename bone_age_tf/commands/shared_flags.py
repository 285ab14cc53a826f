"""Definitions of the flags that several modes share. Does not import TensorFlow."""

from pathlib import Path

from absl import flags

from bone_age_tf import schema
from bone_age_tf.catalog import DEFAULT_EXPORTS_DIR, SHIPPED_MODEL
from bone_age_tf.errors import ConfigError, require_known
from bone_age_tf.models.catalog import MODELS

DEFAULT_MODEL = "resnet50"
DEFAULT_DATASET = "hand_phantom"
TRAINING_MODES = ("train", "transfer_check", "audit", "evaluate", "export", "pack")
"""Modes whose `--model` names a model of this package; elsewhere it names an export."""


def text(values: flags.FlagValues, name: str, default: str | None, meaning: str) -> None:
    """Defines a flag that takes a text."""
    flags.DEFINE_string(name, default, meaning, flag_values=values)


def switch(values: flags.FlagValues, name: str, default: bool, meaning: str) -> None:
    """Defines a flag that is on or off."""
    flags.DEFINE_boolean(name, default, meaning, flag_values=values)


def whole_number(
    values: flags.FlagValues,
    name: str,
    default: int | None,
    meaning: str,
    least: int | None = None,
    most: int | None = None,
) -> None:
    """Defines a flag that takes a whole number within limits."""
    flags.DEFINE_integer(name, default, meaning, least, most, flag_values=values)


def define_model(values: flags.FlagValues, default: str = DEFAULT_MODEL) -> None:
    """Defines the model that is trained."""
    text(values, "model", default, f"Which model: {', '.join(MODELS)}.")


def define_exported_model(values: flags.FlagValues) -> None:
    """Defines the exported model and its location."""
    text(values, "model", None, f"Which exported model. Default: {SHIPPED_MODEL}, or the newest.")
    text(
        values,
        "exports_dir",
        None,
        f"Folder of exported models. Default: {DEFAULT_EXPORTS_DIR}, then those of the package.",
    )


def define_variant(values: flags.FlagValues) -> None:
    """Defines the LiteRT file of an export."""
    text(values, "variant", None, "Which LiteRT file of the export. Default: the most exact.")


def define_exports_dir(values: flags.FlagValues) -> None:
    """Defines the folder of exports."""
    text(values, "exports_dir", DEFAULT_EXPORTS_DIR, "Folder of exported models.")


def define_quality_check(values: flags.FlagValues, meaning: str | None = None) -> None:
    """Defines the switch of the quality check, also under its former name."""
    default = (
        "Reject what is not one complete hand; correct rotation, mirroring and inversion. "
        "--noquality_check reads every image as it is."
    )
    switch(values, "quality_check", True, meaning or default)
    flags.DEFINE_alias("check_films", "quality_check", flag_values=values)


def define_dataset(values: flags.FlagValues, default: str = "hand_phantom, or the run's") -> None:
    """Defines the dataset and its location."""
    text(
        values,
        "dataset",
        None,
        f"Which data: {', '.join(schema.DATASETS)}, or NAME/CONFIG such as rsna_bone_age/px512. "
        f"Default: {default}.",
    )
    define_files(values)


def define_files(values: flags.FlagValues) -> None:
    """Defines the location of a dataset's files."""
    text(values, "data_dir", "data", "Folder of prepared datasets.")
    text(values, "manual_dir", None, "Folder with your files for the dataset.")
    switch(values, "skip_bad_rows", False, "Leave unusable rows out, listed in skipped.csv.")
    text(
        values,
        "beam_runner",
        None,
        "Prepare the dataset with Apache Beam, on this runner, such as DirectRunner; the result is "
        "the same.",
    )


def define_workdir(values: flags.FlagValues, default: str) -> None:
    """Defines the folder of a run."""
    text(values, "workdir", None, f"Folder of the run. Default: {default}.")


def define_training(values: flags.FlagValues) -> None:
    """Defines the number format and the seed of a training."""
    meaning = f"Number format of training: {', '.join(schema.PRECISIONS)}."
    text(values, "precision", schema.PRECISIONS[0], meaning)
    define_seed(values)


def define_distribution(values: flags.FlagValues) -> None:
    """Defines the devices and the workers of a training."""
    text(
        values,
        "distribution",
        schema.NO_DISTRIBUTION,
        "Devices of training with TensorFlow: none, one device; mirrored, all GPUs of this "
        "machine; multiworker, the machines in the environment variable TF_CONFIG, with the same "
        "command on each. Every batch is divided among the devices.",
    )


def define_seed(values: flags.FlagValues) -> None:
    """Defines the seed."""
    whole_number(values, "seed", 0, "Seed of every random choice.")


def define_input(values: flags.FlagValues) -> None:
    """Defines the radiographs and their sex."""
    text(
        values,
        "input",
        None,
        "An image, a folder or ZIP of images, a DICOMDIR, the address of a study on a DICOMweb "
        "server (https://HOST/dicom-web/studies/UID), or a CSV with the columns image, sex, "
        "age_months (the bone age, if known), chronological_age_months and height_cm.",
    )
    text(
        values,
        "sex",
        None,
        f"{' or '.join(schema.SEX_NAMES)}, of radiographs without one; without it, both are given.",
    )


def check(values: flags.FlagValues, mode: str) -> None:
    """Checks the values of shared flags.

    Raises:
        ConfigError: a value is unknown.
    """
    if "model" in values and mode in TRAINING_MODES:
        require_known("model", values.model, MODELS)
    if "dataset" in values and values.dataset is not None:
        require_known("dataset", values.dataset.partition("/")[0], schema.DATASETS)
    if "precision" in values:
        require_known("precision", values.precision, schema.PRECISIONS)
    if "distribution" in values:
        require_known("distribution", values.distribution, schema.DISTRIBUTIONS)
    if "sex" in values and values.sex is not None:
        try:
            schema.parse_sex(values.sex)
        except ValueError as error:
            raise ConfigError(f"--sex: {error}") from None


def path_or_none(value: str | None) -> Path | None:
    """Returns a flag's path."""
    return None if value is None else Path(value)
