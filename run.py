"""The front door: `python run.py --help`."""

import sys

from bone_age_tf.cli import main

if __name__ == "__main__":
    sys.exit(main())
