"""Files that a reader sees whole: the old one or the new one, never a part. Standard library."""

import os
from pathlib import Path


def replace_file(path: Path, content: bytes) -> None:
    """Writes a file under another name and moves it into place; folders are made as needed.

    Raises:
        OSError: the folder or the file cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        unfinished.write_bytes(content)
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)
