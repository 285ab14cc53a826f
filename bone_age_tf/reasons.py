"""Reason codes, messages and limits for corrected, rejected and unreadable radiographs.

The local reader, the SavedModel and the web page use this table. Standard library only.
"""

import enum
from collections.abc import Sequence
from typing import Final

OK: Final = "ok"
REJECTED: Final = "rejected"
ERROR: Final = "error"
"""Statuses of a SavedModel. Tables of results call `ERROR` `failed`, see `inference.result`."""

STATUS: Final = "status"
REASON: Final = "reason"
REASON_CODE: Final = "reason_code"

LEAST_SIDE_PX: Final = 64
"""Minimum length of the shorter image side in pixels; growth plates are not visible below it."""
LEAST_RANGE: Final = 8.0
"""Minimum difference between the 1st and 99th grey percentiles (0 to 255)."""
LEVELS_SIDE_PX: Final = 64
"""Length of the shorter side, in pixels, to which an image is sampled before grey levels are
counted."""
LEAST_LEVELS: Final = 12
"""Minimum number of grey levels, each with at least 1 / `LEVEL_SHARE` of the pixels. With fewer,
more than 1 % of the predictions on real radiographs change by more than a year: 6.6 % with 10 or
11, 0.9 % with 12 to 15 (`benchmarks/film_limits.py`)."""
LEVEL_SHARE: Final = 1000
"""Reciprocal of the share of pixels that a grey level needs to be counted, so that a marker or
defective pixels are not counted."""
WIDE: Final = 2
"""Ratio of the whole area to the area within the margins above which cropping is reported."""
SURE_TURNED: Final = 0.5
SURE_MIRRORED: Final = 0.9
SURE_INVERTED: Final = 0.9
"""Minimum probability at which a rotation, a mirroring or an inversion is corrected; less clear
radiographs are left unchanged. Chosen by the rates of wrong and missed corrections on real
radiographs (`benchmarks/corrections.py`): rotations are rarely confused, mirrorings often are."""
SURE_WHOLE: Final = 0.85
"""Least probability of a whole hand at which a model that reads hands in their frame reads a
radiograph whose hand was not located with certainty, as a whole. With it 95 instead of 40 % of
drawn feet are rejected, but 7 % more of photographs (`benchmarks/unusual_radiographs.py`)."""
WHOLE_LIMIT: Final = 0.67
"""Largest distance from the training images, as a fraction of its limit, at which such a model
reads a radiograph as a whole. Of 31 pictures without a hand two were read up to the limit itself
(`benchmarks/refusal.py`)."""
PERHAPS_TWO: Final = 0.05
"""Least probability of two hands at which a certain hand is not read: the other one could have been
found instead. Of 100 validation radiographs none is above it, of 200 pairs made of them 96 %
(`benchmarks/refusal.py`)."""
BRIGHT: Final = 128
PAINTED_PERCENT: Final = 20
"""Minimum grey level, and minimum percentage of the pixels, of a background that may have been
painted."""
RIM_PX: Final = 3
"""Width of a hand's rim, in pixels of an image sampled to `LEVELS_SIDE_PX`."""
MOST_PIXELS: Final = 80_000_000
"""Maximum number of pixels; a film of 35 x 43 cm scanned at 50 um has 60 million."""


class Reason(enum.IntEnum):
    """Reason codes: below 10 predicted, from 10 rejected by a check, from 20 not readable."""

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
    LACKS_DIGIT = 18
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
    Reason.BLANK: "blank image: no contrast",
    Reason.NOT_WHOLE: "no complete hand recognised",
    Reason.CUT: "incomplete hand: the radiograph must show the whole hand and wrist",
    Reason.LACKS_DIGIT: "incomplete hand: a finger or the thumb is missing or hidden",
    Reason.TWO_HANDS: "two hands: the radiograph must show the left hand alone",
    Reason.NO_HAND: "not a radiograph of a hand",
    Reason.FEW_LEVELS: "too few grey levels to show bone: the full range of grey levels is needed",
    Reason.UNFAMILIAR: "outside the training distribution",
    Reason.EMPTY_FILE: "the file is empty",
    Reason.NO_IMAGE: "not a PNG or JPEG image",
    Reason.DAMAGED: "the image is damaged",
    Reason.TOO_LARGE: "pixels is too large; reduce it first",
    Reason.SEX: "sex is neither 0 (female) nor 1 (male)",
    Reason.NO_NUMBER: "the model's prediction is not a finite number",
}
"""Message of each reason, or its constant part."""

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
"""Correction of each of `schema.POSES`."""
MIRRORED: Final = POSE_CORRECTIONS[4]
LEAST_TILT: Final = 30.0
TILT_STEP: Final = 10
"""Smallest rotation of a hand into its frame, in degrees, that is reported, and how exactly."""
NOT_FRAMED: Final = "read as a whole because the hand was not located with certainty"
"""Reported where a model that reads hands in their frame is given the whole radiograph."""
GREYS_INVERTED: Final = "grey levels inverted"
MARGINS_CROPPED: Final = "wide margins cropped"
"""Other corrections."""
SEPARATOR: Final = ", "
"""Separator between corrections."""

NOT_DICOM: Final = "not a DICOM file"
DICOM_DAMAGED: Final = "the DICOM file is damaged"
DICOM_DIRECTORY: Final = "a DICOMDIR, which lists files and has no image"
OWN_RESULT: Final = "a result of bone_age_tf, not a radiograph"
WRONG_MODALITY: Final = "not a radiograph: modality"
NO_PIXEL_DATA: Final = "the DICOM file has no pixel data"
PIXEL_DATA_TRUNCATED: Final = "the pixel data is truncated"
SEVERAL_FRAMES: Final = "frames; a radiograph has one"
UNKNOWN_COLOURS: Final = "colours that cannot be read:"
UNDECODABLE: Final = "cannot be decoded; save the image uncompressed, or as PNG, in your viewer"
DICOM_TEXTS: Final = (
    *(NOT_DICOM, DICOM_DAMAGED, DICOM_DIRECTORY, OWN_RESULT, WRONG_MODALITY, NO_PIXEL_DATA),
    *(PIXEL_DATA_TRUNCATED, SEVERAL_FRAMES, UNKNOWN_COLOURS, UNDECODABLE),
)
"""Reasons why a DICOM file is not read, or their constant parts. They have no codes, since servers,
whose answers have codes, do not read DICOM."""

FOR_PROCESSING: Final = "not processed for display (FOR PROCESSING)"
WINDOW_UNUSABLE: Final = "its window shows nothing and was not used"
RIGHT_HAND: Final = "right hand according to the file"
SIDE_CONFLICT: Final = "side contradictory"
SEX_CONFLICT: Final = "sex contradictory"
AGE_STATED: Final = "chronological age from the stated age"
AGE_CONFLICT: Final = "stated age contradicts the dates"
BIRTH_DATE_UNUSABLE: Final = "date of birth not used:"
GIVEN_AGE_CONFLICT: Final = "chronological age contradictory"
HEIGHT_UNUSABLE: Final = "Patient's Size not used:"
DICOM_NOTES: Final = (
    *(FOR_PROCESSING, WINDOW_UNUSABLE, RIGHT_HAND, SIDE_CONFLICT, SEX_CONFLICT, AGE_STATED),
    *(AGE_CONFLICT, BIRTH_DATE_UNUSABLE, GIVEN_AGE_CONFLICT, HEIGHT_UNUSABLE),
)
"""Notes on what a DICOM file states, or their constant parts."""

TRIMMED: Final = " without its margins"
"""Suffix of the size of an image that is too small."""

OF_KINDS: Final = {
    "hand": Reason.NOT_WHOLE,
    "cut": Reason.CUT,
    "two": Reason.TWO_HANDS,
    "other": Reason.NO_HAND,
}
"""Reason for rejecting an image by its most probable kind, one of `schema.IMAGE_KINDS`."""


def rotated(clockwise: int) -> str:
    """Returns the correction of a rotation by some degrees, -180 to 180."""
    way = "" if abs(clockwise) == 180 else " clockwise" if clockwise > 0 else " counterclockwise"
    return f"rotated {abs(clockwise)}°{way}"


def correction_text(corrections: Sequence[str]) -> str:
    """Returns the text of corrections, empty if there are none."""
    if not corrections:
        return ""
    return f"{TEXTS[Reason.CORRECTED]} {SEPARATOR.join(corrections)}"


def status_of(reason: int) -> str:
    """Returns `OK`, `REJECTED` or `ERROR`."""
    return OK if reason < Reason.TOO_SMALL else REJECTED if reason < Reason.EMPTY_FILE else ERROR
