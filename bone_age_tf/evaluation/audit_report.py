"""The report of an audit: what a dataset holds, and what in it looks wrong."""

import csv
import dataclasses
import io
import textwrap
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np

from bone_age_tf import schema
from bone_age_tf.data.audit import ImageFacts, Twins
from bone_age_tf.evaluation import audit_plots
from bone_age_tf.evaluation.label_doubt import FULL_TRUST_SD, LIMIT_SD, label_trust
from bone_age_tf.evaluation.report import NOT_A_DEVICE, markdown_table, one_line
from bone_age_tf.files import replace_file

PAGE_FILE: Final = "audit.md"
SUSPECTS_FILE: Final = "suspects.csv"
TRUST_FILE: Final = "trust.csv"
_SHOWN: Final = 24
_LISTED: Final = 20
_FLAT_RANGE: Final = 40.0


@dataclasses.dataclass(frozen=True)
class Audited:
    """A dataset, and what is known of each of its N images.

    Attributes:
        name: of the dataset.
        image_id: N texts.
        part: N texts: what each image is for in training runs.
        trains: [N] bool: whether it is one of those that train.
        sex: [N] codes of `schema.SEX_NAMES`.
        age_months: [N].
        facts: N of them.
        twins: pairs of places.
        films: N texts: why the film check refuses an image or what it puts right; may be empty.
            None when there is no film check.
        months: [2, N] predicted by networks that have not seen the label, as the sex of the label
            and as the other; None when labels were not looked at.
        deviation: [N] see `label_doubt.robust_deviation`; None as `months`.
    """

    name: str
    image_id: list[str]
    part: list[str]
    trains: np.ndarray
    sex: np.ndarray
    age_months: np.ndarray
    facts: Sequence[ImageFacts]
    twins: Sequence[Twins]
    films: Sequence[str] | None
    months: np.ndarray | None
    deviation: np.ndarray | None


@dataclasses.dataclass(frozen=True)
class Suspect:
    """A reason to doubt an image.

    Attributes:
        place: of the image.
        kind: `label`, `duplicate`, `leak` or `film`.
        reason: in words.
        size: how strong it is, for the order among those of its kind.
    """

    place: int
    kind: str
    reason: str
    size: float = 0.0


def find_suspects(audited: Audited) -> list[Suspect]:
    """Returns what looks wrong, the strongest of each kind first.

    Of a picture that is there twice, the later copy in the same part; the copy that trains where
    the other does not; the later one where neither does.
    """
    found = [_copy(audited, twins) for twins in audited.twins]
    for place, words in enumerate(audited.films or ()):
        if words:
            found.append(Suspect(place, "film", words))
    if audited.months is not None and audited.deviation is not None:
        for place in map(int, np.flatnonzero(np.abs(audited.deviation) > LIMIT_SD)):
            own, other = audited.months[:, place]
            beyond = float(audited.deviation[place])
            words = (
                f"labelled {audited.age_months[place]:.0f} months, predicted {own:.0f} by a "
                f"network that has not seen it: {abs(beyond):.1f} robust SDs; as the "
                f"other sex {other:.0f}"
            )
            found.append(Suspect(place, "label", words, abs(beyond)))
    return sorted(found, key=lambda suspect: (suspect.kind, -suspect.size, suspect.place))


def _copy(audited: Audited, twins: Twins) -> Suspect:
    first, second = twins.first, twins.second
    leaks = audited.part[first] != audited.part[second]
    doubted, other = (first, second) if leaks and audited.trains[first] else (second, first)
    how = {"exact": "the same as", "near": "nearly the same as", "mirrored": "the mirror image of"}
    ages = f"labelled {audited.age_months[doubted]:.0f} and {audited.age_months[other]:.0f} months"
    words = f"{how[twins.how]} {audited.image_id[other]} in {audited.part[other]}, {ages}"
    return Suspect(doubted, "leak" if leaks else "duplicate", words, twins.correlation)


def write_audit(folder: Path, audited: Audited, images: np.ndarray, command: str) -> list[Suspect]:
    """Writes `audit.md`, its pictures, `suspects.csv` and, if labels were looked at, `trust.csv`.

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
    contents[SUSPECTS_FILE] = _suspects_csv(audited, suspects).encode()
    if audited.deviation is not None:
        contents[TRUST_FILE] = _trust_csv(audited).encode()
    contents[PAGE_FILE] = _page(audited, suspects, pictures, command).encode()
    for name, content in contents.items():
        replace_file(folder / name, content)
    return suspects


def _pictures(audited: Audited, suspects: list[Suspect], images) -> list[tuple[str, str, bytes]]:
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
    "film": "Films that the film check refuses or puts right",
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
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow((schema.IMAGE_ID, "part", schema.SEX, schema.AGE_MONTHS, "kind", "reason"))
    for one in suspects:
        place = one.place
        sex = schema.SEX_NAMES[audited.sex[place]]
        age = f"{audited.age_months[place]:g}"
        head = (audited.image_id[place], audited.part[place], sex, age)
        writer.writerow((*head, one.kind, one.reason))
    return text.getvalue()


def _trust_csv(audited: Audited) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow((schema.IMAGE_ID, "trust", schema.AGE_MONTHS, "predicted_months"))
    assert audited.months is not None and audited.deviation is not None
    trust = label_trust(audited.deviation)
    for place in np.flatnonzero(audited.trains):
        age, said = audited.age_months[place], audited.months[0, place]
        writer.writerow((audited.image_id[place], f"{trust[place]:.3f}", f"{age:g}", f"{said:.1f}"))
    return text.getvalue()


def _page(audited: Audited, suspects, pictures, command: str) -> str:
    counts = Counter(one.kind for one in suspects)
    sections = [
        f"# Audit of {one_line(audited.name)}",
        NOT_A_DEVICE,
        f"Made by `{command}`.",
        "## What there is",
        _counts_table(audited),
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
                    "film: no whole left hand, upright, bones bright",
                    _number(counts["film"]) if audited.films is not None else "not known",
                    "the film check"
                    if audited.films is not None
                    else "nothing: there is no film check in the exports; make one with "
                    "`--mode=train_film_check`",
                ),
            ],
        ),
        _what_to_do(suspects, audited),
    ]
    for kind, title in _SHEETS.items():
        chosen = [one for one in suspects if one.kind == kind]
        if chosen:
            sections += [f"### {title}", _suspects_table(audited, chosen)]
    sections.append("## Pictures")
    sections += [f"![{title}]({name})" for name, title, _ in pictures]
    return "\n\n".join(sections) + "\n"


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
    if not suspects:
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
    return table + (f"\n\nand {_number(more)} more in `{SUSPECTS_FILE}`." if more else "")


def _number(count: int) -> str:
    return f"{count:,}"
