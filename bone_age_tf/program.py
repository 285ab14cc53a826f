"""Name of the program as the user started it, for messages that contain a command."""

import sys
from pathlib import Path


def program() -> str:
    """Returns `python run.py` in a clone, `python -m bone_age_tf`, or `bone-age`."""
    path = Path(sys.argv[0] if sys.argv else "")
    if path.name == "run.py":
        return "python run.py"
    if path.name == "__main__.py" and path.parent.name == "bone_age_tf":
        return "python -m bone_age_tf"
    return "bone-age"
