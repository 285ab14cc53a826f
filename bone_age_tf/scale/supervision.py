"""Runs Beam pipelines in processes of their own, and starts another one when one is lost.

Imports Beam in those processes alone, where what it prints goes to a file.
"""

import multiprocessing
import os
import tempfile
import threading
import time
import traceback
from collections.abc import Sequence
from typing import Final

from bone_age_tf.errors import EngineError
from bone_age_tf.scale import storage
from bone_age_tf.scale.parts import Output, Part
from bone_age_tf.scale.scoring import Settings

LOG_FILE: Final = "engine.log"
_MOST_FAILURES: Final = 3


def run_until_complete(
    parts: Sequence[Part],
    settings: Settings,
    output: Output,
    options: Sequence[str] = (),
    runner: str | None = None,
) -> None:
    """Reads parts in pipelines, each in a process of its own, until all have their files.

    Beam's local runners wait forever for a worker that has died. Here the process of the pipeline
    ends then, and another one reads the parts that are left. What the engine prints is in
    `engine.log` in the folder, or in a temporary file if the folder is a URL.

    Args:
        parts: the parts to read.
        settings: the model and its options.
        output: where the files are written.
        options: Beam's own options.
        runner: name of Beam's runner; None for the one that the options name.

    Raises:
        EngineError: the pipeline failed several times without reading a part.
    """
    context = multiprocessing.get_context("spawn")
    log = _log_file(output)
    missing, failures = list(parts), 0
    while missing:
        arguments = (missing, settings, output, tuple(options), runner, log, os.getpid())
        process = context.Process(target=_run_alone, args=arguments)
        process.start()
        try:
            process.join()
        except KeyboardInterrupt:
            process.kill()
            raise
        finished = output.finished()
        left = [part for part in missing if part.number not in finished]
        failures = 0 if len(left) < len(missing) else failures + 1
        missing = left
        if failures == _MOST_FAILURES:
            raise EngineError(
                f"Beam failed {failures} times without reading a part; what it printed is in "
                f"{log}, at the end: {_last_line(log)}"
            )


def _run_alone(
    parts: Sequence[Part],
    settings: Settings,
    output: Output,
    options: Sequence[str],
    runner: str | None,
    log: str,
    parent: int,
) -> None:
    """Runs a pipeline in this process, which ends with it, with a lost worker, or its parent."""
    with open(log, "ab") as file:
        for descriptor in (1, 2):
            os.dup2(file.fileno(), descriptor)

    def end(failure: threading.ExceptHookArgs) -> None:
        traceback.print_exception(failure.exc_value)
        os._exit(1)  # the pipeline would wait for this thread's worker

    threading.excepthook = end
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    try:
        from bone_age_tf.scale import beam

        beam.run(parts, settings, output, options, runner)
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)  # threads of gRPC may abort an orderly end


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


def _log_file(output: Output) -> str:
    if storage.is_url(output.folder):
        return tempfile.mkstemp(suffix=".log", prefix="bone-age-beam-")[1]
    os.makedirs(output.folder, exist_ok=True)
    return os.path.abspath(storage.join(output.folder, LOG_FILE))


def _last_line(log: str) -> str:
    with open(log, encoding="utf-8", errors="replace") as file:
        lines = [line.strip() for line in file if line.strip()]
    return lines[-1] if lines else "nothing"
