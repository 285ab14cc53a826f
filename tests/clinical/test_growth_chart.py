"""The chart of bone ages."""

import io
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from bone_age_tf.clinical import BoneAgeStudy, draw_growth_chart, write_growth_chart
from bone_age_tf.clinical.growth_chart import DISCLAIMER
from bone_age_tf.errors import BoneAgeError, InputError

STUDY = BoneAgeStudy(144, 168, (157, 178))
EARLIER = (BoneAgeStudy(120, 141), BoneAgeStudy(96, 104))


@pytest.fixture
def figures(monkeypatch):
    """The figures that are drawn, in a list."""
    from bone_age_tf.evaluation import plots

    drawn = []
    monkeypatch.setattr(plots, "as_png", lambda figure: drawn.append(figure) or b"png")
    return drawn


def lines(axes):
    return {line.get_label(): line.get_xydata() for line in axes.lines}


def test_the_chart_shows_what_it_was_given(figures):
    draw_growth_chart(STUDY, "female", EARLIER)
    (axes,) = figures[0].axes
    assert axes.get_xlabel() == "Chronological age (years)"
    assert axes.get_ylabel() == "Bone age (years)"
    title = axes.get_title(loc="left")
    assert title.strip() == "Girl, 12 y 0 mo: bone age 14 y 0 mo (+2.3 SD, advanced)"
    assert figures[0].get_supxlabel() == DISCLAIMER
    assert any("Brush Foundation" in text.get_text() for text in axes.texts)
    by_label = lines(axes)
    np.testing.assert_allclose(by_label["earlier studies"], [[10, 141 / 12], [8, 104 / 12]])
    joined = [[8, 104 / 12], [10, 141 / 12], [12, 14]]
    assert any(np.shape(line) == (3, 2) and np.allclose(line, joined) for line in by_label.values())
    mean = by_label["mean of the reference"]
    np.testing.assert_allclose(mean[mean[:, 0] == 4.5], [[4.5, 60.06 / 12]])
    (bar,) = axes.containers
    assert bar.get_label() == "90 % interval"
    np.testing.assert_allclose(by_label["this study"], [[12, 14]])
    (segment,) = bar.lines[2][0].get_segments()
    np.testing.assert_allclose(segment, [[12, 157 / 12], [12, 178 / 12]])


def test_the_band_is_two_sds_around_the_chronological_age(figures):
    draw_growth_chart(STUDY, "female")
    draw_growth_chart(STUDY, "female", reference="greulich_pyle_v_vi")
    for figure, sd, last in zip(figures, (10.24, 14.0), (16, 15), strict=True):
        (axes,) = figure.axes
        corners = axes.collections[0].get_paths()[0].vertices
        heights = sorted(set(np.round(corners[corners[:, 0] == 12, 1], 6)))
        np.testing.assert_allclose(heights, [12 - 2 * sd / 12, 12 + 2 * sd / 12], atol=1e-6)
        assert corners[:, 0].max() == last


def test_a_study_outside_the_table_is_drawn_without_a_score(figures):
    draw_growth_chart(BoneAgeStudy(230, 225, (212, 243)), "female", reference="greulich_pyle_v_vi")
    (axes,) = figures[0].axes
    assert "outside the table of the reference" in axes.get_title(loc="left")
    assert axes.get_xlim() == (0, 20) and axes.get_ylim() == (0, 22)
    assert "mean of the reference" not in lines(axes)


def test_the_file_is_a_picture(tmp_path):
    path = tmp_path / "new" / "chart.png"
    write_growth_chart(path, STUDY, "male", EARLIER)
    picture = np.asarray(Image.open(io.BytesIO(path.read_bytes())).convert("RGB"))
    assert picture.shape == (1170, 1020, 3)
    assert len(np.unique(picture.reshape(-1, 3), axis=0)) > 100


@pytest.mark.parametrize(
    "values, message",
    [
        ((144, 168, (180, 160)), "the interval is 180 to 160 months; give lower first"),
        ((144, 168, (160, float("nan"))), "the interval is 160 to nan months"),
        ((-1, 168), "chronological age is -1"),
        ((144, "old"), "bone age is 'old'"),
    ],
)
def test_a_study_that_cannot_be_is_rejected(values, message):
    with pytest.raises(InputError, match=message):
        BoneAgeStudy(*values)


def test_an_unknown_reference_is_rejected():
    with pytest.raises(InputError, match="reference is 'tanner'"):
        draw_growth_chart(STUDY, "male", reference="tanner")


def test_without_matplotlib_the_extra_is_named(monkeypatch):
    for name in [name for name in sys.modules if name.startswith("bone_age_tf.evaluation.plots")]:
        monkeypatch.delitem(sys.modules, name)
    from bone_age_tf import evaluation

    monkeypatch.delattr(evaluation, "plots", raising=False)
    # An import hook as where the package is missing; None in sys.modules names it too.
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.backends.backend_agg", None)
    with pytest.raises(BoneAgeError, match=r"a growth chart needs .*bone-age-tf\[train\]"):
        draw_growth_chart(STUDY, "male")


def test_the_package_loads_neither_tensorflow_nor_matplotlib():
    code = """
import sys
from bone_age_tf import clinical
assert set(dir(clinical)) == set(clinical.__all__)
for name in clinical.__all__:
    getattr(clinical, name)
clinical.predict_adult_height(150, 144, 144, "male")
clinical.standard_deviation_score(168, 144, "female")
clinical.age_from_score(500, "female")
print([m for m in ("tensorflow", "keras", "matplotlib") if m in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.splitlines() == ["[]"], done.stderr
