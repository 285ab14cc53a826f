"""A hand that is found is read, whatever the network of the quality check says of the rest."""

import dataclasses
import re

import cv2
import numpy as np
import pytest
from bone_age_datasets.hand_phantom.examples import make_example
from bone_age_datasets.hand_phantom.population import PhantomSettings

from bone_age_tf import schema
from bone_age_tf.bundle import load_quality_checker
from bone_age_tf.images.resizing import resize, trim_margins
from bone_age_tf.reasons import MIRRORED, NOT_FRAMED, SURE_WHOLE, TEXTS, Reason
from bone_age_tf.regions.framing import HandFramer


@pytest.fixture(scope="module")
def framer(root):
    return HandFramer(root / "exports")


@pytest.fixture(scope="module")
def checker(root):
    return load_quality_checker(root / "exports")


@pytest.fixture(scope="module")
def hands():
    settings = PhantomSettings(image_size_px=256)
    examples = [make_example(settings, "test", place)[0] for place in (0, 1, 3)]
    return [np.asarray(image, np.float32)[..., 0] for image in examples]


def slanted(hand, degrees=40):
    matrix = cv2.getRotationMatrix2D((128, 128), degrees, 1.0)
    matrix[:, 2] += 82
    return cv2.warpAffine(hand, matrix, (420, 420), borderValue=12)


def turn_of(done):
    """The rotation in degrees, clockwise, that is the first of what was done."""
    degrees, way = re.fullmatch(r"rotated (\d+)° (\w+)", done[0]).groups()
    return int(degrees) if way == "clockwise" else -int(degrees)


def test_a_slanted_hand_is_not_refused_where_it_is_found(checker, framer, hands):
    refused = [checker.check(slanted(hand)).image is None for hand in hands]
    assert any(refused)  # by the network, which knows quarter turns
    for hand in hands:
        checked = checker.check(slanted(hand), framer.find)
        assert checked.image is not None
        assert checked.corrections == ()
        _, done = framer.fit(checked.image, 64, checked.hand)
        assert turn_of(done) == pytest.approx(40, abs=30)  # a drawn hand leans by up to that


def test_two_hands_are_refused_by_name_though_one_is_found(checker, framer, hands):
    found = []
    for hand in (hands[0], hands[2]):
        for first, second in ((hand, hand[:, ::-1]), (hand[:, ::-1], hand)):
            both = np.ascontiguousarray(np.hstack([first, second]))
            found.append(framer.find(both).is_certain)
            assert checker.check(both, framer.find).rejection == TEXTS[Reason.TWO_HANDS]
    assert any(found)


def test_parts_of_hands_are_not_found(checker, framer, hands):
    for hand in hands:
        for part in (hand[:128], hand[128:], hand[:, :128], hand[:, 128:]):
            assert not framer.find(part).is_certain
            assert checker.check(part, framer.find).image is None


def test_a_hand_without_its_wrist_is_refused_though_it_is_found(checker, framer, hands):
    found = []
    for hand in hands:
        places = framer.find(hand).places
        wrist, ends = places[schema.REGIONS.index("wrist")][1], places[:, 1].max()
        whole, cut = hand[: round(ends + 25)], hand[: round(wrist)]
        assert not framer.find(whole).is_cut
        assert checker.check(whole, framer.find).image is not None
        assert framer.find(cut).is_cut
        assert checker.check(cut, framer.find).rejection == TEXTS[Reason.CUT]
        found.append(framer.find(cut).is_certain)


def test_what_was_done_is_said(framer, hands):
    assert framer.fit(hands[0], 64)[1] == ()
    assert framer.fit(hands[0][:, ::-1].copy(), 64)[1] == (MIRRORED,)
    assert turn_of(framer.fit(slanted(hands[0], -90), 64)[1]) == pytest.approx(-90, abs=30)
    done = framer.fit(slanted(hands[0][:, ::-1].copy(), 70), 64)[1]
    assert turn_of(done) == pytest.approx(70, abs=30)
    assert done[1:] == (MIRRORED,)
    image, done = framer.fit(hands[0][:100], 64)
    assert done == (NOT_FRAMED,)
    assert image.shape == (64, 64)


def test_a_hand_that_is_not_located_is_read_only_where_the_network_is_sure(checker, framer, hands):
    unsure = []
    for hand in hands:
        for rows in range(130, 256, 10):
            part = hand[:rows]
            none = np.zeros(len(schema.REGIONS), np.float32)
            doubtful = dataclasses.replace(framer.find(part), doubt=1.0, scores=none, is_cut=False)
            outputs = checker.run_network(resize(trim_margins(part), checker.size_px, "pad"))
            probability = outputs[schema.IMAGE_KIND][0, 0]
            checked = checker.check(part, lambda _, hand=doubtful: hand)
            assert (checked.image is not None) == (probability >= SURE_WHOLE)
            unsure.append(checker.check(part).image is not None and checked.image is None)
    assert any(unsure)
