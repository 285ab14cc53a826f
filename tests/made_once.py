"""Folders that the processes of a test run share."""

import fcntl
import os


def made_once(tmp_path_factory, name, make_fn):
    """Returns a folder that `make_fn(folder)` has filled in the first process that asks for it."""
    base = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        base = base.parent  # that of the run, not of the worker
    folder, begun = base / name, base / f"{name}_begun"
    with (base / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            make_fn(begun)
            begun.rename(folder)
    return folder
