"""Runs the command line interface in a clone: `python run.py --help`."""

import sys

from bone_age_tf.cli import main

if __name__ == "__main__":
    sys.exit(main())
