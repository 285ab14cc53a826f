"""Plots of predicted bone ages. Each function returns a PNG file; no display is needed."""

import io
from typing import TYPE_CHECKING, Final

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from bone_age_tf import schema
from bone_age_tf.evaluation.metrics import (
    AGE_BAND_MONTHS,
    MIN_INTERVAL_CASES,
    Predictions,
    age_band,
    limits_of_agreement,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Colours that colour-blind readers tell apart: Okabe and Ito 2008, Color Universal Design.
BLUE: Final = "#0072B2"
VERMILLION: Final = "#D55E00"
SKY_BLUE: Final = "#56B4E9"
BLACK: Final = "#000000"
GREY: Final = "#6E6E6E"

SEX_STYLES: Final = {schema.FEMALE: (VERMILLION, "o"), schema.MALE: (BLUE, "^")}
_DPI: Final = 150
_CROWDED_CASES: Final = 500
_YEAR_STEPS: Final = (1, 1.2, 2.4, 6, 10)  # ticks at 12, 24 or 60 months: whole years


def scatter(predictions: Predictions) -> bytes:
    """Plots predicted against true bone age, with the line of equality."""
    figure, axes = new_figure(6.0, 6.0)
    true, predicted = predictions.age_months, predictions.predicted_months
    low, high = min(true.min(), predicted.min()), max(true.max(), predicted.max())
    margin = max(0.04 * (high - low), 1.0)
    ends = (low - margin, high + margin)
    axes.plot(ends, ends, color=BLACK, linewidth=1, linestyle="--", label="predicted = true")
    _points(axes, predictions, true, predicted)
    axes.set(xlim=ends, ylim=ends, aspect="equal")
    axes.set_xlabel("True bone age (months)")
    axes.set_ylabel("Predicted bone age (months)")
    mae = np.abs(predictions.error_months).mean()
    axes.set_title(f"n = {len(predictions)}, mean absolute error {mae:.1f} months")
    _year_ticks(axes, x=True, y=True)
    axes.legend(loc="upper left", frameon=False)
    return as_png(figure)


def bland_altman(predictions: Predictions) -> bytes:
    """Plots the difference against the mean of predicted and true bone age.

    The bias and the limits of agreement are shown (Bland and Altman 1986, Lancet 327:307-310).
    """
    figure, axes = new_figure(8.0, 5.0)
    error = predictions.error_months
    mean = (predictions.age_months + predictions.predicted_months) / 2
    axes.axhline(0, color=GREY, linewidth=0.8)
    _points(axes, predictions, mean, error)
    lines = [("bias", float(error.mean()), "-")]
    limits = limits_of_agreement(error)
    if limits is not None:
        lines += [("bias - 1.96 SD", limits[0], "--"), ("bias + 1.96 SD", limits[1], "--")]
    for name, months, style in lines:
        axes.axhline(months, color=BLACK, linewidth=1.2, linestyle=style)
        axes.annotate(
            f"{name}\n{_signed(months)} months",
            xy=(1, months),
            xycoords=("axes fraction", "data"),
            xytext=(6, 0),
            textcoords="offset points",
            verticalalignment="center",
            fontsize=9,
        )
    reach = 1.08 * max(np.abs(error).max(), *(abs(months) for _, months, _ in lines), 1.0)
    axes.set_ylim(-reach, reach)
    axes.set_xlabel("Mean of predicted and true bone age (months)")
    axes.set_ylabel("Predicted - true (months)")
    axes.set_title(f"Bland-Altman, n = {len(predictions)}")
    _year_ticks(axes, x=True, y=False)
    axes.legend(
        loc="upper center", bbox_to_anchor=(0.5, -0.14), ncols=len(SEX_STYLES), frameon=False
    )
    return as_png(figure)


def error_by_age(predictions: Predictions) -> bytes:
    """Plots the error in each two-year band of true age: median, quartiles, 5 % and 95 %.

    For bands of fewer than `MIN_INTERVAL_CASES` cases each case is shown too, since the quantiles
    of so few cases are not reliable.
    """
    error, bands = predictions.error_months, age_band(predictions.age_months)
    present = [int(band) for band in np.unique(bands)]
    figure, axes = new_figure(max(6.0, 1.6 + 0.85 * len(present)), 5.0)
    axes.axhline(0, color=GREY, linewidth=0.8)
    axes.boxplot(
        [error[bands == band] for band in present],
        positions=range(len(present)),
        widths=0.6,
        whis=(5, 95),
        showfliers=False,
        patch_artist=True,
        boxprops={"facecolor": SKY_BLUE, "edgecolor": BLACK, "alpha": 0.75},
        medianprops={"color": BLACK, "linewidth": 2},
    )
    for position, band in enumerate(present):
        cases = error[bands == band]
        if cases.size < MIN_INTERVAL_CASES:
            axes.plot([position] * cases.size, cases, "o", color=BLACK, markersize=3.5, zorder=3)
    axes.set_xticks(
        range(len(present)),
        [
            f"{band * AGE_BAND_MONTHS} to {(band + 1) * AGE_BAND_MONTHS}\n"
            f"n = {np.count_nonzero(bands == band)}"
            for band in present
        ],
        fontsize=9,
    )
    axes.set_xlabel(
        "True bone age (months; lower end included)\n"
        f"Dots: every case, where n < {MIN_INTERVAL_CASES}"
    )
    axes.set_ylabel("Predicted - true (months)")
    axes.set_title("Error by age: median, quartiles, whiskers at 5 % and 95 %", fontsize=11)
    axes.grid(axis="y", color="#DDDDDD", linewidth=0.6)
    axes.set_axisbelow(True)
    return as_png(figure)


def new_figure(width: float, height: float) -> tuple[Figure, "Axes"]:
    """Returns a figure of the given size in inches and its axes, without pyplot's global state."""
    figure = Figure(figsize=(width, height), dpi=_DPI, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _points(axes: "Axes", predictions: Predictions, x: np.ndarray, y: np.ndarray) -> None:
    crowded = len(predictions) > _CROWDED_CASES
    for code, (colour, marker) in SEX_STYLES.items():
        cases = predictions.sex == code
        if not cases.any():
            continue
        axes.scatter(
            x[cases],
            y[cases],
            s=12 if crowded else 26,
            color=colour,
            marker=marker,
            alpha=0.5 if crowded else 0.75,
            linewidths=0,
            label=f"{schema.SEX_NAMES[code]} (n = {np.count_nonzero(cases)})",
        )


def _year_ticks(axes: "Axes", x: bool, y: bool) -> None:
    for axis, shows_ages in ((axes.xaxis, x), (axes.yaxis, y)):
        if shows_ages:
            axis.set_major_locator(MaxNLocator(nbins=11, steps=_YEAR_STEPS))


def _signed(months: float) -> str:
    """Formats a number with its sign and one decimal, such as +3.1, -0.4 or 0.0."""
    return f"{round(months, 1) + 0.0:+.1f}".replace("+0.0", "0.0")


def as_png(figure: Figure) -> bytes:
    """Returns the figure as a PNG file whose bytes are reproducible."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()
