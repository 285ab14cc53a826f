"""Cases, their shares by region, pictures and the page."""

import base64
import csv
import io
import re

import numpy as np
import pytest
from PIL import Image

from bone_age_tf import schema
from bone_age_tf.evaluation import colours
from bone_age_tf.explain.case import ExplainedCase, choose_cases, years_and_months
from bone_age_tf.explain.gallery import gallery_html
from bone_age_tf.explain.methods import METHODS
from bone_age_tf.explain.picture import draw_case, scale_label
from bone_age_tf.explain.regions import (
    GROUPS,
    LEAST_SCORE,
    region_shares,
    shares_table,
    trusted,
)

NONE = np.full((17, 4), np.nan)


def boxes_of(**places):
    found = NONE.copy()
    for name, box in places.items():
        found[schema.REGIONS.index(name)] = box
    return found


def case(name="a<b>.png", **changes):
    ramp = np.tile(np.linspace(-2, 4, 20, dtype=np.float32), (20, 1))
    distribution = np.zeros(120, np.float32)
    distribution[50:60] = 0.1
    values = {
        "image": np.tile(np.linspace(0, 255, 20, dtype=np.float32), (20, 1)),
        "sex": 1,
        "age_months": 100.0,
        "predicted_months": 110.0,
        "lower_90": 95.0,
        "upper_90": 130.0,
        "distribution": distribution,
        "boxes": boxes_of(wrist=(0.5, 0.5, 1, 1), DIP2=(0, 0, 0.2, 0.2)),
        "maps": {"crm_months": ramp, "crm": np.maximum(ramp, 0) / 4},
        "aspect": 0.8,
    }
    return ExplainedCase(name, **(values | changes))


def test_chosen_cases_span_ages_of_both_sexes():
    sex = np.array([0, 1] * 50)
    age = np.arange(100, dtype=np.float32)
    chosen = choose_cases(sex, age)
    assert len(set(chosen)) == 8
    assert [int(sex[i]) for i in chosen] == [0] * 4 + [1] * 4
    assert age[chosen].min() == 0
    assert age[chosen].max() == 99
    assert choose_cases(sex, age) == chosen


def test_few_cases_of_one_sex_are_still_chosen():
    assert sorted(choose_cases(np.ones(3, int), np.array([3.0, 1.0, 2.0]))) == [0, 1, 2]
    assert len(choose_cases(np.array([0] + [1] * 20), np.arange(21.0))) == 8


def test_ages_as_people_say_them():
    assert years_and_months(95.6) == "8 y 0 m"
    assert years_and_months(11.2) == "0 y 11 m"


def test_shares_add_up_and_what_two_regions_hold_counts_for_each_by_half():
    even = np.ones((10, 10), np.float32)
    boxes = boxes_of(
        wrist=(0, 0, 0.5, 1), radius=(0.4, 0, 0.6, 1), MCP3=(0.9, 0.9, 1, 1), MCP4=(0.8, 0.9, 1, 1)
    )
    shares = region_shares(even, boxes)
    assert list(shares) == list(GROUPS)
    assert sum(shares.values()) == pytest.approx(1)
    assert shares["wrist"] == pytest.approx(0.45)
    assert shares["radius"] == pytest.approx(0.15)
    assert shares["MCP"] == pytest.approx(0.02)  # once where two of its boxes overlap
    assert shares["elsewhere"] == pytest.approx(0.38)
    assert shares["DIP"] == 0
    assert set(region_shares(0 * even, boxes).values()) == {0.0}


def test_regions_that_the_detector_does_not_trust_are_left_out():
    scores = np.full(17, LEAST_SCORE + 0.1)
    scores[3] = LEAST_SCORE - 0.1
    kept = trusted(np.ones((17, 4)), scores)
    assert np.isnan(kept[3]).all()
    assert np.isfinite(kept).sum() == 16 * 4


def test_the_table_of_shares_reads_back():
    shares = dict.fromkeys(GROUPS, 0.0) | {"wrist": 0.25, "elsewhere": 0.75}
    rows = list(
        csv.DictReader(io.StringIO(shares_table([("a,b.png", "male", "crm", shares)]).decode()))
    )
    assert rows[0]["image"] == "a,b.png"
    assert float(rows[0]["wrist"]) == 0.25
    assert list(rows[0])[3:] == list(GROUPS)


@pytest.mark.parametrize("signed", [False, True])
def test_colours_say_how_much_and_which_way(signed):
    one = np.array([[0.0, 0.5], [1.0, 2.0]]) * ([[1, -1], [1, 1]] if signed else 1)
    drawn = colours.overlay(one.astype(np.float32), signed).astype(int)
    opaque = drawn[..., 3]
    assert opaque[0, 0] <= 4  # there is no level of exactly nothing between the two signs
    assert opaque[0, 0] < opaque[0, 1] < opaque[1, 0] < opaque[1, 1]
    if signed:  # purple is more blue than red, orange the other way round
        assert drawn[0, 1, 2] > drawn[0, 1, 0]
        assert drawn[1, 1, 0] > drawn[1, 1, 2]
    png = Image.open(io.BytesIO(colours.overlay_png(one.astype(np.float32), signed)))
    np.testing.assert_array_equal(np.asarray(png.convert("RGBA")), drawn)


def luminance(colour):
    share = np.asarray(colour[:3], float)
    linear = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def test_without_any_colour_vision_more_is_lighter():
    grey = [luminance(colour) for colour in colours.colour_map(False)(np.linspace(0.15, 1, 12))]
    assert (np.diff(grey) > 0).all()


def test_a_picture_shows_film_maps_and_distribution(tmp_path):
    for name, changes in {
        "whole": {},
        "bare": {
            "boxes": None,
            "distribution": None,
            "lower_90": None,
            "upper_90": None,
            "age_months": None,
        },
    }.items():
        path = tmp_path / f"{name}.png"
        draw_case(case(**changes), ["crm_months", "crm"], path)
        pixels = np.asarray(Image.open(path).convert("RGB")).astype(int)
        assert pixels.shape[0] > 500
        assert pixels.shape[1] > 1200
        coloured = np.ptp(pixels, axis=2) > 60
        assert coloured.mean() > 0.01


def test_every_method_says_its_unit():
    for name, method in METHODS.items():
        assert ("months" in scale_label(name)) == bool(method.unit)
        assert ("younger" in scale_label(name)) == method.signed


def test_the_page_holds_every_case_and_asks_nobody_for_anything():
    refused = ExplainedCase("x.png", None, None, status="failed", reason="the file is empty")
    page = gallery_html([case(), refused], ["crm_months", "crm"], "hands & more")
    assert "<title>hands &amp; more</title>" in page
    assert "a&lt;b&gt;.png" in page
    assert "a<b>" not in page
    assert page.count("<article") == 2
    assert 'data-error="10.00"' in page
    assert "the file is empty" in page
    assert "1 without a prediction" in page
    assert "Not a medical device" in page
    assert "default-src 'none'" in page
    assert not re.search(r"""(?:src|href)=["'](?!data:)""", page)
    assert not re.search(r"https?://|url\(|@import", page)
    pictures = re.findall(r"data:image/(\w+);base64,([^\"]+)", page)
    assert [kind for kind, _ in pictures] == ["jpeg", "png", "png"]
    for _, data in pictures:
        assert Image.open(io.BytesIO(base64.b64decode(data))).size == (20, 20)


def test_cases_without_labels_are_not_sorted_by_error():
    page = gallery_html([case(age_months=None)], ["crm"], "t")
    assert 'value="error"' not in page
    assert 'value="predicted"' in page
    assert "Mean absolute error" not in page
