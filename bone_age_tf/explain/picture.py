"""Draws a case as a PNG: radiograph with regions, maps, age distribution, shares by region."""

from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from bone_age_tf import schema
from bone_age_tf.evaluation import colours
from bone_age_tf.explain.case import ExplainedCase, years_and_months
from bone_age_tf.explain.methods import METHODS
from bone_age_tf.explain.regions import GROUPS

GROUP_COLOURS = dict(
    zip(
        schema.REGION_GROUPS,
        # Okabe & Ito 2008, "Color Universal Design"
        ("#E69F00", "#56B4E9", "#009E73", "#F0E442", "#D55E00", "#CC79A7"),
        strict=True,
    )
)
_INK, _PALE = "#222222", "#BBBBBB"
RESEARCH_USE = "Research use. Not a medical device."


def draw_case(case: ExplainedCase, methods: Sequence[str], path: Path | BinaryIO) -> None:
    """Draws a case with a prediction.

    Args:
        case: a case with an image, a prediction and maps.
        methods: names of up to three maps, in the order in which they are drawn.
        path: the PNG file, whose folder must exist, or an open file.
    """
    page = _Page(case.aspect)
    figure = page.figure
    panel = page.panel(0)
    _draw_radiograph(panel, case)
    if case.boxes is not None:
        _draw_boxes(panel, case.boxes)
    for place, name in enumerate(methods, start=1):
        _draw_map(figure, page.panel(place), page.scale(place), case, name)
    _draw_distribution(page.lower(0.55, 6.9), case)
    _draw_shares(page.lower(8.1, 4.9), case, methods)
    figure.text(0.5, 1 - 0.1 / page.height, _title(case), ha="center", va="top", fontsize=12)
    figure.text(0.995, 0.06 / page.height, RESEARCH_USE, ha="right", fontsize=8, color="#555555")
    figure.savefig(path, dpi=100, format="png")


class _Page:
    """Layout of the picture in inches; Matplotlib's automatic layouts would take most of the time.

    Args:
        aspect: width over height of the panels.
    """

    _WIDTH, _PANEL, _GAP, _TITLE, _SCALE, _LOWER, _FOOT = 13.2, 3.0, 0.24, 0.85, 0.75, 1.75, 0.55

    def __init__(self, aspect: float):
        self._tall = self._PANEL / aspect
        self.height = self._FOOT + self._LOWER + self._SCALE + self._tall + self._TITLE
        self.figure = Figure(figsize=(self._WIDTH, self.height))
        FigureCanvasAgg(self.figure)

    def _axes(self, left: float, bottom: float, width: float, height: float) -> Axes:
        across, up = self._WIDTH, self.height
        return self.figure.add_axes((left / across, bottom / up, width / across, height / up))

    def panel(self, place: int) -> Axes:
        """Returns the axes of one of the four panels in the upper row."""
        left = self._GAP + place * (self._PANEL + self._GAP)
        return self._axes(left, self._FOOT + self._LOWER + self._SCALE, self._PANEL, self._tall)

    def scale(self, place: int) -> Axes:
        """Returns the axes of the colour bar beneath a panel."""
        left = self._GAP + place * (self._PANEL + self._GAP) + 0.2
        bottom = self._FOOT + self._LOWER + self._SCALE - 0.2
        return self._axes(left, bottom, self._PANEL - 0.4, 0.12)

    def lower(self, left: float, width: float) -> Axes:
        """Returns axes in the lower row."""
        return self._axes(left, self._FOOT, width, self._LOWER)


def _title(case: ExplainedCase) -> str:
    assert case.predicted_months is not None
    words = [case.image_id, case.sex_name or "sex unknown"]
    words.append(
        f"bone age {case.predicted_months:.0f} months ({years_and_months(case.predicted_months)})"
    )
    if case.lower_90 is not None:
        words.append(f"90 % interval {case.lower_90:.0f} to {case.upper_90:.0f}")
    if case.error_months is not None:
        words.append(f"label {case.age_months:.0f}, error {case.error_months:+.0f}")
    return "   ·   ".join(words) + (f"\n{case.reason}" if case.reason else "")


def _draw_radiograph(panel: Axes, case: ExplainedCase) -> None:
    assert case.image is not None
    # The extent is in fractions of the image, as the boxes are.
    panel.imshow(
        case.image, cmap="gray", vmin=0, vmax=255, extent=(0, 1, 1, 0), aspect=1 / case.aspect
    )
    panel.set_axis_off()


def _draw_boxes(panel: Axes, boxes: np.ndarray) -> None:
    for name, (top, left, bottom, right) in zip(schema.REGIONS, boxes, strict=True):
        if np.isfinite(top):
            colour = GROUP_COLOURS[name.rstrip("12345")]
            panel.add_patch(
                Rectangle((left, top), right - left, bottom - top, fill=False, ec=colour, lw=1.3)
            )
    handles = [
        Rectangle((0, 0), 1, 1, fill=False, ec=colour, lw=1.5) for colour in GROUP_COLOURS.values()
    ]
    panel.legend(
        handles,
        GROUP_COLOURS,
        ncols=3,
        fontsize=8,
        frameon=False,
        loc="upper center",
        bbox_to_anchor=(0.5, 0.0),
        handlelength=1.0,
    )


def _draw_map(figure: Figure, panel: Axes, scale: Axes, case: ExplainedCase, name: str) -> None:
    method, values = METHODS[name], case.maps[name]
    _draw_radiograph(panel, case)
    panel.imshow(
        colours.overlay(values, method.signed), extent=(0, 1, 1, 0), aspect=1 / case.aspect,
        interpolation="bilinear",
    )  # fmt: skip
    most = float(np.abs(values).max())
    end = most if method.unit else 1.0
    norm = matplotlib.colors.Normalize(-end if method.signed else 0.0, end)
    mappable = matplotlib.cm.ScalarMappable(norm, colours.colour_map(method.signed))
    bar = figure.colorbar(mappable, cax=scale, orientation="horizontal")
    bar.ax.tick_params(labelsize=8)
    bar.set_label(scale_label(name), fontsize=8)
    panel.set_title(method.title, fontsize=11)


def scale_label(name: str) -> str:
    """Returns the label of a method's colour bar, with the unit."""
    method = METHODS[name]
    if method.unit:
        where = "pixel" if method.fine else "place"
        return f"{method.unit} a {where}: purple younger, orange older"
    return "share of its maximum" + (": purple younger, orange older" if method.signed else "")


def _draw_distribution(panel: Axes, case: ExplainedCase) -> None:
    assert case.predicted_months is not None
    for side in ("top", "right"):
        panel.spines[side].set_visible(False)
    if case.distribution is not None:
        width = schema.MAX_AGE_MONTHS / len(case.distribution)
        panel.stairs(
            100 * case.distribution,
            width * np.arange(len(case.distribution) + 1),
            fill=True,
            color="#8DA9C4",
        )
        panel.set_ylabel(f"% a bin of {width:g} months", fontsize=9)
    else:
        panel.set_yticks([])
    if case.lower_90 is not None and case.upper_90 is not None:
        panel.axvspan(
            case.lower_90, case.upper_90, color=_PALE, alpha=0.35, lw=0, label="90 % interval"
        )
    panel.axvline(case.predicted_months, color=_INK, lw=1.8, label="bone age")
    if case.age_months is not None:
        panel.axvline(case.age_months, color="#D55E00", lw=1.8, ls="--", label="label")
    panel.set_xlim(0, schema.MAX_AGE_MONTHS)
    panel.set_ylim(bottom=0)
    panel.set_xticks(np.arange(0, schema.MAX_AGE_MONTHS + 1, 24))
    panel.set_xlabel("months", fontsize=9)
    panel.tick_params(labelsize=8)
    young = case.predicted_months < schema.MAX_AGE_MONTHS / 2
    panel.legend(fontsize=8, frameon=False, loc="upper right" if young else "upper left")


def _draw_shares(panel: Axes, case: ExplainedCase, methods: Sequence[str]) -> None:
    panel.spines[["top", "right"]].set_visible(False)
    by_method = [(name, case.shares(name)) for name in methods]
    known = [(name, shares) for name, shares in by_method if shares is not None]
    if not known:
        panel.set_axis_off()
        panel.text(0, 0.5, "no region detector: no shares by region", fontsize=9, va="center")
        return
    thick = 0.8 / len(known)
    for number, (name, shares) in enumerate(known):
        panel.bar(
            np.arange(len(GROUPS)) + (number - (len(known) - 1) / 2) * thick,
            [100 * shares[group] for group in GROUPS],
            thick * 0.92,
            label=METHODS[name].title,
            color=("#0072B2", "#E69F00", "#999999")[number % 3],
        )
    panel.set_xticks(range(len(GROUPS)), GROUPS)
    panel.set_ylabel("% of the map", fontsize=9)
    panel.tick_params(labelsize=8)
    panel.legend(fontsize=8, frameon=False)
