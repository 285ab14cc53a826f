"""The published tables hold no misprint that their own regularities would show."""

import configparser
import re

import numpy as np
import pytest

from bone_age_tf import schema
from bone_age_tf.clinical.tables import Curve, read_curve, read_rows

TW_AGES = "tanner_whitehouse_ages"
SD_AGE = "chronological_age_months"

CURVES = {
    # table, column of places, column of values, keys, largest distance from a smooth curve
    ("brush_foundation", SD_AGE, "mean_bone_age_months"): ({}, 2.0),
    ("brush_foundation", SD_AGE, "sd_months"): ({}, 1.0),
    ("greulich_pyle_v_vi", SD_AGE, "sd_months"): ({}, 0.8),
    ("bayley_pinneau_error", SD_AGE, "validation_sd_in"): ({}, 0.25),
    ("chinese_medians", "bone_age_months", "score"): ({"method": ("rus_chn", "tw3_c_rus")}, 12.5),
    (TW_AGES, "bone_age_months", "score"): ({"method": ("tw3_rus", "tw2_rus", "tw3_carpal")}, 1.7),
    ("who_2007_height", "age_months", "m_cm"): ({}, 0.001),
    ("who_2007_height", "age_months", "s"): ({}, 0.00002),
    ("cdc_2000_height", "age_months", "m_cm"): ({}, 0.11),
    ("cdc_2000_height", "age_months", "s"): ({}, 0.001),
    ("bayley_pinneau", "bone_age_months", "percent_of_adult_height"): (
        {"group": ("average", "accelerated", "retarded")},
        0.32,
    ),
}


def series():
    """Each column of each table, by sex and method, with its tolerance."""
    for (table, place, value), (keys, tolerance) in CURVES.items():
        ((key, options),) = keys.items() or (("", ("",)),)
        for sex in schema.SEX_NAMES:
            for option in options:
                texts = {"sex": sex, **({key: option} if key else {})}
                name = "-".join([table, value, *texts.values()])
                yield pytest.param(table, place, value, texts, tolerance, id=name)


def distances(curve):
    """Distance of each row from the cubic through its four neighbours, without the ends."""
    result = []
    for row in range(2, len(curve.places) - 2):
        near = [row - 2, row - 1, row + 1, row + 2]
        offsets = curve.places[near] - curve.places[row]
        result.append(curve.values[row] - np.polyfit(offsets, curve.values[near], 3)[-1])
    return np.abs(result)


@pytest.mark.parametrize("table, place, value, texts, tolerance", series())
def test_a_column_is_smooth(table, place, value, texts, tolerance):
    curve = read_curve(table, place, value, **texts)
    assert len(curve.places) >= 20
    assert distances(curve).max() <= tolerance


@pytest.mark.parametrize("table, place, value, texts, tolerance", series())
def test_what_grows_with_age_never_falls(table, place, value, texts, tolerance):
    curve = read_curve(table, place, value, **texts)
    if value in ("mean_bone_age_months", "percent_of_adult_height", "score", "m_cm"):
        assert (np.diff(curve.values) >= 0).all()
        assert np.count_nonzero(np.diff(curve.values) == 0) <= (50 if "cdc" in table else 3)
    else:
        assert (curve.values > 0).all()


@pytest.mark.parametrize(
    "table, place, value, texts, at, misprint, tolerance",
    [
        # Misprints of public copies, which the tables here do not have.
        (TW_AGES, "bone_age_months", "score", ("male", "tw2_rus"), 86.4, 128, 1.7),
        (TW_AGES, "bone_age_months", "score", ("female", "tw2_rus"), 163.2, 448, 1.7),
        (TW_AGES, "bone_age_months", "score", ("male", "tw3_carpal"), 40.8, 207, 1.7),
        ("bayley_pinneau", "bone_age_months", "percent_of_adult_height", ("female", "accelerated"),
         135, 89.7, 0.32),
        ("bayley_pinneau", "bone_age_months", "percent_of_adult_height", ("male", "accelerated"),
         138, 77.8, 0.32),
    ],
)  # fmt: skip
def test_the_smoothness_shows_misprints(table, place, value, texts, at, misprint, tolerance):
    key = "group" if table == "bayley_pinneau" else "method"
    curve = read_curve(table, place, value, sex=texts[0], **{key: texts[1]})
    assert at in curve.places
    wrong = Curve(curve.places, np.where(curve.places == at, misprint, curve.values))
    assert distances(curve).max() <= tolerance < distances(wrong).max()


@pytest.mark.parametrize(
    "table, texts, first, last",
    [
        ("brush_foundation", {"sex": "male"}, 3, 204),
        ("brush_foundation", {"sex": "female"}, 3, 192),
        ("greulich_pyle_v_vi", {"sex": "male"}, 12, 204),
        ("greulich_pyle_v_vi", {"sex": "female"}, 12, 180),
    ],
)
def test_the_ends_of_the_tables_of_standard_deviations(table, texts, first, last):
    curve = read_curve(table, SD_AGE, "sd_months", **texts)
    assert (curve.first, curve.last) == (first, last)


@pytest.mark.parametrize("sex, first", [("female", (72, 84, 72)), ("male", (84, 84, 72))])
def test_the_groups_of_bayley_and_pinneau_are_ordered(sex, first):
    """At a bone age a retarded child has grown more of its height than an accelerated one."""
    average, accelerated, retarded = (
        read_curve(
            "bayley_pinneau", "bone_age_months", "percent_of_adult_height", sex=sex, group=group
        )
        for group in ("average", "accelerated", "retarded")
    )
    assert tuple(curve.first for curve in (average, accelerated, retarded)) == first
    assert retarded.last == {"female": 204, "male": 156}[sex]
    for age in np.arange(84, 157):
        assert accelerated.at(age) < average.at(age) < retarded.at(age)


def test_every_table_names_its_source_and_has_both_sexes(root):
    files = sorted((root / "bone_age_tf" / "clinical" / "tables").glob("*.csv"))
    assert len(files) == 10
    for path in files:
        head = [line for line in path.read_text().splitlines() if line.startswith("#")]
        assert re.search(r"Sources?( by method)?:", " ".join(head)), path
        assert {row["sex"] for row in read_rows(path.stem)} == set(schema.SEX_NAMES)


def test_a_curve_is_straight_between_rows_and_ends_with_the_table():
    curve = Curve(np.array([10.0, 20.0, 40.0]), np.array([1.0, 2.0, 8.0]))
    assert curve.at(10) == 1 and curve.at(40) == 8
    assert curve.at(25) == pytest.approx(3.5)
    assert curve.at(9.99) is None and curve.at(40.01) is None and curve.at(float("nan")) is None


def test_a_curve_has_the_mean_of_rows_with_the_same_place():
    """Boys of 28.8 and of 30 months have the same carpal score."""
    curve = read_curve(TW_AGES, "score", "bone_age_months", sex="male", method="tw3_carpal")
    assert curve.places[0] == 190
    assert curve.values[0] == pytest.approx(29.4)
    assert (np.diff(curve.places) > 0).all()


def test_the_wheel_holds_the_tables(root):
    """The folder `tables` is no package, so that the pattern for all packages misses it."""
    setup = configparser.ConfigParser()
    setup.read(root / "setup.cfg")
    assert "bone_age_tf.clinical" in setup["options"]["packages"].split()
    data = setup["options.package_data"]["bone_age_tf.clinical"].split()
    assert {"*.schema.json", "tables/*.csv"} <= set(data)
