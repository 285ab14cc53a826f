"""The report of an audit: what a dataset holds, and what in it looks wrong."""

import textwrap
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from bone_age_tf import schema
from bone_age_tf.csv_text import format_csv
from bone_age_tf.evaluation import audit_plots
from bone_age_tf.evaluation.label_doubt import FULL_TRUST_SD, LIMIT_SD, label_trust
from bone_age_tf.evaluation.report import NOT_A_DEVICE, markdown_table, one_line
from bone_age_tf.evaluation.site_doubts import years_warning
from bone_age_tf.evaluation.suspects import (
    LEAST_EXTENT,
    LEAST_SCORE,
    MOST_EDGE,
    MOST_WHITE,
    REMARKS,
    Audited,
    Suspect,
    find_suspects,
)
from bone_age_tf.files import replace_file

PAGE_FILE: Final = "audit.md"
SUSPECTS_FILE: Final = "suspects.csv"
REMARKS_FILE: Final = "remarks.csv"
TRUST_FILE: Final = "trust.csv"
_SHOWN: Final = 24
_LISTED: Final = 20
_FLAT_RANGE: Final = 40.0


def write_audit(folder: Path, audited: Audited, images: np.ndarray, command: str) -> list[Suspect]:
    """Writes the report of an audit.

    That is `audit.md` with its pictures, `suspects.csv`, `remarks.csv` and, if labels were looked
    at, `trust.csv`.

    Args:
        folder: made if it is missing.
        audited: what is known.
        images: [N, S, S] uint8, for the pictures.
        command: that made it, for the page.

    Returns:
        The suspects.

    Raises:
        OSError: the folder cannot be written.
    """
    suspects = find_suspects(audited)
    pictures = _pictures(audited, suspects, images)
    contents = {name: png for name, _, png in pictures}
    remarks = [one for one in suspects if one.kind in REMARKS]
    doubted = [one for one in suspects if one.kind not in REMARKS]
    contents[SUSPECTS_FILE] = _suspects_csv(audited, doubted).encode()
    contents[REMARKS_FILE] = _suspects_csv(audited, remarks).encode()
    if audited.deviation is not None:
        contents[TRUST_FILE] = _trust_csv(audited).encode()
    contents[PAGE_FILE] = _page(audited, suspects, pictures, command).encode()
    for name, content in contents.items():
        replace_file(folder / name, content)
    return doubted


def _pictures(
    audited: Audited, suspects: list[Suspect], images: Any
) -> list[tuple[str, str, bytes]]:
    """Returns name, title and PNG of each picture that there is something for."""
    ages, sex = audited.age_months, audited.sex
    found = [
        ("ages.png", "Bone ages by sex", audit_plots.age_histograms(ages, sex, audited.part)),
        (
            "images.png",
            "Sizes and exposure",
            audit_plots.sizes_and_exposure(
                np.array([[one.width_px, one.height_px] for one in audited.facts]),
                np.array([[one.low, one.mean, one.high] for one in audited.facts]),
            ),
        ),
    ]
    if audited.months is not None and audited.deviation is not None:
        doubted = np.abs(audited.deviation) > LIMIT_SD
        png = audit_plots.labels(ages, audited.months[0], doubted)
        found.append(
            ("labels.png", "Labels against what networks say that have not seen them", png)
        )
    for kind, title in _SHEETS.items():
        chosen = [suspect for suspect in suspects if suspect.kind == kind][:_SHOWN]
        if chosen:
            titles = [_caption(audited, suspect) for suspect in chosen]
            sheet = audit_plots.sheet(images[[suspect.place for suspect in chosen]], titles)
            found.append((f"{kind}s.png", title, sheet))
    extremes = _extremes(audited)
    titles = [f"{audited.image_id[place]}\n{words}" for place, words in extremes]
    sheet = audit_plots.sheet(images[[place for place, _ in extremes]], titles)
    found.append(("extremes.png", "The darkest, the brightest and the flattest images", sheet))
    return found


_SHEETS: Final = {
    "label": "Labels that are likely wrong",
    "film": "Images that the quality check refuses",
    "hand": "Small hands, and hands whose regions are hardly found",
    "pose": "Images that the quality check corrects",
    "frame": "Large black edges, white frames and corners",
    "duplicate": "Copies",
    "leak": "Images that train and test",
}


def _caption(audited: Audited, suspect: Suspect) -> str:
    place = suspect.place
    head = f"{audited.image_id[place]}, {schema.SEX_NAMES[audited.sex[place]]}"
    if suspect.kind == "label" and audited.months is not None:
        return f"{head}\n{audited.age_months[place]:.0f}, not {audited.months[0, place]:.0f}?"
    return f"{head}\n{textwrap.fill(suspect.reason, 30, max_lines=2)}"


def _extremes(audited: Audited) -> list[tuple[int, str]]:
    mean = np.array([one.mean for one in audited.facts])
    reach = np.array([one.high - one.low for one in audited.facts])
    count = min(8, len(mean))
    by_mean = np.argsort(mean, kind="stable")
    return [
        *((int(place), f"mean {mean[place]:.0f}") for place in by_mean[:count]),
        *((int(place), f"mean {mean[place]:.0f}") for place in by_mean[::-1][:count]),
        *((int(p), f"range {reach[p]:.0f}") for p in np.argsort(reach, kind="stable")[:count]),
    ]


def _suspects_csv(audited: Audited, suspects: list[Suspect]) -> str:
    rows: list[Sequence[object]] = [
        (schema.IMAGE_ID, "part", schema.SEX, schema.AGE_MONTHS, "kind", "reason")
    ]
    for one in suspects:
        place = one.place
        sex = schema.SEX_NAMES[audited.sex[place]]
        age = f"{audited.age_months[place]:g}"
        head = (audited.image_id[place], audited.part[place], sex, age)
        rows.append((*head, one.kind, one.reason))
    return format_csv(rows)


def _trust_csv(audited: Audited) -> str:
    rows: list[Sequence[object]] = [
        (schema.IMAGE_ID, "trust", schema.AGE_MONTHS, "predicted_months")
    ]
    assert audited.months is not None and audited.deviation is not None
    trust = label_trust(audited.deviation)
    for place in np.flatnonzero(audited.trains):
        age, said = audited.age_months[place], audited.months[0, place]
        rows.append((audited.image_id[place], f"{trust[place]:.3f}", f"{age:g}", f"{said:.1f}"))
    return format_csv(rows)


def _page(audited: Audited, suspects: Any, pictures: Any, command: str) -> str:
    counts = Counter(one.kind for one in suspects)
    sections = [
        f"# Audit of {one_line(audited.name)}",
        NOT_A_DEVICE,
        f"Made by `{command}`.",
        "## What there is",
        _counts_table(audited),
        years_warning(audited.age_months),
        "Skew is Fisher's; a set whose skew differs between the sexes rewards a network for "
        "reading the sex instead of the bones.",
        _image_facts(audited),
        "## What looks wrong",
        markdown_table(
            ("Kind", "Images", "Looked at"),
            [
                ("label: likely wrong", _number(counts["label"]), _label_method(audited)),
                (
                    "duplicate: a copy in the same part",
                    _number(counts["duplicate"]),
                    "every pair: equal pixels, or perceptual hash and small picture, mirrored too",
                ),
                ("leak: a copy in another part", _number(counts["leak"]), "the same"),
                (
                    "film: not one whole hand",
                    _number(counts["film"]) if audited.films is not None else "not known",
                    _film_method(audited),
                ),
                (
                    "hand: small, or its regions hardly found",
                    _number(counts["hand"]) if audited.hands is not None else "not known",
                    _hand_method(audited),
                ),
            ],
        ),
        _what_to_do(suspects, audited),
    ]
    sections += _listed(audited, suspects, [kind for kind in _SHEETS if kind not in REMARKS])
    sections += [
        "## What differs from most images",
        f"These images are listed in `{REMARKS_FILE}`. A network can learn from them.",
        markdown_table(
            ("Kind", "Images", "Looked at"),
            [
                (
                    "pose: mirrored, turned or inverted; corrected before a prediction",
                    _number(counts["pose"]) if audited.poses is not None else "not known",
                    _film_method(audited),
                ),
                (
                    "frame: black edges or white frames",
                    _number(counts["frame"]),
                    f"black edges beyond {MOST_EDGE:.0%} of the image, which prediction cuts off "
                    f"and training does not; white pixels beyond {MOST_WHITE:.0%}",
                ),
            ],
        ),
        *_listed(audited, suspects, REMARKS),
    ]
    sections.append("## Pictures")
    sections += [f"![{title}]({name})" for name, title, _ in pictures]
    return "\n\n".join(sections) + "\n"


def _listed(audited: Audited, suspects: list[Suspect], kinds: Sequence[str]) -> list[str]:
    """Returns a heading and a table for each of the kinds that there are."""
    sections = []
    for kind in kinds:
        chosen = [one for one in suspects if one.kind == kind]
        if chosen:
            sections += [f"### {_SHEETS[kind]}", _suspects_table(audited, chosen)]
    return sections


def _film_method(audited: Audited) -> str:
    if audited.films is not None:
        return "the quality check"
    return (
        "nothing: there is no quality check in the exports; make one with "
        "`--mode=train_quality_check`"
    )


def _hand_method(audited: Audited) -> str:
    if audited.hands is None:
        return (
            "nothing: there is no region detector in the exports; make one with "
            "`--mode=train_region_detector`"
        )
    return (
        f"the region detector: regions that span less than {LEAST_EXTENT:.0%} of the longer side, "
        f"or a mean score below {LEAST_SCORE:g}"
    )


def _counts_table(audited: Audited) -> str:
    parts, sexes = np.array(audited.part), audited.sex
    lines = []
    for part in dict.fromkeys(audited.part):
        for code, name in enumerate(schema.SEX_NAMES):
            ages = audited.age_months[(parts == part) & (sexes == code)]
            if len(ages):
                low, middle, high = np.percentile(ages, [5, 50, 95])
                cells = f"{ages.mean():.1f}", f"{ages.std():.1f}", f"{skew(ages):+.2f}"
                lines.append(
                    (part, name, _number(len(ages)), *cells, f"{low:.0f}, {middle:.0f}, {high:.0f}")
                )
    return markdown_table(
        ("Part", "Sex", "Images", "Mean age", "SD", "Skew", "5 %, median, 95 % (months)"), lines
    )


def skew(values: np.ndarray) -> float:
    """Returns Fisher's coefficient of skewness, 0 where all values are one."""
    centred = np.asarray(values, np.float64) - np.mean(values)
    spread = np.sqrt(np.mean(centred**2))
    return float(np.mean(centred**3) / spread**3) if spread else 0.0


def _image_facts(audited: Audited) -> str:
    sizes = Counter((one.width_px, one.height_px) for one in audited.facts)
    width, height = max(sizes, key=lambda size: sizes[size])
    reach = np.array([one.high - one.low for one in audited.facts])
    clipped = np.mean([one.high >= 254.5 for one in audited.facts])
    dark = np.mean([one.dark_share for one in audited.facts])
    flat = np.mean(reach < _FLAT_RANGE)
    return (
        f"{_number(len(sizes))} sizes; the most frequent is {width} x {height} px "
        f"({sizes[width, height] / len(audited.facts):.0%}). Of 255 grey levels the middle 98 % "
        f"of an image's pixels span {np.median(reach):.0f} (median); {flat:.1%} of the images "
        f"span fewer than {_FLAT_RANGE:.0f}, {clipped:.1%} are white in their brightest percent, "
        f"and {dark:.0%} of all pixels are nearly black."
    )


def _label_method(audited: Audited) -> str:
    if audited.months is None:
        return "nothing: `--folds=0`"
    error = np.abs(audited.months[0] - audited.age_months)[audited.trains]
    return (
        f"residuals of networks that have not seen the label (MAE {error.mean():.1f} months over "
        f"the {_number(len(error))} that train) beyond {LIMIT_SD:g} robust SDs of their age"
    )


def _what_to_do(suspects: list[Suspect], audited: Audited) -> str:
    if all(one.kind in REMARKS for one in suspects):
        return "Nothing looks wrong."
    words = (
        f"A suspect is not a culprit: look at the pictures, delete from `{SUSPECTS_FILE}` what is "
        f"right, then train without the rest: `--config.leave_out=FOLDER/{SUSPECTS_FILE}`. Only "
        "images that train are left out, never those that a figure is measured on."
    )
    if audited.deviation is None:
        return words
    return (
        f"{words} Or let each label count by how far it is to be trusted, 1 up to "
        f"{FULL_TRUST_SD:g} robust SDs and less beyond: `--config.trust=FOLDER/{TRUST_FILE}`."
    )


def _suspects_table(audited: Audited, chosen: list[Suspect]) -> str:
    lines = [
        (audited.image_id[one.place], audited.part[one.place], one.reason)
        for one in chosen[:_LISTED]
    ]
    table = markdown_table(("Image", "Part", "Why"), lines)
    more = len(chosen) - len(lines)
    file = REMARKS_FILE if chosen[0].kind in REMARKS else SUSPECTS_FILE
    return table + (f"\n\nand {_number(more)} more in `{file}`." if more else "")


def _number(count: int) -> str:
    return f"{count:,}"
