"""Plots of an audit: ages, sizes, exposure, doubtful labels and contact sheets of images."""

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from bone_age_tf import schema
from bone_age_tf.evaluation.plots import (
    BLACK,
    GREY,
    SEX_STYLES,
    SKY_BLUE,
    VERMILLION,
    as_png,
    new_figure,
)

_COLUMNS = 8


def age_histograms(age_months: np.ndarray, sex: np.ndarray, part: Sequence[str]) -> bytes:
    """Plots bone ages in bins of a year for each part, females upwards and males downwards."""
    names = list(dict.fromkeys(part))
    figure = Figure(figsize=(8.0, 2.6 * len(names) + 0.4), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    bins = np.arange(0, max(age_months.max(), 228) + 12, 12)
    panels = figure.subplots(len(names), 1, sharex=True, squeeze=False)[:, 0]
    for axes, name in zip(panels, names, strict=True):
        here = np.array(part) == name
        for code, direction in ((schema.FEMALE, 1), (schema.MALE, -1)):
            counts, _ = np.histogram(age_months[here & (sex == code)], bins)
            axes.bar(
                bins[:-1] + 6,
                direction * counts,
                width=11,
                color=SEX_STYLES[code][0],
                label=f"{schema.SEX_NAMES[code]} (n = {counts.sum()})",
            )
        axes.axhline(0, color=BLACK, linewidth=0.8)
        axes.yaxis.set_major_formatter(lambda value, _: f"{abs(value):.0f}")
        axes.set_ylabel("Images")
        axes.set_title(name, fontsize=10)
        axes.legend(frameon=False, fontsize=8)
        axes.spines[["top", "right"]].set_visible(False)
    panels[-1].set_xlabel("Bone age (months)")
    return as_png(figure)


def sizes_and_exposure(sizes: np.ndarray, levels: np.ndarray) -> bytes:
    """Plots sizes [N, 2] (width, height) and grey levels [N, 3] (dark, mean, bright)."""
    figure = Figure(figsize=(10.0, 4.0), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    left.scatter(sizes[:, 0], sizes[:, 1], s=8, alpha=0.3, color=SKY_BLUE, linewidths=0)
    left.set(xlabel="Width (px)", ylabel="Height (px)")
    left.set_xlim(0, 1.1 * sizes.max())
    left.set_ylim(0, 1.1 * sizes.max())
    left.set_aspect("equal")
    left.set_title("Sizes", fontsize=10)
    names = ("darkest percent", "mean", "brightest percent")
    for values, name, colour in zip(levels.T, names, (BLACK, SKY_BLUE, VERMILLION), strict=True):
        right.hist(values, bins=np.linspace(0, 255, 52), histtype="step", color=colour, label=name)
    right.set(xlabel="Grey level", ylabel="Images")
    right.set_title("Exposure", fontsize=10)
    right.legend(frameon=False, fontsize=8)
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    return as_png(figure)


def labels(age_months: np.ndarray, predicted_months: np.ndarray, doubted: np.ndarray) -> bytes:
    """Plots predictions of networks that were not trained on a label against the label."""
    figure, axes = new_figure(6.5, 6.0)
    high = 1.04 * max(age_months.max(), predicted_months.max())
    axes.plot([0, high], [0, high], color=BLACK, linewidth=1, linestyle="--")
    for cases, colour, name in ((~doubted, GREY, "others"), (doubted, VERMILLION, "doubted")):
        axes.scatter(
            age_months[cases],
            predicted_months[cases],
            s=10 if name == "others" else 26,
            alpha=0.35 if name == "others" else 0.9,
            color=colour,
            linewidths=0,
            label=f"{name} (n = {np.count_nonzero(cases)})",
        )
    axes.set(xlim=(0, high), ylim=(0, high), aspect="equal")
    axes.set_xlabel("Label (months)")
    axes.set_ylabel("Prediction of a network not trained on it (months)")
    axes.legend(frameon=False, loc="upper left")
    return as_png(figure)


def sheet(images: np.ndarray, titles: Sequence[str]) -> bytes:
    """Draws a contact sheet of images [N, S, S] uint8, each under its title."""
    rows = math.ceil(len(images) / _COLUMNS)
    figure = Figure(figsize=(1.75 * _COLUMNS, 2.3 * rows), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    for axes in figure.subplots(rows, _COLUMNS, squeeze=False).ravel():
        axes.set_axis_off()
    for axes, image, title in zip(figure.axes, images, titles, strict=False):
        axes.imshow(image, cmap="gray", vmin=0, vmax=255)
        axes.set_title(title, fontsize=7)
    return as_png(figure)
