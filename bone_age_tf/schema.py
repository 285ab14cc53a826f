"""Names, codes, units and ranges that all parts of the project share.

Standard library only, so that every part can import it, including the dataset builders.
"""

from typing import Final

IMAGE: Final = "image"
IMAGE_ID: Final = "image_id"
SEX: Final = "sex"
AGE_MONTHS: Final = "age_months"
CHRONOLOGICAL_AGE_MONTHS: Final = "chronological_age_months"

FEATURES: Final = (IMAGE, IMAGE_ID, SEX, AGE_MONTHS, CHRONOLOGICAL_AGE_MONTHS)
"""Features of every prepared dataset: `image` [H, W, 1] uint8; `image_id` text, unique in a split;
`sex` a class label named by `SEX_NAMES`; `age_months` float32, the bone age; and
`chronological_age_months` float32, NaN if unknown. A builder may add features."""

FEMALE: Final = 0
MALE: Final = 1
SEX_NAMES: Final = ("female", "male")

MIN_AGE_MONTHS: Final = 0.0
MAX_AGE_MONTHS: Final = 240.0
"""Bone ages above 0 and up to 20 years are possible; RSNA 2017 labels run from 1 to 228 months."""

DISTRIBUTION: Final = "distribution"
INTERVAL_90: Final = "interval_90_months"
OUTPUTS: Final = (AGE_MONTHS, DISTRIBUTION, INTERVAL_90)
"""Model outputs: `age_months` [B, 1]; `distribution` [B, K], a probability per age bin; and
`interval_90_months` [B, 2], its 5 % and 95 % quantiles. A regression head has only the first.
Exports stretch the interval until it covers 90 % of held-out cases, and give a regression one."""

MAP: Final = "map"
"""Output of exports, [B, H, W], 0 to 1: influence of each place of the image on the age, see
`models.removal`. To draw it, enlarge it to the size of the image; the first row is the upper edge.
"""

OVERLAY: Final = "overlay_bytes"
"""Output of a SavedModel, [B] string: the map over the image as a PNG file. TensorFlow Serving
encodes outputs whose names end in `_bytes` as base64 over REST, and fails on other texts that are
not UTF-8."""

UNFAMILIARITY: Final = "unfamiliarity"
"""Output of exports, [B, 1]: distance of an image's features from those of the training images, as
a fraction of the limit. Above 1 the image is outside the training distribution, and the predicted
age should not be used."""

ATTENTIONS: Final = ("attention_1", "attention_2", "attention_3")
"""Outputs of `attention_vgg`, the attention at three depths, each [B, H, W] with a sum of 1."""

RELATION_MAP: Final = "relation_map"
PART_BOXES: Final = "part_boxes"
PART_SCORES: Final = "part_scores"
PART_KEPT: Final = "part_kept"
PART_AGES: Final = "part_ages_months"
PART_DISTRIBUTIONS: Final = "part_distributions"
GLOBAL_AGE: Final = "global_age_months"
GLOBAL_DISTRIBUTION: Final = "global_distribution"
PART_RANKING: Final = "part_ranking"
PART_OUTPUTS: Final = (
    RELATION_MAP,
    PART_BOXES,
    PART_SCORES,
    PART_KEPT,
    PART_AGES,
    PART_DISTRIBUTIONS,
    GLOBAL_AGE,
    GLOBAL_DISTRIBUTION,
    PART_RANKING,
)
"""Outputs of `prsnet`: `relation_map` [B, H, W], contribution of each place to the others, with a
sum of 1; for each part type its box `part_boxes` [B, K, 4] (ymin, xmin, ymax, xmax, fractions of
the image), `part_scores` [B, K], whether it was selected, `part_kept` [B, K], and the predictions
from the part alone, `part_ages_months` [B, K] and `part_distributions` [B, K, bins]; the
predictions from the whole image alone, `global_age_months` [B, 1] and `global_distribution`
[B, bins]; and for the loss `part_ranking` [B, K, 1 + bins], the scores and the distributions of the
parts. A regression head has no distributions, and its `part_ranking` contains the ages."""

QUALITY_CHECK: Final = "film_check"
"""Name of the exported network for the quality check, in a folder beside the models."""

IMAGE_KIND: Final = "film_kind"
POSE: Final = "film_pose"
INVERTED: Final = "film_inverted"
IMAGE_KINDS: Final = ("hand", "cut", "two", "other")
"""Kinds of images: one whole hand, a part of a hand, two hands, something else."""
TWO_HANDS: Final = IMAGE_KINDS.index("two")

POSES: Final = (
    "upright",
    "turned left",
    "upside down",
    "turned right",
    "mirrored",
    "mirrored and turned left",
    "mirrored and upside down",
    "mirrored and turned right",
)
"""Poses of a left hand: pose p is the upright hand, mirrored for p of at least 4, then rotated
counterclockwise by p modulo 4 quarter turns."""

REGION_DETECTOR: Final = "region_detector"
"""Name of the exported network that detects ossification regions, in a folder beside the models."""

CHECKERS: Final = (QUALITY_CHECK, REGION_DETECTOR)
"""Exported networks that do not predict an age."""

REGION_BOXES: Final = "region_boxes"
REGION_SCORES: Final = "region_scores"
REGIONS: Final = (
    "DIP2", "DIP3", "DIP4", "DIP5", "PIP1", "PIP2", "PIP3", "PIP4", "PIP5", "MCP1", "MCP2", "MCP3",
    "MCP4", "MCP5", "radius", "ulna", "wrist",
)  # fmt: skip
"""Ossification regions (Koitka et al. 2018), in the order of `hand_phantom`; PIP1 is the thumb's
interphalangeal joint. The detector's outputs are `region_boxes` [B, 17, 4], ymin, xmin, ymax, xmax
as fractions of the image, and `region_scores` [B, 17], the predicted overlap (IoU) of each box, 0
to 1."""

REGION_AGES: Final = "region_ages_months"
REGION_WEIGHTS: Final = "region_weights"
REGION_CROPS: Final = "region_crops"
REGION_DISTRIBUTIONS: Final = "region_distributions"
"""Outputs of `bonewise` in the order of `REGIONS`: bone age of each region in months [B, 17], its
weight in the fused answer [B, 17], the square that was cropped around it [B, 17, 4] (ymin, xmin,
ymax, xmax, fractions of the image), and for the loss its distribution [B, 17, bins]."""

REGION_GROUPS: Final = ("wrist", "radius", "ulna", "MCP", "PIP", "DIP")
"""Groups of regions, by joint."""

METADATA_FILE: Final = "metadata.json"
KERAS_FILE: Final = "model.keras"
"""Files of an export: its metadata, and the network as it was trained."""

SERVING_SIGNATURE: Final = "serving_default"
TENSORS_SIGNATURE: Final = "tensors"
EXPLAIN_SIGNATURE: Final = "explain"
"""Signatures of a SavedModel; LiteRT files have only the first. See `export.saved_model`."""

IMAGE_BYTES: Final = "image_bytes"
"""Input of a SavedModel, [B] encoded PNG or JPEG files."""

DATASETS: Final = ("hand_phantom", "radiograph_folder", "rsna_bone_age")
"""Datasets that the builders prepare."""

PRECISIONS: Final = ("auto", "float32", "mixed_float16", "mixed_bfloat16")
"""Number formats of training."""

NO_DISTRIBUTION: Final = "none"
MIRRORED: Final = "mirrored"
MULTIWORKER: Final = "multiworker"
DISTRIBUTIONS: Final = (NO_DISTRIBUTION, MIRRORED, MULTIWORKER)
"""Distributions of a training: one device, the devices of a machine, several machines."""

RESIZE_MODES: Final = ("pad", "stretch")
"""Conversion of images to squares. `pad` keeps the aspect ratio and centres the image on black;
`stretch` ignores the aspect ratio, for images that are already stretched to squares."""

FRAME: Final = "frame"
INPUT_MODES: Final = (*RESIZE_MODES, FRAME)
"""How radiographs become the input of a model: as squares, or the hand in its frame, see
`regions.frame`. A hand that is not located with certainty is left as it is, padded to a square."""

FRAME_MARGIN: Final = 0.04
"""Free border of the frame on each side, as a fraction of its side."""
VIEW_BORDER: Final = 0.1
"""Border around the hand when the detector looks at it again, as a fraction of the view."""

SIDES: Final = ("left", "right")

FROM_FLAG: Final = "flag"
FROM_TABLE: Final = "table"
FROM_FILE: Final = "file"
SEX_SOURCES: Final = (FROM_FLAG, FROM_TABLE, FROM_FILE)
"""Where the sex of a result is from: the user gave it (`--sex`, an argument, or on the page), it is
in a CSV table, or in a DICOM file."""

HEIGHT_CM: Final = "height_cm"
MAX_CHRONOLOGICAL_AGE_MONTHS: Final = 110 * 12.0
"""Maximum chronological age in months; a larger one is in days, or from a placeholder such as a
birth in 1900."""
MIN_HEIGHT_CM: Final = 30.0
MAX_HEIGHT_CM: Final = 250.0
"""Range of heights in cm that is accepted; others are probably in metres, inches or millimetres."""

BRUSH_FOUNDATION: Final = "brush_foundation"
GREULICH_PYLE_V_VI: Final = "greulich_pyle_v_vi"
SD_REFERENCES: Final = {
    BRUSH_FOUNDATION: "Brush Foundation (Greulich and Pyle 1959, tables III and IV)",
    GREULICH_PYLE_V_VI: "Greulich and Pyle 1959, tables V and VI",
}
"""Full names of the references for standard deviations of bone age, by their keys."""

RADIOGRAPH_ASPECT: Final = 0.785
"""Usual width over height of a hand radiograph: the median of the 240 RSNA originals whose sizes
Koitka et al. 2018 (doi 10.1371/journal.pone.0207496) published with their boxes."""

_SEX_WORDS: Final = {"female": FEMALE, "f": FEMALE, "male": MALE, "m": MALE}


def parse_sex(text: str) -> int:
    """Returns the code of a sex written as female, f, male or m, in any case.

    Raises:
        ValueError: the text is something else; the message names the text and the accepted values.
    """
    code = _SEX_WORDS.get(text.strip().lower())
    if code is None:
        raise ValueError(f"sex is {text!r}; write female or male (f or m)")
    return code


def parse_age_months(text: str | float) -> float:
    """Returns a bone age in months.

    Raises:
        ValueError: the text is not a number, or outside the possible range; the message names it.
    """
    try:
        age = float(text)
    except ValueError:
        raise ValueError(f"age is {text!r}; write a number of months") from None
    if not MIN_AGE_MONTHS < age <= MAX_AGE_MONTHS:  # NaN fails too
        raise ValueError(
            f"age is {text} months; possible is above {MIN_AGE_MONTHS:g} "
            f"and up to {MAX_AGE_MONTHS:g} months"
        )
    return age


def parse_chronological_age_months(text: str | float) -> float:
    """Returns a chronological age in months.

    Raises:
        ValueError: the text is not a number, or outside the possible range; the message names it.
    """
    return _parse_number("chronological age", text, 0.0, MAX_CHRONOLOGICAL_AGE_MONTHS, "months")


def parse_height_cm(text: str | float) -> float:
    """Returns a height in cm.

    Raises:
        ValueError: the text is not a number, or outside the possible range; the message names it.
    """
    return _parse_number("height", text, MIN_HEIGHT_CM, MAX_HEIGHT_CM, "cm")


def _parse_number(what: str, text: str | float, low: float, high: float, unit: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = float("nan")
    if not low <= number <= high:  # NaN fails too
        raise ValueError(f"{what} is {text!r}; write a number from {low:g} to {high:g} {unit}")
    return number
