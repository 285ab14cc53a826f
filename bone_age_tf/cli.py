"""The command line interface. TensorFlow is only imported if a mode needs it."""

import difflib
import errno
import gc
import io
import os
import sys
from collections.abc import Sequence
from types import ModuleType

from absl import flags

import bone_age_tf
from bone_age_tf.commands import EXIT_INTERRUPTED, EXIT_OK, EXIT_USAGE, shared_flags
from bone_age_tf.commands.catalog import FORMER_NAMES, MODES, load_mode
from bone_age_tf.errors import BoneAgeError, ConfigError, MissingExtraError, require_known
from bone_age_tf.extras import named_extras
from bone_age_tf.native_output import native_stderr_held_back
from bone_age_tf.program import program

DEFAULT_MODE = "train"
_CONFIG_PREFIX = "--config."
_DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.ENOTDIR)
"""Errors of the operating system that a user can remedy: full and write-protected disks."""
_HELP = ("--help", "-h", "-help", "--helpfull", "--helpshort")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a mode; returns the exit status: 0 done, 1 done with failures, 2 wrong use."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(
            stream, io.TextIOWrapper
        ):  # file names may contain characters that a terminal cannot show
            stream.reconfigure(errors="backslashreplace")
    resumes = False
    try:
        if "--version" in arguments:
            print(f"bone-age-tf {bone_age_tf.__version__}", flush=True)
            return EXIT_OK
        name, others = _split_mode(arguments)
        if not arguments or (name is None and set(_HELP) & set(others)):
            print(_overview(), flush=True)
            return EXIT_OK
        name = name or DEFAULT_MODE
        mode = load_mode(name)
        resumes = getattr(mode, "RESUMES", False)
        values = flags.FlagValues()
        mode.define_flags(values)
        if set(_HELP) & set(others):
            print(_help(name, mode, values), flush=True)
            return EXIT_OK
        others, engine_options = _split_engine_options(name, mode, others)
        others, overrides = split_config_overrides(others)
        _parse(name, mode, values, others)
        if engine_options:
            values[mode.ENGINE_OPTIONS].value = engine_options
        if overrides and not getattr(mode, "TAKES_CONFIG", False):
            raise ConfigError(
                f"--config has no effect on --mode={name}: runs and exports keep their settings"
            )
        shared_flags.check(values, name)
        with named_extras(f"--mode={name}"):
            _prepare_keras(name, mode)
            return mode.run(values, overrides)
    except flags.Error as error:
        print(f"error: {error}\nSee {program()} --help", file=sys.stderr)
    except BrokenPipeError:  # the reader of the output has stopped, such as `head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        hint = "; the same command with the same --workdir continues" if resumes else ""
        print(f"\nstopped{hint}", file=sys.stderr)
        return EXIT_INTERRUPTED
    except Exception as error:
        if not _is_users(error):
            raise
        print(f"error: {error}", file=sys.stderr)
    return EXIT_USAGE


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


def _split_engine_options(
    name: str, mode: ModuleType, arguments: list[str]
) -> tuple[list[str], list[str]]:
    """Separates the words after `--`, which are for another program.

    Raises:
        ConfigError: the mode has no use for them.
    """
    if "--" not in arguments:
        return arguments, []
    if not hasattr(mode, "ENGINE_OPTIONS"):
        raise ConfigError(f"--mode={name} takes no options after --")
    place = arguments.index("--")
    return arguments[:place], arguments[place + 1 :]


def _split_mode(arguments: Sequence[str]) -> tuple[str | None, list[str]]:
    """Returns the mode, from `--mode` or the first word, and the other arguments."""
    mode, others, waits = None, [], False
    for place, argument in enumerate(arguments):
        name, equals, text = argument.lstrip("-").partition("=")
        if waits:
            mode, waits = argument, False
        elif argument.startswith("-") and name == "mode":
            mode, waits = text or None, not equals
        elif place == 0 and argument in MODES:
            mode = argument
        else:
            others.append(argument)
    if mode is not None:
        mode = FORMER_NAMES.get(mode, mode)
        require_known("mode", mode, MODES)
    return mode, others


def _parse(name: str, mode: ModuleType, values: flags.FlagValues, arguments: list[str]) -> None:
    """Parses a mode's arguments.

    Raises:
        ConfigError: a flag of another mode, or a word that is no flag.
        flags.Error: an unknown flag, or a value of another type.
    """
    try:
        words = values([program(), *arguments])[1:]
    except flags.UnrecognizedFlagError as error:
        others = [other for other in MODES if other != name and _has_flag(other, error.flagname)]
        if others:
            raise ConfigError(
                f"--{error.flagname} has no effect on --mode={name}; it is a flag of "
                f"{', '.join(others)}"
            ) from None
        near = difflib.get_close_matches(error.flagname, [*values, "mode"], n=2)
        hint = f" Did you mean {' or '.join(f'--{flag}' for flag in near)}?" if near else ""
        raise flags.Error(f"unknown flag --{error.flagname}.{hint}") from None
    bare = getattr(mode, "INPUT_FLAG", None)
    if words and bare and not values[bare].present:
        values[bare].parse(words.pop(0))
    if words:
        hint = f"; to read it, write: {program()} predict {words[0]}" if name == "train" else ""
        raise ConfigError(f"{words[0]!r} is not a flag{hint}. See --help")


def _has_flag(mode: str, flag: str) -> bool:
    values = flags.FlagValues()
    load_mode(mode).define_flags(values)
    return flag in values or (flag.startswith("no") and flag[2:] in values)


def _prepare_keras(name: str, mode: ModuleType) -> None:
    """Imports Keras, and TensorFlow where it is needed, without their own messages."""
    needs_tensorflow = getattr(mode, "NEEDS_TENSORFLOW", False)
    if not needs_tensorflow and not getattr(mode, "NEEDS_KERAS", False):
        return
    # Before TensorFlow is imported. It leaves oneDNN off on processors without AVX-512, where
    # training is slower without it (benchmarks/training_speed.py prints by how much).
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
    # Level 2 still shows lines of kernels such as "oneDNN supports DT_BOOL only on platforms with
    # AVX-512"; failures are exceptions as well.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with native_stderr_held_back():
        import keras

        if keras.backend.backend() == "tensorflow":
            import tensorflow as tf

            # TensorFlow reports the processor, and a missing GPU, when it is first used.
            tf.config.list_physical_devices()
        elif needs_tensorflow:
            raise ConfigError(
                f"KERAS_BACKEND={keras.backend.backend()}: only --mode=recipe runs without "
                "TensorFlow; unset it"
            )
    from absl import logging

    logging.set_verbosity(logging.ERROR)
    # Graphs consist of many objects, which Python would search again and again for garbage.
    if not gc.get_freeze_count():  # once in a process: what is frozen is never freed
        gc.freeze()
        gc.set_threshold(50_000, 20, 100)


def _overview() -> str:
    command = program()
    lines = [
        "Bone age, in months, from radiographs of the left hand and wrist.",
        "Research use; not a medical device.",
        "",
        f"Usage: {command} [--mode=]MODE [INPUT] [--FLAG=VALUE ...]",
        "",
        f"Modes ({DEFAULT_MODE} where flags are given without one):",
        *(f"  {mode:22} {text}" for mode, text in MODES.items()),
        "",
        f"A mode's flags and examples: {command} --mode=MODE --help",
        "",
        "First steps:",
        f"  {command} predict hand.png --sex=female",
        f"  {command} --model=resnet50",
    ]
    return "\n".join(lines)


def _help(name: str, mode: ModuleType, values: flags.FlagValues) -> str:
    examples = mode.EXAMPLES.replace("{command}", program()).rstrip()
    lines = [f"{name}: {MODES[name]}.", "", examples, "", "Flags:"]
    for flag_name in sorted(values):
        flag = values[flag_name]
        if flag.name != flag_name or flag_name in ("flagfile", "undefok"):
            continue
        default = ",".join(flag.default) if isinstance(flag.default, list) else flag.default
        shown = "" if default is None else f" [{default}]"
        lines.append(f"  --{flag_name}{shown}\n      {flag.help}")
    if getattr(mode, "TAKES_CONFIG", False):
        lines += _settings()
    return "\n".join(lines)


def _settings() -> list[str]:
    try:
        with named_extras("the list of settings"):
            from bone_age_tf.config import flat, load_config
    except MissingExtraError as error:
        return ["", str(error)]
    settings = flat(load_config(shared_flags.DEFAULT_MODEL, "rsna_bone_age"))
    return [
        "",
        "Settings of the model, each as --config.KEY=VALUE (here resnet50's, for rsna_bone_age):",
        *(
            f"  --config.{key}={value}"
            for key, value in settings.items()
            if key not in ("model", "dataset")
        ),
    ]


def _is_users(error: Exception) -> bool:
    """Returns whether an error is one that a user can remedy."""
    if isinstance(error, (BoneAgeError, FileNotFoundError)):
        return True
    return isinstance(error, OSError) and error.errno in _DISK_ERRORS
