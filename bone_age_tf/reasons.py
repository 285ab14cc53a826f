"""Why a film was put right, refused or not read: one table for prediction here and on a server.

Standard library only. The codes are part of what a SavedModel answers: a code is never given
another meaning.
"""

import enum
from collections.abc import Sequence
from typing import Final

OK: Final = "ok"
REJECTED: Final = "rejected"
ERROR: Final = "error"

STATUS: Final = "status"
REASON: Final = "reason"
REASON_CODE: Final = "reason_code"

LEAST_SIDE_PX: Final = 64
"""Of the shorter side of a film; below it no reader sees a growth plate."""
LEAST_RANGE: Final = 8.0
"""Between the darkest and the brightest percent of a film, of 255."""
LEVELS_SIDE_PX: Final = 64
"""Enough pixels a side to tell the grey levels of a film."""
LEAST_LEVELS: Final = 13
"""Grey levels that a film needs, each of at least `LEVEL_SHARE` of its pixels. With fewer, ages of
real radiographs move by more than a year (`benchmarks/film_limits.py`)."""
LEVEL_SHARE: Final = 1000
"""The reciprocal of that share; a marker or broken pixels do not make a level."""
WIDE: Final = 2
"""Area of a film as a multiple of what is left of it without its margins; above, it is reported."""
SURE_TURNED: Final = 0.5
SURE_MIRRORED: Final = 0.9
SURE_INVERTED: Final = 0.9
"""Minimum probability at which a turn, a mirroring or an inversion is corrected; a radiograph that
is less clear stays as it is. Chosen by wrong and missed corrections of real radiographs
(`benchmarks/corrections.py`): turns are hardly ever taken for others, mirrorings are."""
BRIGHT: Final = 128
PAINTED_PERCENT: Final = 20
"""Least grey, and least percentage of a film, of a background that may be painted."""
RIM_PX: Final = 3
"""Width of a hand's rim where the shorter side of the film has `LEVELS_SIDE_PX`."""
MOST_PIXELS: Final = 80_000_000
"""A film of 35 x 43 cm scanned at 50 um has 60 million; above is no radiograph."""


class Reason(enum.IntEnum):
    """Codes: below 10 the film was read, below 20 it was refused, from 20 on it could not be."""

    NONE = 0
    CORRECTED = 1
    TOO_SMALL = 10
    BLANK = 11
    NOT_WHOLE = 12
    CUT = 13
    TWO_HANDS = 14
    NO_HAND = 15
    UNFAMILIAR = 16
    FEW_LEVELS = 17
    EMPTY_FILE = 20
    NO_IMAGE = 21
    DAMAGED = 22
    TOO_LARGE = 23
    SEX = 24
    NO_NUMBER = 25


TEXTS: Final = {
    Reason.NONE: "",
    Reason.CORRECTED: "corrected:",
    Reason.TOO_SMALL: "too small",
    Reason.BLANK: "blank: there is no contrast in it",
    Reason.NOT_WHOLE: "not clearly a whole hand",
    Reason.CUT: "only a part of a hand; send the whole hand with the wrist",
    Reason.TWO_HANDS: "two hands; send the left hand alone",
    Reason.NO_HAND: "not a radiograph of a hand",
    Reason.FEW_LEVELS: "too few grey levels to show bone; send the film with all its greys",
    Reason.UNFAMILIAR: "unlike the images that the model was trained on",
    Reason.EMPTY_FILE: "the file is empty",
    Reason.NO_IMAGE: "not a PNG or JPEG image",
    Reason.DAMAGED: "the image is damaged",
    Reason.TOO_LARGE: "pixels is too large; reduce it first",
    Reason.SEX: "sex is neither 0 (female) nor 1 (male)",
    Reason.NO_NUMBER: "the model's answer is not a finite number",
}
"""Each is the reason, or its part that is always the same."""

POSE_CORRECTIONS: Final = (
    "",
    "rotated 90° clockwise",
    "rotated 180°",
    "rotated 90° counterclockwise",
    "mirrored horizontally",
    "rotated 90° clockwise, mirrored horizontally",
    "rotated 180°, mirrored horizontally",
    "rotated 90° counterclockwise, mirrored horizontally",
)
"""How a radiograph in each of `schema.FILM_POSES` is corrected."""
GREYS_INVERTED: Final = "grey levels inverted"
MARGINS_CROPPED: Final = "wide margins cropped"
"""Other corrections."""
SEPARATOR: Final = ", "
"""Stands between corrections."""

TRIMMED: Final = " without its margins"
"""Stands behind the size of a film that is too small."""

OF_KINDS: Final = {
    "hand": Reason.NOT_WHOLE,
    "cut": Reason.CUT,
    "two": Reason.TWO_HANDS,
    "other": Reason.NO_HAND,
}
"""Of a refused film by its likeliest kind, one of `schema.FILM_KINDS`."""


def correction_text(corrections: Sequence[str]) -> str:
    """Returns the text for corrections, nothing where there are none."""
    if not corrections:
        return ""
    return f"{TEXTS[Reason.CORRECTED]} {SEPARATOR.join(corrections)}"


def status_of(reason: int) -> str:
    """Returns `OK`, `REJECTED` or `ERROR`."""
    return OK if reason < Reason.TOO_SMALL else REJECTED if reason < Reason.EMPTY_FILE else ERROR
