"""Colours of explanation maps that are readable with colour vision deficiencies.

Unsigned maps use `cividis` (Nuñez et al. 2018, doi 10.1371/journal.pone.0199239), which was made
for colour vision deficiencies. Signed maps use `PuOr` (Brewer, colorbrewer2.org), whose orange
(older) and purple (younger) are distinguishable with all of them. Weak values are transparent, so
that the radiograph remains visible.
"""

import io
from typing import Final

import matplotlib
import numpy as np
from PIL import Image

UNSIGNED: Final = "cividis"
SIGNED: Final = "PuOr_r"
MOST_OPAQUE: Final = 0.85
_PALEST: Final = 0.3
"""Distance of the weakest values of a signed map from white, the middle of its colours; white would
look like bone."""
_FILM: Final = (0.25, 0.25, 0.25)
"""Grey value of the radiograph that is assumed beneath the colours of a legend."""
_LEVELS: Final = 256


def colour_map(signed: bool) -> matplotlib.colors.ListedColormap:
    """Returns the colour map for maps over a dark radiograph; purple is younger, orange older."""
    colours = palette(signed) / 255.0
    opaque = colours[:, 3:]
    return matplotlib.colors.ListedColormap(opaque * colours[:, :3] + (1 - opaque) * _FILM)


def levels(values: np.ndarray, signed: bool) -> tuple[np.ndarray, float]:
    """Returns a map [S, S] as indices of its colours, uint8, and the value of the last colour."""
    most = float(np.abs(values).max())
    share = values / max(most, 1e-20)
    share = (share + 1) / 2 if signed else np.clip(share, 0, 1)
    return np.rint(share * (_LEVELS - 1)).astype(np.uint8), most


def palette(signed: bool) -> np.ndarray:
    """Returns the colours of a map [256, 4] uint8: red, green, blue and opacity."""
    places = np.linspace(0, 1, _LEVELS)
    strength = places
    if signed:
        centred = 2 * places - 1
        strength = np.abs(centred)
        places = 0.5 + 0.5 * np.sign(centred) * (_PALEST + (0.95 - _PALEST) * strength)
    rgba = matplotlib.colormaps[SIGNED if signed else UNSIGNED](places)
    rgba[:, 3] = MOST_OPAQUE * strength**0.8
    return np.rint(255 * rgba).astype(np.uint8)


def overlay(values: np.ndarray, signed: bool) -> np.ndarray:
    """Returns a map as an RGBA image [S, S, 4] uint8 that is drawn over the radiograph."""
    return palette(signed)[levels(values, signed)[0]]


def overlay_png(values: np.ndarray, signed: bool) -> bytes:
    """Returns the overlay as a PNG file with a palette, which is small."""
    colours = palette(signed)
    picture = Image.fromarray(levels(values, signed)[0], "P")
    picture.putpalette(colours[:, :3].tobytes())
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", transparency=colours[:, 3].tobytes(), optimize=True)
    return buffer.getvalue()


def css_gradient(signed: bool) -> str:
    """Returns the colours of a map as a CSS gradient from left to right."""
    places = np.linspace(0, 1, 17)
    stops = ", ".join(matplotlib.colors.to_hex(colour) for colour in colour_map(signed)(places))
    return f"linear-gradient(to right, {stops})"
