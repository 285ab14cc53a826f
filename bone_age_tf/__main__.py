"""`python -m bone_age_tf`: the command line."""

import sys

from bone_age_tf.cli import main

if __name__ == "__main__":
    sys.exit(main())
