"""Tests of the drawn hands: what an age shows, and where."""

import dataclasses

import numpy as np
import pytest
from bone_age_datasets.hand_phantom import anatomy, film, ossification, radiograph

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
        radiograph.take_radiograph(100, MALE, np.random.default_rng(s), 64).image for s in (1, 1, 2)
    )
    np.testing.assert_array_equal(one, two)
    assert one.shape == (64, 64) and one.dtype == np.uint8
    assert (one != other).mean() > 0.5


@pytest.mark.parametrize("size_px", [64, 128, 200])
def test_pictures_have_contrast(size_px):
    for seed, age in enumerate((1, 12, 60, 130, 216, 240)):
        image = radiograph.take_radiograph(
            age, seed % 2, np.random.default_rng(seed), size_px
        ).image
        assert image.shape == (size_px, size_px)
        assert np.ptp(np.percentile(image, [2, 98])) > 10  # some films are dim


def plain_film(seed=3):
    """An upright left hand, bone bright, nothing else on the film."""
    taken = film.sample_film(np.random.default_rng(seed))
    nothing = {
        "field": None,
        "marker": None,
        "borders": np.zeros(4),
        "noise": 0.0,
        "trabeculae": 0.0,
    }
    plain = {"right_hand": False, "inverted": False, "turn_deg": 0.0, "scale": 1.0, "contrast": 0.8}
    return dataclasses.replace(taken, **nothing, **plain, background=0.1, shift=np.zeros(2))


@pytest.mark.parametrize("name", LATE)
def test_an_absent_centre_leaves_no_spot(name):
    child = on_schedule(MALE)
    age = ossification.timetable(MALE)[name].appearance
    matrix = film.film_matrix(plain_film(), anatomy.film_scale(age, child))
    after, before = (anatomy.grow_hand(a, child) for a in (age + 2.0, age - 0.5))
    place = centre_of(after.bones[name])
    bones_before, bones_after = (
        radiograph.bone_attenuation(list(hand.bones.values()), matrix, 3 * SIZE)
        for hand in (before, after)
    )
    assert value_at(bones_after, place, matrix) > value_at(bones_before, place, matrix) + 0.1
    if name != "pisiform":  # which lies over the triquetrum
        assert value_at(bones_before, place, matrix) < 0.02
    assert (
        value_at(radiograph.flesh_attenuation(after, matrix, SIZE, plain_film()), place, matrix)
        > 0.1
    )


def test_a_centre_shows_in_the_picture():
    child, taken = on_schedule(MALE), plain_film()
    middle = centre_of(anatomy.grow_hand(95.0, child).bones["scaphoid"])

    def grey(age):
        hand = anatomy.grow_hand(age, child)
        matrix = film.film_matrix(taken, anatomy.film_scale(age, child))
        canvas = film.SUPERSAMPLING * SIZE
        attenuation = 0.5 * radiograph.flesh_attenuation(hand, matrix, canvas, taken)
        attenuation += 0.5 * radiograph.bone_attenuation(list(hand.bones.values()), matrix, canvas)
        image, _ = film.expose(attenuation, taken, np.random.default_rng(0))
        return value_at(image.astype(float), middle, matrix)

    assert grey(95.0) > grey(45.0) + 15  # the scaphoid comes between them


def test_size_and_ossification_can_part():
    def hand_of(**ages):
        rng = np.random.default_rng(1)
        return radiograph.take_radiograph(100, MALE, rng, 64, **ages)

    usual = hand_of()
    older = hand_of(skeletal_age_months=200.0)
    assert older.hand.maturities["DP3"].fusion > usual.hand.maturities["DP3"].fusion
    np.testing.assert_array_equal(older.matrix, usual.matrix)
    larger = hand_of(hand_size_age_months=200.0)
    assert larger.hand.maturities == usual.hand.maturities
    assert larger.hand.mineral == usual.hand.mineral < older.hand.mineral
    assert np.abs(larger.matrix[:, :2]).sum() > 1.05 * np.abs(usual.matrix[:, :2]).sum()


def test_the_foreground_holds_the_bones_within_the_field():
    framed = 0
    for seed in range(40):
        taken = radiograph.take_radiograph(130, seed % 2, np.random.default_rng(seed), 96)
        field = film.field_mask(taken.film, 96)
        framed += int((field == 0).mean() > 0.02)
        assert not taken.foreground[field == 0].any()
        middle = [bone.outline("shaft") for bone in taken.hand.bones.values()]
        points = np.stack([outline.mean(axis=0) for outline in middle if outline is not None])
        x, y = np.rint(radiograph.to_film(points, taken.matrix, 96)).astype(int).T
        inside = (np.minimum(x, y) >= 0) & (np.maximum(x, y) < 96)
        x, y = x[inside], y[inside]
        assert (taken.foreground[y, x] == 255)[field[y, x] == 255].all()
    assert framed > 5


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


@pytest.mark.parametrize(("sex", "onset"), [(FEMALE, 126.0), (MALE, 162.0)])
def test_walls_of_shafts_thicken_from_puberty_on(sex, onset):
    child = on_schedule(sex)

    def wall_share(age):
        shaft, cavity = (
            np.ptp(fill.outline[:, 0])
            for fill in anatomy.grow_hand(age, child).bones["distal_radius"].fills
            if fill.part == "shaft"
        )
        return 1.0 - cavity / shaft

    before, start, adult = (wall_share(age) for age in (onset - 40, onset, onset + 60))
    assert start < 1.1 * before
    assert adult > 1.25 * start


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
    for seed in range(300):
        rng = np.random.default_rng(seed)
        child, taken = anatomy.sample_child(seed % 2, rng), film.sample_film(rng)
        taken = dataclasses.replace(taken, right_hand=False)
        age = float(rng.uniform(60, 190))
        matrix = film.film_matrix(taken, anatomy.film_scale(age, child))
        joints = np.stack([anatomy.ray_joints(ray, child, age) for ray in (2, 3, 4, 5)])
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
