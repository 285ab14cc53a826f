"""A chart of bone age against chronological age, for one child.

The band is the chronological age plus and minus 2 SD, so that a point is outside the band exactly
if its standard deviation score says delayed or advanced. The mean bone age of the reference, where
its table prints one, is a line of its own: it is up to half an SD away from the chronological age.

Drawing needs Matplotlib (extra `train`).
"""

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from bone_age_tf import schema
from bone_age_tf.clinical.arguments import (
    MONTHS_PER_YEAR,
    require_age_months,
    require_choice,
    require_sex,
    years_and_months,
)
from bone_age_tf.clinical.standard_deviation import (
    BRUSH_FOUNDATION,
    NORMAL_SDS,
    SD_REFERENCES,
    mean_curve,
    sd_curve,
    standard_deviation_score,
)
from bone_age_tf.errors import InputError
from bone_age_tf.extras import named_extras
from bone_age_tf.files import replace_file

if TYPE_CHECKING:
    from matplotlib.axes import Axes

DISCLAIMER: Final = "Research use; not a medical device"
_CHILDREN: Final = {"female": "Girl", "male": "Boy"}
_LAST_AGE_YEARS: Final = 18
_LAST_BONE_AGE_YEARS: Final = 20
"""Last years of the axes, unless a study is later; the ranges of both references fit."""
_TICK_YEARS: Final = 2
_PADDING_IN: Final = 0.1
"""Border of the picture in inches."""


@dataclasses.dataclass(frozen=True)
class BoneAgeStudy:
    """The bone age of a child at one time.

    Attributes:
        chronological_age_months: the child's age in months when the radiograph was taken.
        bone_age_months: its bone age in months.
        interval_90_months: lower and upper end of the 90 % interval in months, None where unknown.
    """

    chronological_age_months: float
    bone_age_months: float
    interval_90_months: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        """Checks the ages.

        Raises:
            InputError: an age is not a number of months, or the interval's ends are not in order.
        """
        require_age_months("chronological age", self.chronological_age_months)
        require_age_months("bone age", self.bone_age_months)
        if self.interval_90_months is not None:
            lower, upper = self.interval_90_months
            if not lower <= upper:  # NaN fails too
                raise InputError(f"the interval is {lower:g} to {upper:g} months; give lower first")


def draw_growth_chart(
    study: BoneAgeStudy,
    sex: str | int,
    earlier: Sequence[BoneAgeStudy] = (),
    reference: str = BRUSH_FOUNDATION,
) -> bytes:
    """Draws bone ages of a child against its chronological age, with the reference's normal range.

    Args:
        study: the study that the chart is about; it is drawn with its 90 % interval.
        sex: female or male, or a code of `schema`.
        earlier: other studies of the same child, in any order; they are joined by a line.
        reference: `brush_foundation` or `greulich_pyle_v_vi`.

    Returns:
        A PNG file; the same arguments give the same bytes.

    Raises:
        InputError: the sex or the reference is unknown.
        MissingExtraError: Matplotlib is not installed.
    """
    require_choice("reference", reference, SD_REFERENCES)
    sex = require_sex(sex)
    with named_extras("a growth chart"):
        from bone_age_tf.evaluation import plots
    figure, axes = plots.new_figure(6.8, 7.8)
    draw_chart_axes(axes, study, sex, earlier, reference)
    _add_title(axes, study, sex, reference)
    figure.supxlabel(DISCLAIMER, fontsize=9, color=plots.GREY)
    figure.set_layout_engine("constrained", w_pad=_PADDING_IN, h_pad=_PADDING_IN)
    return plots.as_png(figure)


def draw_chart_axes(
    axes: "Axes",
    study: BoneAgeStudy,
    sex: str,
    earlier: Sequence[BoneAgeStudy] = (),
    reference: str = BRUSH_FOUNDATION,
    font_size: float = 9,
) -> None:
    """Draws the chart of `draw_growth_chart`, without its title, on the axes of any figure.

    Args:
        axes: the axes.
        study: the study that the chart is about.
        sex: female or male.
        earlier: other studies of the same child.
        reference: one of `SD_REFERENCES`.
        font_size: size in points of the legend and of the reference's name.
    """
    from bone_age_tf.evaluation import plots

    colour = plots.SEX_STYLES[schema.SEX_NAMES.index(sex)][0]
    _draw_reference(axes, sex, reference)
    _draw_studies(axes, study, earlier, colour)
    axes.text(0, 1.012, SD_REFERENCES[reference], transform=axes.transAxes, fontsize=font_size)
    axes.set_xlabel("Chronological age (years)")
    axes.set_ylabel("Bone age (years)")
    legend = axes.legend(
        loc="upper left", fontsize=font_size, edgecolor="none", facecolor="white", framealpha=1
    )
    legend.set_zorder(2.5)  # above the grid, below the studies
    _set_range(axes, [study, *earlier])


def write_growth_chart(
    path: str | Path,
    study: BoneAgeStudy,
    sex: str | int,
    earlier: Sequence[BoneAgeStudy] = (),
    reference: str = BRUSH_FOUNDATION,
) -> None:
    """Writes the chart of `draw_growth_chart` to a PNG file.

    Raises:
        InputError: the sex or the reference is unknown.
        MissingExtraError: Matplotlib is not installed.
        OSError: the file cannot be written.
    """
    replace_file(Path(path), draw_growth_chart(study, sex, earlier, reference))


def _draw_reference(axes: "Axes", sex: str, reference: str) -> None:
    from bone_age_tf.evaluation import plots

    curve = sd_curve(sex, reference)
    ages = curve.places / MONTHS_PER_YEAR
    reach = NORMAL_SDS * curve.values / MONTHS_PER_YEAR
    lower, upper = ages - reach, ages + reach
    label = f"normal range: chronological age ± {NORMAL_SDS:g} SD"
    axes.fill_between(ages, lower, upper, color=plots.SKY_BLUE, alpha=0.22, lw=0, label=label)
    for edge in (lower, upper):
        axes.plot(ages, edge, color=plots.SKY_BLUE, linewidth=1)
    axes.plot(ages, ages, color=plots.GREY, linewidth=1, label="bone age = chronological age")
    mean = mean_curve(sex, reference)
    if mean is not None:
        axes.plot(
            mean.places / MONTHS_PER_YEAR,
            mean.values / MONTHS_PER_YEAR,
            color=plots.GREY,
            linewidth=1.2,
            linestyle=":",
            label="mean of the reference",
        )


def _draw_studies(
    axes: "Axes", study: BoneAgeStudy, earlier: Sequence[BoneAgeStudy], colour: str
) -> None:
    in_order = sorted([*earlier, study], key=lambda case: case.chronological_age_months)
    if earlier:
        axes.plot(*_years(in_order), color=colour, linewidth=1.4, alpha=0.7, zorder=3)
        axes.plot(
            *_years(earlier),
            linestyle="none",
            marker="o",
            markersize=6.5,
            markerfacecolor="white",
            markeredgecolor=colour,
            markeredgewidth=1.6,
            zorder=4,
            label="earlier studies",
        )
    axes.plot(
        *_years([study]),
        linestyle="none",
        marker="o",
        color=colour,
        markersize=8.5,
        zorder=5,
        label="this study",
    )
    if study.interval_90_months is not None:
        lower, upper = (months / MONTHS_PER_YEAR for months in study.interval_90_months)
        axes.errorbar(
            [study.chronological_age_months / MONTHS_PER_YEAR],
            [(lower + upper) / 2],
            yerr=(upper - lower) / 2,
            fmt="none",
            ecolor=colour,
            capsize=5,
            elinewidth=1.8,
            capthick=1.8,
            zorder=4,
            label="90 % interval",
        )


def _add_title(axes: "Axes", study: BoneAgeStudy, sex: str, reference: str) -> None:
    age, bone_age = study.chronological_age_months, study.bone_age_months
    score = standard_deviation_score(bone_age, age, sex, reference)
    if score.sds is None:
        assessment = "outside the table of the reference"
    else:
        assessment = f"{score.sds:+.1f} SD, {score.assessment}".replace("-", "−")
    axes.set_title(
        f"{_CHILDREN[sex]}, {years_and_months(age)}: bone age {years_and_months(bone_age)} "
        f"({assessment})\n",
        fontsize=11.5,
        loc="left",
    )


def _set_range(axes: "Axes", studies: Sequence[BoneAgeStudy]) -> None:
    """Shows the whole table and every study, with the same scale on both axes."""
    ages, bone_ages = _years(studies)
    interval_ends = [end for case in studies for end in case.interval_90_months or ()]
    bone_ages += [months / MONTHS_PER_YEAR for months in interval_ends]
    last_age = _whole_ticks(max(_LAST_AGE_YEARS, *ages))
    last_bone_age = _whole_ticks(max(_LAST_BONE_AGE_YEARS, *bone_ages))
    axes.set(xlim=(0, last_age), ylim=(0, last_bone_age), aspect="equal")
    axes.set_xticks(range(0, last_age + 1, _TICK_YEARS))
    axes.set_yticks(range(0, last_bone_age + 1, _TICK_YEARS))
    axes.grid(color="#DDDDDD", linewidth=0.6)
    axes.set_axisbelow(True)


def _whole_ticks(years: float) -> int:
    return _TICK_YEARS * math.ceil(years / _TICK_YEARS)


def _years(studies: Sequence[BoneAgeStudy]) -> tuple[list[float], list[float]]:
    """Returns chronological ages and bone ages in years."""
    return (
        [case.chronological_age_months / MONTHS_PER_YEAR for case in studies],
        [case.bone_age_months / MONTHS_PER_YEAR for case in studies],
    )
