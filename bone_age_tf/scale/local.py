"""Reads the parts of an archive one after another in this process, without any engine."""

from collections.abc import Sequence

from bone_age_tf.scale.parts import Output, Part, score_part
from bone_age_tf.scale.scoring import Settings


def run(parts: Sequence[Part], settings: Settings, output: Output) -> None:
    """Reads the parts and writes their files.

    Raises:
        ModelError: the model cannot be used.
        OSError: a file cannot be written.
    """
    for part in parts:
        score_part(part, settings, output)
