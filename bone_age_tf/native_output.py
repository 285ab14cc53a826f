"""Suppresses the output of native libraries on the terminal. Standard library only.

TensorFlow, LiteRT and their converters write log lines to file descriptor 2 that no Python logger
and no environment variable controls, such as "All log messages before absl::InitializeLog() is
called are written to STDERR". They would hide the messages for the user.
"""

import contextlib
import os
import sys
import tempfile
import threading
from collections.abc import Iterator

_STDERR = 2
_LOCK = threading.RLock()


@contextlib.contextmanager
def native_stderr_held_back() -> Iterator[None]:
    """Redirects standard error to a temporary file while the block runs.

    If the block raises an exception, the redirected output is written to standard error, so that a
    native library's message about the failure is not lost. Output of Python code to `sys.stderr` is
    redirected too. Blocks can be nested. Since the descriptor belongs to the process, a block in
    another thread waits.
    """
    with _LOCK:
        yield from _held_back()


def _held_back() -> Iterator[None]:
    sys.stderr.flush()
    try:
        saved = os.dup(_STDERR)
    except OSError:  # standard error is closed: there is nothing to redirect
        yield
        return
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), _STDERR)
        try:
            yield
        except BaseException:
            _restore(saved)
            held.seek(0)
            sys.stderr.write(held.read().decode(errors="replace"))
            raise
        else:
            _restore(saved)


def _restore(saved: int) -> None:
    sys.stderr.flush()
    os.dup2(saved, _STDERR)
    os.close(saved)
