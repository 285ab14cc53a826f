"""Writes the report of an audit: the contents of a dataset and its suspect images."""

import textwrap
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from bone_age_tf import schema, templates
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
"""Maximum number of images of a kind in a picture."""
_LISTED: Final = 20
"""Maximum number of images of a kind in a table of the page."""
_FLAT_RANGE: Final = 40.0
"""Range of grey levels (of 255) below which an image counts as flat in the page's summary."""


def write_audit(folder: Path, audited: Audited, images: np.ndarray, command: str) -> list[Suspect]:
    """Writes the report of an audit.

    The files are `audit.md` with its pictures, `suspects.csv`, `remarks.csv` and, if labels were
    audited, `trust.csv`.

    Args:
        folder: the report's folder; it is created if necessary.
        audited: the dataset and the findings.
        images: [N, S, S] uint8, the images shown in the pictures.
        command: the command that made the report, shown on the page.

    Returns:
        The suspect images, without the unusual ones.

    Raises:
        OSError: the folder cannot be written.
    """
    suspects = find_suspects(audited)
    pictures = _pictures(audited, suspects, images)
    contents = {name: png for name, _, png in pictures}
    remarks = [suspect for suspect in suspects if suspect.kind in REMARKS]
    doubted = [suspect for suspect in suspects if suspect.kind not in REMARKS]
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
    """Returns the file name, title and PNG of each picture."""
    ages, sex = audited.age_months, audited.sex
    pictures = [
        ("ages.png", "Bone ages by sex", audit_plots.age_histograms(ages, sex, audited.part)),
        (
            "images.png",
            "Sizes and exposure",
            audit_plots.sizes_and_exposure(
                np.array([[image.width_px, image.height_px] for image in audited.facts]),
                np.array([[image.low, image.mean, image.high] for image in audited.facts]),
            ),
        ),
    ]
    if audited.months is not None and audited.deviation is not None:
        doubted = np.abs(audited.deviation) > LIMIT_SD
        png = audit_plots.labels(ages, audited.months[0], doubted)
        pictures.append(
            (
                "predictions.png",
                "Labels against predictions of networks that were not trained on them",
                png,
            )
        )
    for kind, title in _SHEETS.items():
        chosen = [suspect for suspect in suspects if suspect.kind == kind][:_SHOWN]
        if chosen:
            titles = [_caption(audited, suspect) for suspect in chosen]
            sheet = audit_plots.sheet(images[[suspect.place for suspect in chosen]], titles)
            pictures.append((f"{kind}s.png", title, sheet))
    extremes = _extremes(audited)
    titles = [f"{audited.image_id[place]}\n{words}" for place, words in extremes]
    sheet = audit_plots.sheet(images[[place for place, _ in extremes]], titles)
    pictures.append(("extremes.png", "The darkest, the brightest and the flattest images", sheet))
    return pictures


_SHEETS: Final = {
    "label": "Labels that are likely wrong",
    "rejection": "Images that the quality check rejects",
    "hand": "Small hands, and hands whose regions are not clearly detected",
    "pose": "Images that the quality check corrects",
    "frame": "Large black edges, white frames and corners",
    "duplicate": "Copies",
    "leak": "Images in more than one part",
}
"""Titles of the sections and pictures by kind of suspect."""


def _caption(audited: Audited, suspect: Suspect) -> str:
    place = suspect.place
    head = f"{audited.image_id[place]}, {schema.SEX_NAMES[audited.sex[place]]}"
    if suspect.kind == "label" and audited.months is not None:
        return f"{head}\n{audited.age_months[place]:.0f}, not {audited.months[0, place]:.0f}?"
    return f"{head}\n{textwrap.fill(suspect.reason, 30, max_lines=2)}"


def _extremes(audited: Audited) -> list[tuple[int, str]]:
    mean = np.array([image.mean for image in audited.facts])
    ranges = np.array([image.high - image.low for image in audited.facts])
    count = min(8, len(mean))
    by_mean = np.argsort(mean, kind="stable")
    return [
        *((int(place), f"mean {mean[place]:.0f}") for place in by_mean[:count]),
        *((int(place), f"mean {mean[place]:.0f}") for place in by_mean[::-1][:count]),
        *((int(p), f"range {ranges[p]:.0f}") for p in np.argsort(ranges, kind="stable")[:count]),
    ]


def _suspects_csv(audited: Audited, suspects: list[Suspect]) -> str:
    rows: list[Sequence[object]] = [
        (schema.IMAGE_ID, "part", schema.SEX, schema.AGE_MONTHS, "kind", "reason")
    ]
    for suspect in suspects:
        place = suspect.place
        sex = schema.SEX_NAMES[audited.sex[place]]
        age = f"{audited.age_months[place]:g}"
        head = (audited.image_id[place], audited.part[place], sex, age)
        rows.append((*head, suspect.kind, suspect.reason))
    return format_csv(rows)


def _trust_csv(audited: Audited) -> str:
    rows: list[Sequence[object]] = [
        (schema.IMAGE_ID, "trust", schema.AGE_MONTHS, "predicted_months")
    ]
    assert audited.months is not None and audited.deviation is not None
    trust = label_trust(audited.deviation)
    for place in np.flatnonzero(audited.trains):
        age, predicted = audited.age_months[place], audited.months[0, place]
        rows.append(
            (audited.image_id[place], f"{trust[place]:.3f}", f"{age:g}", f"{predicted:.1f}")
        )
    return format_csv(rows)


def _page(audited: Audited, suspects: list[Suspect], pictures: Any, command: str) -> str:
    counts = Counter(suspect.kind for suspect in suspects)
    kinds = [kind for kind in _SHEETS if kind not in REMARKS]
    has_checker = audited.rejections is not None
    return templates.render(
        "evaluation/audit.md.jinja",
        name=one_line(audited.name),
        not_a_device=NOT_A_DEVICE,
        command=command,
        counts_table=_counts_table(audited),
        years_warning=years_warning(audited.age_months),
        images=_image_facts(audited),
        counts=counts,
        labels=_label_facts(audited),
        has_checker=has_checker,
        checker_method="the quality check" if has_checker else _NO_CHECKER,
        has_detector=audited.hands is not None,
        has_suspects=any(suspect.kind not in REMARKS for suspect in suspects),
        suspects=_suspects_tables(audited, suspects, kinds),
        remarks=_suspects_tables(audited, suspects, REMARKS),
        pictures={name: title for name, title, _ in pictures},
        suspects_file=SUSPECTS_FILE,
        remarks_file=REMARKS_FILE,
        trust_file=TRUST_FILE,
        limit_sd=LIMIT_SD,
        full_trust_sd=FULL_TRUST_SD,
        least_extent=LEAST_EXTENT,
        least_score=LEAST_SCORE,
        most_edge=MOST_EDGE,
        most_white=MOST_WHITE,
        number=_number,
        percent=_percent,
    )


_NO_CHECKER: Final = (
    "none: there is no quality check in the exports; make one with `--mode=train_quality_check`"
)


def _suspects_tables(
    audited: Audited, suspects: list[Suspect], kinds: Sequence[str]
) -> dict[str, str]:
    """Returns a table by title for each kind that occurs."""
    by_kind = {kind: [s for s in suspects if s.kind == kind] for kind in kinds}
    return {
        _SHEETS[kind]: _suspects_table(audited, chosen)
        for kind, chosen in by_kind.items()
        if chosen
    }


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
    """Returns Fisher's coefficient of skewness, 0 where all values are equal."""
    centred = np.asarray(values, np.float64) - np.mean(values)
    spread = np.sqrt(np.mean(centred**2))
    return float(np.mean(centred**3) / spread**3) if spread else 0.0


def _image_facts(audited: Audited) -> dict[str, Any]:
    sizes = Counter((image.width_px, image.height_px) for image in audited.facts)
    width, height = max(sizes, key=lambda size: sizes[size])
    ranges = np.array([image.high - image.low for image in audited.facts])
    return {
        "sizes": len(sizes),
        "width": width,
        "height": height,
        "size_share": sizes[width, height] / len(audited.facts),
        "range": np.median(ranges),
        "flat_range": _FLAT_RANGE,
        "flat_share": np.mean(ranges < _FLAT_RANGE),
        "clipped_share": np.mean([image.high >= 254.5 for image in audited.facts]),
        "dark_share": np.mean([image.dark_share for image in audited.facts]),
    }


def _label_facts(audited: Audited) -> dict[str, Any] | None:
    """Returns the error of the networks on training images; None if labels were not audited."""
    if audited.months is None:
        return None
    error = np.abs(audited.months[0] - audited.age_months)[audited.trains]
    return {"mae_months": error.mean(), "count": len(error)}


def _suspects_table(audited: Audited, chosen: list[Suspect]) -> str:
    lines = [
        (audited.image_id[suspect.place], audited.part[suspect.place], suspect.reason)
        for suspect in chosen[:_LISTED]
    ]
    table = markdown_table(("Image", "Part", "Reason"), lines)
    more = len(chosen) - len(lines)
    file = REMARKS_FILE if chosen[0].kind in REMARKS else SUSPECTS_FILE
    return table + (f"\n\nand {_number(more)} more in `{file}`." if more else "")


def _percent(share: float, decimals: int = 0) -> str:
    return f"{share:.{decimals}%}"


def _number(count: int) -> str:
    return f"{count:,}"
