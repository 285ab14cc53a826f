"""Reads radiograph files, without TensorFlow; the reference implementation of decoding.

`bone_age_tf.images.graph_reading` implements the same steps as TensorFlow graph operations; tests
compare the two on the same files.
"""

from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from bone_age_tf import reasons
from bone_age_tf.errors import RadiographError
from bone_age_tf.images import decoding, encoded_pieces
from bone_age_tf.images.file_kinds import describe_kind
from bone_age_tf.reasons import TEXTS, Reason

SUFFIXES = (".png", ".jpg", ".jpeg")
"""File name extensions of PNG and JPEG files."""


def read_radiograph(source: str | Path | bytes, name: str | None = None) -> np.ndarray:
    """Decodes a PNG or JPEG of 8 or 16 bits, grey, palette, RGB or with transparency.

    Colour is converted to grey with `decoding.LUMA`. Transparent parts become black. A 16-bit image
    is scaled by its own range: 12-bit detectors write 16-bit files, which a fixed division would
    make nearly black. The EXIF orientation is applied. Other contents of a file, such as texts and
    colour profiles, are not read.

    Args:
        source: a path, or the file's bytes.
        name: name of the file in error messages; the path by default.

    Returns:
        [H, W] float32, 0 to 255.

    Raises:
        RadiographError: the file is missing, empty, truncated, not PNG or JPEG, or too large.
    """
    name = name or ("image" if isinstance(source, bytes) else str(source))
    data = source if isinstance(source, bytes) else read_file(source, name)
    if not data:
        raise RadiographError(name, TEXTS[Reason.EMPTY_FILE])
    try:
        width, height = encoded_pieces.size_of(data)
        if width * height > reasons.MOST_PIXELS:
            raise RadiographError(name, f"{width} x {height} {TEXTS[Reason.TOO_LARGE]}")
        return decoding.decode(data)
    except UnidentifiedImageError:
        raise RadiographError(name, TEXTS[Reason.NO_IMAGE] + describe_kind(data)) from None
    except Image.DecompressionBombError:
        raise RadiographError(name, "too many pixels; reduce the image first") from None
    except (OSError, SyntaxError, EOFError, ValueError) as error:
        if isinstance(error, RadiographError):
            raise
        raise RadiographError(name, f"{TEXTS[Reason.DAMAGED]} ({error})") from None


def read_file(path: str | Path, name: str) -> bytes:
    """Returns a file's bytes.

    Raises:
        RadiographError: the file is missing or cannot be read.
    """
    try:
        return Path(path).read_bytes()
    except FileNotFoundError:
        raise RadiographError(name, "no such file") from None
    except OSError as error:
        raise RadiographError(name, f"cannot be read ({error.strerror})") from None
    except ValueError:  # a NUL in the path
        raise RadiographError(name, "not a possible file name") from None
