"""Tests of the drawn hands: what an age shows, and where."""

import dataclasses

import numpy as np
import pytest
from bone_age_datasets.hand_phantom import anatomy, ossification, radiograph

from bone_age_tf import schema

FEMALE, MALE = schema.FEMALE, schema.MALE
SIZE = 256
EPIPHYSES = [n for n, t in ossification.timetable(MALE).items() if t.kind == "epiphysis"]
LATE = [n for n, t in ossification.timetable(MALE).items() if t.appearance > 12]


def on_schedule(sex, seed=0):
    """A child whose centres keep to the table."""
    child = anatomy.sample_child(sex, np.random.default_rng(seed))
    return dataclasses.replace(child, lateness={})


def value_at(picture, point, matrix):
    x, y = radiograph.to_film(point[None], matrix, picture.shape[0])[0]
    return float(picture[round(float(y)), round(float(x))])


def centre_of(bone):
    for part in ("epiphysis", "whole"):
        if (outline := bone.outline(part)) is not None:
            return outline.mean(axis=0)
    raise AssertionError(f"{bone.name} has no centre")


def epiphysis_width(bone):
    outline = bone.outline("epiphysis")
    if outline is None:
        return 0.0
    return float(np.linalg.norm(outline[:, None] - outline[None], axis=-1).max())


def test_same_state_same_picture():
    one, two, other = (
        radiograph.draw_hand(100, MALE, np.random.default_rng(s), 64) for s in (1, 1, 2)
    )
    np.testing.assert_array_equal(one, two)
    assert one.shape == (64, 64) and one.dtype == np.uint8
    assert (one != other).mean() > 0.5


@pytest.mark.parametrize("size_px", [64, 128, 200])
def test_pictures_have_contrast(size_px):
    for seed, age in enumerate((1, 12, 60, 130, 216, 240)):
        image = radiograph.draw_hand(age, seed % 2, np.random.default_rng(seed), size_px)
        assert image.shape == (size_px, size_px)
        assert np.ptp(np.percentile(image, [2, 98])) > 40


@pytest.mark.parametrize("name", LATE)
def test_an_absent_centre_leaves_no_spot(name):
    child = on_schedule(MALE)
    film = radiograph.sample_film(np.random.default_rng(3))
    age = ossification.timetable(MALE)[name].appearance
    after, matrix, attenuation = radiograph.project(age + 2.0, child, film, SIZE)
    place = centre_of(after.bones[name])
    before = radiograph.project(age - 0.5, child, film, SIZE)[0]
    bones_before = radiograph.bone_attenuation(list(before.bones.values()), matrix, SIZE)
    bones_after = radiograph.bone_attenuation(list(after.bones.values()), matrix, SIZE)
    assert value_at(bones_after, place, matrix) > value_at(bones_before, place, matrix) + 0.1
    if name != "pisiform":  # which lies over the triquetrum
        assert value_at(bones_before, place, matrix) < 0.02
    assert value_at(attenuation, place, matrix) > value_at(bones_after, place, matrix)


def test_a_centre_shows_in_the_picture():
    ages = (45.0, 95.0)  # the scaphoid comes between them

    def grey(age):
        rng = np.random.default_rng(5)
        image = radiograph.draw_hand(age, MALE, rng, SIZE)
        rng = np.random.default_rng(5)
        child, film = anatomy.sample_child(MALE, rng), radiograph.sample_film(rng)
        matrix = radiograph.film_matrix(film, anatomy.film_scale(age, child))
        assert ("scaphoid" in anatomy.grow_hand(age, child).bones) == (age == ages[1])
        middle = np.array(anatomy.CARPALS_MM["scaphoid"][0])
        return value_at(image.astype(float), middle, matrix)

    assert grey(ages[1]) > grey(ages[0]) + 15


@pytest.mark.parametrize("sex", [FEMALE, MALE])
def test_epiphyses_widen_with_age_to_their_metaphyses(sex):
    child = on_schedule(sex)
    for name in EPIPHYSES:
        timing = ossification.timetable(sex)[name]
        ages = np.linspace(timing.appearance - 1, timing.full_size, 6)
        hands = [anatomy.grow_hand(float(age), child) for age in ages]
        stout = [anatomy.stoutness(float(age)) ** anatomy.BONE_STOUTNESS for age in ages]
        widths = [epiphysis_width(hand.bones[name]) for hand in hands]
        if not name.startswith("distal"):
            widths = [width / s for width, s in zip(widths, stout, strict=True)]
        assert widths[0] == 0.0
        assert (np.diff(widths) > 0).all(), name
        assert widths[1] < 0.5 * widths[-1]


def test_girls_are_ahead_at_the_same_age():
    count = {
        sex: sum(
            epiphysis_width(bone) > 0 or bone.outline("whole") is not None
            for bone in anatomy.grow_hand(24, on_schedule(sex)).bones.values()
        )
        for sex in (FEMALE, MALE)
    }
    assert count[FEMALE] > count[MALE] + 4


@pytest.mark.parametrize("sex", [FEMALE, MALE])
@pytest.mark.parametrize("name", EPIPHYSES)
def test_growth_plate_is_dark_then_gone(sex, name):
    child = on_schedule(sex)

    def plate(age):
        """Attenuation in the middle of the plate, relative to the epiphysis'."""
        bone = anatomy.grow_hand(age, child).bones[name]
        linear = np.diag([0.05, -0.05])  # 20 mm about the plate fill the picture
        matrix = np.column_stack([linear, 0.5 - linear @ bone.plate_centre])
        picture = radiograph.bone_attenuation([bone], matrix, SIZE)
        epiphysis = value_at(picture, centre_of(bone), matrix)
        return value_at(picture, bone.plate_centre, matrix) / epiphysis

    timing = ossification.timetable(sex)[name]
    assert plate(timing.full_size) == 0.0
    assert plate(timing.fusion_start - 1) == 0.0
    assert 0.3 < plate((timing.fusion_start + timing.fusion_end) / 2) < 0.9
    assert plate(timing.fusion_end) > 0.9


def test_mean_positions_are_those_of_real_films():
    points: dict[str, list[np.ndarray]] = {k: [] for k in ("DIP", "PIP", "MCP", "radius", "ulna")}
    for seed in range(150):
        rng = np.random.default_rng(seed)
        child, film = anatomy.sample_child(seed % 2, rng), radiograph.sample_film(rng)
        age = float(rng.uniform(60, 190))
        matrix = radiograph.film_matrix(film, anatomy.film_scale(age, child))
        joints = np.stack([anatomy.ray_joints(ray, child) for ray in (2, 3, 4, 5)])
        for index, name in enumerate(("MCP", "PIP", "DIP"), start=1):
            points[name].append(radiograph.to_film(joints[:, index], matrix, 1).mean(axis=0))
        for name in ("radius", "ulna"):
            end = np.array(anatomy.FOREARM_MM[f"distal_{name}"][1]) - [0.0, 3.0]
            points[name].append(radiograph.to_film(end[None], matrix, 1)[0])
    mean = {name: np.mean(values, axis=0) + 0.5 for name, values in points.items()}
    for name, y in (("DIP", 0.235), ("PIP", 0.343), ("MCP", 0.468)):
        assert mean[name][1] == pytest.approx(y, abs=0.03), name
    np.testing.assert_allclose(mean["radius"], (0.514, 0.765), atol=0.03)
    np.testing.assert_allclose(mean["ulna"], (0.403, 0.776), atol=0.03)
