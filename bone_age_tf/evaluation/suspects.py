"""Finds suspect and unusual images in an audited dataset. NumPy only."""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np

from bone_age_tf.data.audit import HandFacts, ImageFacts, Twins
from bone_age_tf.evaluation.label_doubt import LIMIT_SD

REMARKS: Final = ("pose", "frame")
"""Kinds of unusual images, which differ from most others without being wrong."""
LEAST_EXTENT: Final = 0.45
"""Minimum extent of the regions, chosen by eye on the RSNA training images."""
LEAST_SCORE: Final = 0.5
"""Minimum mean score of the regions, chosen by eye on the RSNA training images."""
MOST_WHITE: Final = 0.02
"""Maximum share of white pixels in a usual image; the models' percentile stretch clips 0.01."""
MOST_EDGE: Final = 0.25
"""Maximum share of a usual image that black edges may cover."""


@dataclasses.dataclass(frozen=True)
class Audited:
    """A dataset with the findings of an audit for each of its N images.

    Attributes:
        name: name of the dataset.
        image_id: ids of the images.
        part: what each image is used for in training runs, such as `trains (train)`.
        trains: [N] bool, whether each image is a training image.
        sex: [N] codes of `schema.SEX_NAMES`.
        age_months: [N] labels in months.
        facts: size, exposure and fingerprints of each image.
        twins: pairs of images that show the same picture.
        rejections: why the quality check rejects each image, empty if it does not; None
            without a quality check.
        poses: what the quality check corrects in each image, may be empty; None without a quality
            check.
        hands: location of the hand in each image; None without a region detector.
        months: [2, N] ages in months predicted by networks that were not trained on the image, for
            the sex of the label and for the other sex; None if labels were not audited.
        deviation: [N] see `label_doubt.robust_deviation`; None if labels were not audited.
    """

    name: str
    image_id: list[str]
    part: list[str]
    trains: np.ndarray
    sex: np.ndarray
    age_months: np.ndarray
    facts: Sequence[ImageFacts]
    twins: Sequence[Twins]
    rejections: Sequence[str] | None
    poses: Sequence[str] | None
    hands: Sequence[HandFacts] | None
    months: np.ndarray | None
    deviation: np.ndarray | None


@dataclasses.dataclass(frozen=True)
class Suspect:
    """A reason to doubt an image.

    Attributes:
        place: index of the image.
        kind: `label`, `duplicate`, `leak`, `rejection` or `hand`; `pose` or `frame` if unusual.
        reason: the reason as a text.
        size: strength of the suspicion, by which suspects of a kind are sorted.
    """

    place: int
    kind: str
    reason: str
    size: float = 0.0


def find_suspects(audited: Audited) -> list[Suspect]:
    """Returns suspect and unusual images, sorted by kind and descending strength.

    If a picture occurs twice, one copy is suspect: the training image if the other copy is in
    another part, else the later copy.
    """
    suspects = [_copy(audited, twins) for twins in audited.twins]
    for place, words in enumerate(audited.rejections or ()):
        if words:
            suspects.append(Suspect(place, "rejection", words))
    for place, words in enumerate(audited.poses or ()):
        if words:
            suspects.append(Suspect(place, "pose", words))
    suspects += [*_hands(audited), *_frames(audited)]
    if audited.months is not None and audited.deviation is not None:
        for place in map(int, np.flatnonzero(np.abs(audited.deviation) > LIMIT_SD)):
            as_labelled, as_other_sex = audited.months[:, place]
            beyond = float(audited.deviation[place])
            words = (
                f"labelled {audited.age_months[place]:.0f} months, predicted {as_labelled:.0f} by "
                f"a network that was not trained on it: {abs(beyond):.1f} robust SDs; predicted "
                f"{as_other_sex:.0f} for the other sex"
            )
            suspects.append(Suspect(place, "label", words, abs(beyond)))
    return sorted(suspects, key=lambda suspect: (suspect.kind, -suspect.size, suspect.place))


def _hands(audited: Audited) -> Iterator[Suspect]:
    """Yields images in which the hand is small or its regions are not clearly detected."""
    for place, hand in enumerate(audited.hands or ()):
        if hand.score < LEAST_SCORE:
            words = f"regions not clearly detected: mean score {hand.score:.2f}"
            yield Suspect(place, "hand", words, 1 + LEAST_SCORE - hand.score)
        elif hand.extent < LEAST_EXTENT:
            words = f"small hand: its regions span {hand.extent:.0%} of the longer side"
            yield Suspect(place, "hand", words, LEAST_EXTENT - hand.extent)


def _frames(audited: Audited) -> Iterator[Suspect]:
    """Yields images with large black edges, or with many white pixels, as in frames."""
    for place, facts in enumerate(audited.facts):
        words = []
        if facts.edge_share > MOST_EDGE:
            words.append(f"black edges cover {facts.edge_share:.0%} of the image")
        if facts.white_share > MOST_WHITE:
            words.append(f"{facts.white_share:.0%} of the pixels are white")
        if words:
            size = max(facts.edge_share, facts.white_share)
            yield Suspect(place, "frame", "; ".join(words), size)


def _copy(audited: Audited, twins: Twins) -> Suspect:
    first, second = twins.first, twins.second
    leaks = audited.part[first] != audited.part[second]
    doubted, other = (first, second) if leaks and audited.trains[first] else (second, first)
    relations = {
        "exact": "the same as",
        "near": "nearly the same as",
        "mirrored": "the mirror image of",
    }
    ages = f"labelled {audited.age_months[doubted]:.0f} and {audited.age_months[other]:.0f} months"
    words = f"{relations[twins.how]} {audited.image_id[other]} in {audited.part[other]}, {ages}"
    return Suspect(doubted, "leak" if leaks else "duplicate", words, twins.correlation)
