"""Commands as users type them, from Python arguments."""

import os
from pathlib import Path

from bone_age_tf import cli


def predict(
    input_path,
    sex,
    exports_dir,
    model,
    variant=None,
    output=os.devnull,
    calibration=None,
    quality_check=None,
    resume=False,
):
    """Runs --mode=predict; without a choice, radiographs are checked where the exports can."""
    if quality_check is None:
        quality_check = (Path(exports_dir) / "film_check").exists()
    return _run("predict", locals())


def calibrate(input_path, exports_dir, model, output=os.devnull, accept_doubts=False):
    """Runs --mode=calibrate without a quality check."""
    quality_check = False
    return _run("calibrate", locals())


def _run(mode, arguments):
    words = [f"--mode={mode}"]
    for name, value in arguments.items():
        name = "input" if name == "input_path" else name
        if isinstance(value, bool):
            words.append(f"--{name}" if value else f"--no{name}")
        elif value is not None:
            words.append(f"--{name}={value}")
    return cli.main(words)
