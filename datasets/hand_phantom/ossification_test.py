"""Tests of the ages at which the centres appear, widen and fuse."""

import pytest
from bone_age_datasets.hand_phantom import ossification

from bone_age_tf import schema

FEMALE, MALE = schema.FEMALE, schema.MALE
CARPALS = {
    "capitate", "hamate", "triquetrum", "lunate", "trapezium", "trapezoid", "scaphoid", "pisiform",
}  # fmt: skip
EPIPHYSES = (
    {f"{kind}{ray}" for kind in ("MC", "PP", "DP") for ray in range(1, 6)}
    | {f"MP{ray}" for ray in range(2, 6)}
    | {"distal_radius", "distal_ulna"}
)


@pytest.mark.parametrize("sex", [FEMALE, MALE])
def test_table_names_every_centre(sex):
    table = ossification.timetable(sex)
    assert set(table) == CARPALS | EPIPHYSES | {"adductor_sesamoid"}
    assert {name for name, timing in table.items() if timing.kind == "carpal"} == CARPALS
    assert {name for name, timing in table.items() if timing.kind == "epiphysis"} == EPIPHYSES


@pytest.mark.parametrize("sex", [FEMALE, MALE])
def test_milestones_are_in_order(sex):
    for timing in ossification.timetable(sex).values():
        assert 0 < timing.appearance < timing.full_size <= timing.capping
        if timing.kind == "epiphysis":
            assert timing.capping < timing.fusion_start < timing.fusion_end


def test_known_ages():
    boys, girls = ossification.timetable(MALE), ossification.timetable(FEMALE)
    assert (boys["scaphoid"].appearance, girls["scaphoid"].appearance) == (66, 51)
    assert (boys["distal_ulna"].appearance, girls["distal_ulna"].appearance) == (77, 66)
    assert (boys["distal_radius"].fusion_end, girls["distal_radius"].fusion_end) == (228, 204)
    assert boys["DP4"].fusion_end == 186  # from the row DP2-5
    assert boys["PP1"].fusion_end == boys["PP2"].fusion_end


def test_girls_are_ahead_of_boys():
    boys, girls = ossification.timetable(MALE), ossification.timetable(FEMALE)
    for name, boy in boys.items():
        assert girls[name].appearance <= boy.appearance
        assert girls[name].full_size < boy.full_size
        assert girls[name].fusion_end <= boy.fusion_end
    for age in range(12, 217, 12):
        boy_states = ossification.mature_centres(age, MALE)
        girl_states = ossification.mature_centres(age, FEMALE)
        for name, state in boy_states.items():
            assert girl_states[name].size >= state.size, (name, age)


@pytest.mark.parametrize("sex", [FEMALE, MALE])
@pytest.mark.parametrize("deviation", [-2.0, 0.0, 2.0])
def test_maturity_never_goes_back(sex, deviation):
    for name, timing in ossification.timetable(sex).items():
        states = [ossification.maturity_at(timing, age, deviation) for age in range(0, 241, 3)]
        for attribute in ("size", "capping", "fusion"):
            values = [getattr(state, attribute) for state in states]
            assert values == sorted(values), (name, attribute)
            assert values[0] >= 0.0 and values[-1] <= 1.0
        assert states[-1].size == 1.0


def test_a_centre_appears_small_and_an_early_one_appears_sooner():
    timing = ossification.timetable(MALE)["MP5"]
    assert not ossification.maturity_at(timing, timing.appearance - 0.1, 0.0).present
    assert ossification.maturity_at(timing, timing.appearance, 0.0).size == pytest.approx(0.2)
    assert ossification.maturity_at(timing, timing.appearance - 0.1, -1.0).present
    assert not ossification.maturity_at(timing, timing.appearance + 0.1, 1.0).present
