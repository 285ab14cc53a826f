"""Names, codes, units and ranges that every part of the project shares.

Standard library only, so that anything may import it, a builder or a small server alike.
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
`chronological_age_months` float32, NaN where unknown. A builder may add features."""

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
"""Output of exports, [B, H, W], 0 to 1: how much each place of the image decides the age, see
`models.removal`. Enlarge it to the image; the first row is its upper edge."""

OVERLAY: Final = "overlay_bytes"
"""Output of a SavedModel, [B] text: that map over the image as a PNG file. TensorFlow Serving sends
what ends in `_bytes` as base64 over REST, and breaks on other texts that are not UTF-8."""

UNFAMILIARITY: Final = "unfamiliarity"
"""Output of exports, [B, 1]: how far an image's features lie from those of the training images, as
a share of what is still familiar. Above 1 the age should not be trusted."""

ATTENTIONS: Final = ("attention_1", "attention_2", "attention_3")
"""Outputs of `attention_vgg`, [B, H, W] each with a sum of 1: where it looks, by depth."""

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
"""Outputs of `prsnet`: `relation_map` [B, H, W], how much each place tells the others, a sum of 1;
of each kind of part its box `part_boxes` [B, K, 4] (ymin, xmin, ymax, xmax, fractions of the
image), `part_scores` [B, K], whether it was selected, `part_kept` [B, K], and what it alone says,
`part_ages_months` [B, K] and
`part_distributions` [B, K, bins]; the whole image's `global_age_months` [B, 1] and
`global_distribution` [B, bins]; and for the loss `part_ranking` [B, K, 1 + bins], scores and what
the parts say together. A regression head has no distributions, and `part_ranking` the ages."""

FILM_CHECK: Final = "film_check"
"""The network that looks at films; it stands beside the models in the exports."""

FILM_KIND: Final = "film_kind"
FILM_POSE: Final = "film_pose"
FILM_INVERTED: Final = "film_inverted"
FILM_KINDS: Final = ("hand", "cut", "two", "other")
"""What a film shows: one whole hand, a part of one, two hands, something else."""

FILM_POSES: Final = (
    "upright",
    "turned left",
    "upside down",
    "turned right",
    "mirrored",
    "mirrored and turned left",
    "mirrored and upside down",
    "mirrored and turned right",
)
"""How a left hand lies: pose p is the upright hand, mirrored from 4 on, then turned by p modulo 4
quarters against the clock."""

REGION_DETECTOR: Final = "region_detector"
"""The network that finds the regions of ossification, beside the models in the exports too."""

CHECKERS: Final = (FILM_CHECK, REGION_DETECTOR)
"""Networks among the exports that do not read an age."""

REGION_BOXES: Final = "region_boxes"
REGION_SCORES: Final = "region_scores"
REGIONS: Final = (
    "DIP2", "DIP3", "DIP4", "DIP5", "PIP1", "PIP2", "PIP3", "PIP4", "PIP5", "MCP1", "MCP2", "MCP3",
    "MCP4", "MCP5", "radius", "ulna", "wrist",
)  # fmt: skip
"""Regions that ossification is read from (Koitka et al. 2018), those of `hand_phantom` in its
order; PIP1 is the thumb's interphalangeal joint. The detector answers with `region_boxes`
[B, 17, 4], ymin, xmin, ymax, xmax as fractions of the image, and `region_scores` [B, 17], how well
each box is likely to fit, 0 to 1."""

REGION_GROUPS: Final = ("wrist", "radius", "ulna", "MCP", "PIP", "DIP")
"""The regions by joint, as people speak of them."""

METADATA_FILE: Final = "metadata.json"
KERAS_FILE: Final = "model.keras"
"""Files of an export: the contract with those who use it, and the network as it was trained."""

SERVING_SIGNATURE: Final = "serving_default"
TENSORS_SIGNATURE: Final = "tensors"
EXPLAIN_SIGNATURE: Final = "explain"
"""Signatures of a SavedModel; LiteRT files have the first. See `export.saved_model`."""

IMAGE_BYTES: Final = "image_bytes"
"""Input of a SavedModel, [B] encoded PNG or JPEG files."""

RESULT_COLUMNS: Final = (
    "image",
    "sex",
    "bone_age_months",
    "lower_90",
    "upper_90",
    "status",
    "reason",
)
"""Columns of a table of results."""

DATASETS: Final = ("hand_phantom", "radiograph_folder", "rsna_bone_age")
"""Datasets that the builders prepare."""

PRECISIONS: Final = ("auto", "float32", "mixed_float16", "mixed_bfloat16")
"""Number formats of training."""

RESIZE_MODES: Final = ("pad", "stretch")
"""How an image becomes a square. `pad` keeps the aspect ratio and centres the image on black;
`stretch` ignores the aspect ratio, for images that others have already stretched to squares."""

SIDES: Final = ("left", "right")

RADIOGRAPH_ASPECT: Final = 0.785
"""Usual width over height of a hand radiograph: the median of the 240 RSNA originals whose sizes
Koitka et al. 2018 (doi 10.1371/journal.pone.0207496) published with their boxes."""

_SEX_WORDS: Final = {"female": FEMALE, "f": FEMALE, "male": MALE, "m": MALE}


def parse_sex(text: str) -> int:
    """Returns the code of a sex written as female, f, male or m, in any case.

    Raises:
        ValueError: the text is something else; the message names it and what is accepted.
    """
    code = _SEX_WORDS.get(text.strip().lower())
    if code is None:
        raise ValueError(f"sex is {text!r}; write female or male (f or m)")
    return code


def parse_age_months(text: str | float) -> float:
    """Returns a bone age in months.

    Raises:
        ValueError: not a number, or outside the possible range; the message says which.
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
