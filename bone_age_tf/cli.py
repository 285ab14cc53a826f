"""The command line: flags to modes, and errors. Imports TensorFlow only when a mode needs it."""

import errno
import io
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from absl import flags

from bone_age_tf import schema
from bone_age_tf.command_flags import MODES, OUTPUTS, RESUMED_MODES, define_flags, help_text
from bone_age_tf.config import DATASETS, PRECISIONS, require_known
from bone_age_tf.errors import BoneAgeError, ConfigError
from bone_age_tf.export.formats import FORMATS
from bone_age_tf.models.catalog import MODELS
from bone_age_tf.native_output import native_stderr_held_back

_CONFIG_PREFIX = "--config."
_DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.ENOTDIR)
"""Errors of the operating system that a user can remedy: full and write-protected disks."""


def split_config_overrides(arguments: Sequence[str]) -> tuple[list[str], list[tuple[str, str]]]:
    """Separates `--config.KEY=VALUE` from the other arguments.

    Raises:
        ConfigError: an override without a value.
    """
    others, overrides = [], []
    for argument in arguments:
        if not argument.startswith(_CONFIG_PREFIX):
            others.append(argument)
            continue
        key, equals, text = argument.removeprefix(_CONFIG_PREFIX).partition("=")
        if not equals:
            raise ConfigError(f"{argument}: write {argument}=VALUE")
        overrides.append((key, text))
    return others, overrides


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one mode; returns the exit status: 0 done, 1 done with failures, 2 wrong use."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a file's name may be what a terminal cannot show
            stream.reconfigure(errors="backslashreplace")
    values = define_flags()
    asks_for_help = {"--help", "-h", "-help", "--helpfull"}.intersection(arguments)
    try:
        if asks_for_help or not arguments:
            print(help_text(values), flush=True)
            return 0
        others, overrides = split_config_overrides(arguments)
        rest = values(["run.py", *others])
        if len(rest) > 1:
            raise ConfigError(
                f"{rest[1]!r} is not a flag; write --input={rest[1]} to predict it, or see --help"
            )
        _check(values)
        return _run_mode(values, overrides)
    except flags.Error as error:
        print(f"error: {error}\nSee python run.py --help", file=sys.stderr)
    except BrokenPipeError:  # whoever reads the output wants no more of it, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        resumes = values.mode in RESUMED_MODES
        how = "; the same command with the same --workdir continues" if resumes else ""
        print(f"\nstopped{how}", file=sys.stderr)
        return 130
    except Exception as error:  # what a user can mend is told without a traceback
        if not _is_users(error):
            raise
        print(f"error: {error}", file=sys.stderr)
    return 2


def _check(values: flags.FlagValues) -> None:
    require_known("mode", values.mode, MODES)
    require_known("model", values.model, MODELS)
    if values.dataset is not None:
        require_known("dataset", values.dataset.partition("/")[0], DATASETS)
    require_known("precision", values.precision, PRECISIONS)
    if values.sex is not None:
        try:
            schema.parse_sex(values.sex)
        except ValueError as error:
            raise ConfigError(f"--sex: {error}") from None
    if values.mode == "predict" and not values.input:
        raise ConfigError("--mode=predict needs --input=IMAGE, FOLDER or CSV")
    if values.mode == "calibrate" and not values.input:
        raise ConfigError("--mode=calibrate needs --input=CSV with columns image,sex,age_months")
    for form in values.formats:
        require_known("format", form, FORMATS)
    if values["formats"].present and values.mode != "export":
        raise ConfigError(f"--formats has no effect on --mode={values.mode}")
    if values.folds == 1:
        raise ConfigError("--folds=1: nothing is left to train on; 2 or more, or 0 for no labels")
    if values.server:
        _check_server(values)
    only = {
        "methods": ("explain",),
        "count": ("explain",),
        "boxes": ("train_region_detector",),
        "recipe": ("recipe", "pack"),
        "pack": ("recipe",),
        "stop_after_minutes": ("recipe",),
        "pack_px": ("pack",),
        "pack_quality": ("pack",),
        "part_mb": ("pack",),
        "resume": ("predict",),
        "accept_doubts": ("calibrate",),
    }
    for name, modes in only.items():
        if values[name].present and values.mode not in modes:
            raise ConfigError(f"--{name} has no effect on --mode={values.mode}")
    if values.calibration and values.mode not in ("predict", "export"):
        raise ConfigError(f"--calibration has no effect on --mode={values.mode}")


def _check_server(values: flags.FlagValues) -> None:
    """Refuses flags that the server decides itself."""
    if values.mode != "predict":
        raise ConfigError(f"--server has no effect on --mode={values.mode}")
    for name in ("model", "variant", "calibration", "check_films"):
        if values[name].present:
            raise ConfigError(
                f"--{name} has no effect with --server: what the server's model was exported with "
                "holds; the address names the model"
            )


def _run_mode(values: flags.FlagValues, overrides: list[tuple[str, str]]) -> int:
    if values.mode in OUTPUTS:
        if overrides:
            raise ConfigError(
                f"--config has no effect on --mode={values.mode}; the export is as it is"
            )
        return _run_light_mode(values, Path(values.output or OUTPUTS[values.mode]))
    # Before TensorFlow is imported. It leaves oneDNN off on processors without AVX-512, where
    # training is slower without it (benchmarks/training_speed.py prints by how much).
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    with native_stderr_held_back():
        import keras

        if keras.backend.backend() == "tensorflow":
            import tensorflow as tf

            # TensorFlow reports the processor, and a missing GPU, when it is first used.
            tf.config.list_physical_devices()
        elif values.mode != "recipe":
            raise ConfigError(
                f"KERAS_BACKEND={keras.backend.backend()}: only --mode=recipe runs without "
                "TensorFlow; unset it"
            )
        if values.mode == "recipe":
            from bone_age_tf.recipe_command import run_recipe as run
        else:
            from bone_age_tf.modes import run
    return run(values, overrides)


def _run_light_mode(values: flags.FlagValues, output: Path) -> int:
    """Runs a mode that needs no TensorFlow."""
    exports_dir = Path(values.exports_dir)
    model = values.model if values["model"].present else None
    if values.mode == "calibrate":
        from bone_age_tf.inference.calibrate import calibrate_command

        return calibrate_command(
            values.input,
            exports_dir,
            model,
            values.variant,
            output,
            values.check_films,
            values.accept_doubts,
        )
    if values.mode == "web":
        from bone_age_tf.web.command import web_command

        return web_command(
            exports_dir,
            model,
            values.variant,
            output,
            values.check_films,
            values.serve,
            values.port,
        )
    if values.server:
        from bone_age_tf.inference.server_command import predict_on_server_command

        return predict_on_server_command(
            values.input, values.sex, values.server, output, values.timeout_s, values.resume
        )
    from bone_age_tf.inference.command import predict_command

    return predict_command(
        values.input,
        values.sex,
        exports_dir,
        model,
        values.variant,
        output,
        values.calibration,
        values.check_films,
        values.resume,
    )


def _is_users(error: Exception) -> bool:
    """Returns whether an error is one that a user can remedy."""
    if isinstance(error, (BoneAgeError, FileNotFoundError)):
        return True
    return isinstance(error, OSError) and error.errno in _DISK_ERRORS
