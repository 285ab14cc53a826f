"""The modes of the command line, each with its flags, checks and call in a file."""

from typing import Final

EXIT_OK: Final = 0
EXIT_SOME_FAILED: Final = 1
"""Some radiographs have no result, or doubts were accepted."""
EXIT_USAGE: Final = 2
EXIT_INTERRUPTED: Final = 130

RESEARCH_USE: Final = "For research use only; not a medical device."
