"""Which images of a dataset look wrong, and which differ from most others. NumPy only."""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np

from bone_age_tf.data.audit import HandFacts, ImageFacts, Twins
from bone_age_tf.evaluation.label_doubt import LIMIT_SD

REMARKS: Final = ("pose", "frame")
"""Kinds of images that differ from most others without being wrong."""
LEAST_EXTENT: Final = 0.45
"""Minimum extent of the regions, chosen by eye on the RSNA training images."""
LEAST_SCORE: Final = 0.5
"""Minimum mean score of the regions, chosen by eye on the RSNA training images."""
MOST_WHITE: Final = 0.02
"""Maximum share of white pixels; the models' percentile stretch cuts off 0.01."""
MOST_EDGE: Final = 0.25
"""Maximum share of an image that black edges may take."""


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
        films: N texts: why the quality check refuses an image; may be empty. None when there is no
            quality check.
        poses: N texts: what the quality check corrects; may be empty. None as `films`.
        hands: N of them; None when there is no region detector.
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
    poses: Sequence[str] | None
    hands: Sequence[HandFacts] | None
    months: np.ndarray | None
    deviation: np.ndarray | None


@dataclasses.dataclass(frozen=True)
class Suspect:
    """A reason to doubt an image.

    Attributes:
        place: of the image.
        kind: `label`, `duplicate`, `leak`, `film` or `hand`; `pose` or `frame` for a remark.
        reason: in words.
        size: how strong it is, for the order among those of its kind.
    """

    place: int
    kind: str
    reason: str
    size: float = 0.0


def find_suspects(audited: Audited) -> list[Suspect]:
    """Returns what looks wrong and what is remarkable, the strongest of each kind first.

    Of a picture that is there twice, the later copy in the same part; the copy that trains where
    the other does not; the later one where neither does.
    """
    found = [_copy(audited, twins) for twins in audited.twins]
    for place, words in enumerate(audited.films or ()):
        if words:
            found.append(Suspect(place, "film", words))
    for place, words in enumerate(audited.poses or ()):
        if words:
            found.append(Suspect(place, "pose", words))
    found += [*_hands(audited), *_frames(audited)]
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


def _hands(audited: Audited) -> Iterator[Suspect]:
    """Yields images whose hand is small or whose regions are hardly found."""
    for place, hand in enumerate(audited.hands or ()):
        if hand.score < LEAST_SCORE:
            words = f"regions hardly found: mean score {hand.score:.2f}"
            yield Suspect(place, "hand", words, 1 + LEAST_SCORE - hand.score)
        elif hand.extent < LEAST_EXTENT:
            words = f"small hand: its regions span {hand.extent:.0%} of the longer side"
            yield Suspect(place, "hand", words, LEAST_EXTENT - hand.extent)


def _frames(audited: Audited) -> Iterator[Suspect]:
    """Yields images with large black edges, or with much white, as of frames and corners."""
    for place, facts in enumerate(audited.facts):
        words = []
        if facts.edge_share > MOST_EDGE:
            words.append(f"black edges take {facts.edge_share:.0%} of the image")
        if facts.white_share > MOST_WHITE:
            words.append(f"{facts.white_share:.0%} of the pixels are white")
        if words:
            size = max(facts.edge_share, facts.white_share)
            yield Suspect(place, "frame", "; ".join(words), size)


def _copy(audited: Audited, twins: Twins) -> Suspect:
    first, second = twins.first, twins.second
    leaks = audited.part[first] != audited.part[second]
    doubted, other = (first, second) if leaks and audited.trains[first] else (second, first)
    how = {"exact": "the same as", "near": "nearly the same as", "mirrored": "the mirror image of"}
    ages = f"labelled {audited.age_months[doubted]:.0f} and {audited.age_months[other]:.0f} months"
    words = f"{how[twins.how]} {audited.image_id[other]} in {audited.part[other]}, {ages}"
    return Suspect(doubted, "leak" if leaks else "duplicate", words, twins.correlation)
