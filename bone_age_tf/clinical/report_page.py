"""One page for people: the picture, the bone age with its interval, the growth chart, the limits.

The page names the patient by the identifiers that the source has, without name and birth date.
Drawing needs Matplotlib (extra `train`).
"""

import datetime
import io
from typing import TYPE_CHECKING, Final

import numpy as np

from bone_age_tf.clinical.arguments import years_and_months
from bone_age_tf.clinical.growth_chart import DISCLAIMER, BoneAgeStudy, draw_chart_axes
from bone_age_tf.clinical.report import (
    SEX_UNKNOWN,
    BoneAgeReport,
    StudyFacts,
    as_sentence,
    interval_text,
    no_result_text,
    software_text,
)
from bone_age_tf.clinical.secondary_capture import require_picture
from bone_age_tf.clinical.standard_deviation import NORMAL, StandardDeviationScore
from bone_age_tf.extras import named_extras

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_WIDTH_IN, _HEIGHT_IN = 8.27, 11.69
"""A4, upright."""
_DPI: Final = 150
"""Resolution of the page as a picture."""
_MARGIN_IN: Final = 0.6
_GAP_IN: Final = 0.35
_PICTURE_IN: Final = (3.2, 3.9)
"""Width and height of the place of the picture in inches."""
_CHART_IN: Final = (3.9, 4.45)
_WIDE: Final = 1.3
"""Width over height from which a picture is shown across the page."""
_WIDE_HEIGHT_IN: Final = 2.7
"""Maximum height of such a picture."""
_TOP_IN: Final = 1.85
_RIGHT_IN: Final = _WIDTH_IN - _MARGIN_IN
"""Upper and right end of what is between the rules, in inches from the upper left corner."""
_LINE: Final = 1.32
"""Distance of lines as a multiple of the font size."""
_FACT_SIZES: Final = (9.5, 5.5)
"""Largest and smallest font size of an identifier. A longer one is cut, with an ellipsis."""
NO_SCORE: Final = "No chronological age: no standard deviations."
_INK, _MUTED, _RULE, _WARNING = "#1A1A1A", "#5A5A5A", "#C8C8C8", "#A33B00"


def draw_page(
    report: BoneAgeReport,
    picture: np.ndarray | None,
    facts: StudyFacts,
    written_at: datetime.datetime,
) -> "Figure":
    """Draws the page.

    Args:
        report: the content.
        picture: [H, W, 3] uint8, or None to leave it out.
        facts: what the source says about the study.
        written_at: date and time of the report.

    Raises:
        InputError: the picture has another shape or type.
        MissingExtraError: Matplotlib is not installed.
    """
    with named_extras("the page of a report"):
        page = _Page()
    page.write(_MARGIN_IN, 0.55, "Bone age report", 19, weight="bold")
    page.write(_WIDTH_IN - _MARGIN_IN, 0.66, DISCLAIMER, 9, colour=_WARNING, align="right")
    page.rule(1.0)
    _write_facts(page, report, facts)
    if picture is not None:
        picture = require_picture(picture)
    if picture is not None and picture.shape[1] > _WIDE * picture.shape[0]:
        _lay_out_wide(page, report, picture)
    else:
        _lay_out_upright(page, report, picture)
    page.rule(_HEIGHT_IN - 0.72)
    model = report.result.model or "model not stated"
    page.write(_MARGIN_IN, _HEIGHT_IN - 0.62, f"Model: {model}. {software_text()}.", 8, _MUTED)
    date = f"Written {written_at:%Y-%m-%d %H:%M}"
    page.write(_WIDTH_IN - _MARGIN_IN, _HEIGHT_IN - 0.62, date, 8, _MUTED, align="right")
    return page.figure


def page_as_pdf(figure: "Figure", written_at: datetime.datetime) -> bytes:
    """Returns the page as a PDF file; the same page and time give the same bytes."""
    buffer = io.BytesIO()
    metadata = {
        "Title": "Bone age report",
        "Subject": DISCLAIMER,
        "Creator": software_text(),
        "CreationDate": written_at,
    }
    figure.savefig(buffer, format="pdf", metadata=metadata)
    return buffer.getvalue()


def page_as_picture(figure: "Figure") -> np.ndarray:
    """Returns the page as a picture, [H, W, 3] uint8."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.ascontiguousarray(np.asarray(canvas.buffer_rgba())[..., :3])


def _write_facts(page: "_Page", report: BoneAgeReport, facts: StudyFacts) -> None:
    """Writes the line of identifiers; what is not known is said to be unknown."""
    age = report.chronological_age_months
    columns = {
        "Patient ID": facts.patient_id,
        "Accession number": facts.accession_number,
        "Study date": facts.study_day,
        "Stated side": facts.side or "",
        "Sex": report.result.sex or "",
        "Chronological age": "" if age is None else years_and_months(age),
    }
    width = (_WIDTH_IN - 2 * _MARGIN_IN) / len(columns)
    for place, (label, value) in enumerate(columns.items()):
        left = _MARGIN_IN + place * width
        page.write(left, 1.14, label, 7.5, _MUTED)
        shown, size = page.fit(value or "not known", width - 0.1, *_FACT_SIZES)
        page.write(left, 1.29, shown, size, _INK if value else _MUTED)
    page.rule(1.6)


def _lay_out_upright(page: "_Page", report: BoneAgeReport, picture: np.ndarray | None) -> None:
    """Picture beside the answers, and below them the chart beside the notes."""
    left, bottom = _MARGIN_IN, _TOP_IN
    if picture is not None:
        bottom = page.show_picture(picture, left, _TOP_IN, *_PICTURE_IN)
        left += _PICTURE_IN[0] + _GAP_IN
    bottom = max(bottom, _write_answers(page, report, left, _TOP_IN, _RIGHT_IN - left))
    left, top = _MARGIN_IN, bottom + _GAP_IN
    charted = _charted(report)
    if charted is not None:
        _draw_chart(page, report, *charted, left, top)
        left += _CHART_IN[0] + _GAP_IN
    _write_notes(page, report, left, top, _RIGHT_IN - left)


def _lay_out_wide(page: "_Page", report: BoneAgeReport, picture: np.ndarray) -> None:
    """Picture across the page, and below it the answers beside the chart or the notes."""
    width = _RIGHT_IN - _MARGIN_IN
    top = page.show_picture(picture, _MARGIN_IN, _TOP_IN, width, _WIDE_HEIGHT_IN) + _GAP_IN
    right = _RIGHT_IN - _CHART_IN[0]
    column = right - _GAP_IN - _MARGIN_IN
    bottom = _write_answers(page, report, _MARGIN_IN, top, column)
    charted = _charted(report)
    if charted is not None:
        _draw_chart(page, report, *charted, right, top)
        _write_notes(page, report, _MARGIN_IN, bottom + _GAP_IN, column)
    else:
        _write_notes(page, report, right, top, _CHART_IN[0])


def _write_answers(
    page: "_Page", report: BoneAgeReport, left: float, top: float, width: float
) -> float:
    """Writes the answers, or why there is none; returns where they end."""
    result = report.result
    if not result.by_sex:
        heading, _, why = no_result_text(result).partition(": ")
        bottom = page.write(left, top, heading, 26, _WARNING, weight="bold")
        return page.paragraphs(left, bottom + 0.12, width, [as_sentence(why)], 11)
    bottom = top
    if result.sex is None:
        bottom = page.paragraphs(left, bottom, width, [SEX_UNKNOWN], 10, _WARNING) + 0.1
    for sex in result.by_sex:
        bottom = _write_answer(page, report, sex, left, bottom, width) + 0.25
    return bottom - 0.25


def _write_answer(
    page: "_Page", report: BoneAgeReport, sex: str, left: float, top: float, width: float
) -> float:
    """Writes the answer for one sex and returns where it ends, in inches from the top."""
    prediction, score = report.result.by_sex[sex], report.scores.get(sex)
    is_single = report.result.sex is not None
    label = "Bone age" if is_single else f"Bone age if {sex}"
    bottom = page.write(left, top, label, 10, _MUTED)
    size = 34 if is_single else 24
    bottom = page.write(
        left, bottom + 0.02, years_and_months(prediction.age_months), size, weight="bold"
    )
    bottom = page.write(left, bottom + 0.04, f"{prediction.age_months:.1f} months", 13)
    interval = interval_text(prediction) or "no 90 % interval"
    bottom = page.write(left, bottom + 0.05, interval, 11)
    if prediction.interval_90_months is not None:
        lower, upper = map(years_and_months, prediction.interval_90_months)
        bottom = page.write(left, bottom + 0.02, f"{lower} to {upper}", 9, _MUTED)
    bottom = _write_score(page, score, left, bottom, width)
    adult_height = report.rows[sex].adult_height_summary
    if not adult_height:
        return bottom
    return page.paragraphs(left, bottom + 0.08, width, [as_sentence(adult_height)], 9)


def _write_score(
    page: "_Page", score: StandardDeviationScore | None, left: float, top: float, width: float
) -> float:
    """Writes the standard deviation score, or why there is none; returns where it ends."""
    if score is None or score.sds is None:
        text = NO_SCORE if score is None else as_sentence(score.summary)
        return page.paragraphs(left, top + 0.15, width, [text], 9, _MUTED)
    colour = _INK if score.assessment == NORMAL else _WARNING
    sds = f"{score.sds:+.1f} SD".replace("-", "−")
    bottom = page.write(left, top + 0.17, f"{sds}, {score.assessment}", 15, colour, weight="bold")
    reference = f"SD {score.sd_months:.1f} months; {score.reference_name}. Normal: within ± 2 SD."
    return page.paragraphs(left, bottom + 0.03, width, [reference], 9, _MUTED)


def _charted(report: BoneAgeReport) -> tuple[str, BoneAgeStudy] | None:
    """Returns sex and study for the chart; None if the sex or one of the ages is not known."""
    result, age = report.result, report.chronological_age_months
    if result.sex is None or result.prediction is None or age is None:
        return None
    prediction = result.prediction
    return result.sex, BoneAgeStudy(age, prediction.age_months, prediction.interval_90_months)


def _draw_chart(
    page: "_Page", report: BoneAgeReport, sex: str, study: BoneAgeStudy, left: float, top: float
) -> None:
    width, height = _CHART_IN
    axes = page.axes(left + 0.4, top + 0.25, width - 0.4, height - 0.65)
    axes.tick_params(labelsize=7.5)
    draw_chart_axes(
        axes,
        study,
        sex,
        reference=report.reference,
        font_size=7,
    )
    axes.set_anchor("NW")
    for label in (axes.xaxis.label, axes.yaxis.label):
        label.set_fontsize(8.5)


def _write_notes(
    page: "_Page", report: BoneAgeReport, left: float, top: float, width: float
) -> None:
    result = report.result
    bottom = page.write(left, top, "Quality", 11, weight="bold")
    bottom = page.paragraphs(left, bottom + 0.06, width, report.quality_notes, 9)
    details = [
        f"{name}: {region.age_months:.0f} months ({region.difference_months:+.0f} from usual, "
        f"{region.deviations:+.1f} SD)".replace("-", "−")
        for prediction in result.by_sex.values()
        for name, region in prediction.unusual_regions
        if result.sex is not None
    ]
    if details:
        bottom = page.write(
            left, bottom + 0.16, "Regions ahead of the hand or behind", 11, weight="bold"
        )
        bottom = page.paragraphs(left, bottom + 0.06, width, details[:6], 9)
    if report.limits:
        bottom = page.write(left, bottom + 0.16, "Limits", 11, weight="bold")
        page.paragraphs(left, bottom + 0.06, width, [*report.limits], 9)


class _Page:
    """A figure on which things are placed in inches from the upper left corner."""

    def __init__(self) -> None:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        self.figure = Figure(figsize=(_WIDTH_IN, _HEIGHT_IN), dpi=_DPI, facecolor="white")
        self._renderer = FigureCanvasAgg(self.figure).get_renderer()

    def axes(self, left: float, top: float, width: float, height: float) -> "Axes":
        """Returns axes in a rectangle."""
        bottom = _HEIGHT_IN - top - height
        axes = self.figure.add_axes(
            (left / _WIDTH_IN, bottom / _HEIGHT_IN, width / _WIDTH_IN, height / _HEIGHT_IN)
        )
        axes.spines[["top", "right"]].set_visible(False)
        return axes

    def write(
        self,
        left: float,
        top: float,
        text: str,
        size: float,
        colour: str = _INK,
        weight: str = "normal",
        align: str = "left",
    ) -> float:
        """Writes a line and returns where it ends, in inches from the top."""
        self.figure.text(
            left / _WIDTH_IN,
            1 - top / _HEIGHT_IN,
            text,
            fontsize=size,
            color=colour,
            fontweight=weight,
            ha=align,
            va="top",
            parse_math=False,  # an identifier may hold dollar signs
        )
        return top + size * _LINE / 72

    def paragraphs(
        self,
        left: float,
        top: float,
        width: float,
        texts: list[str],
        size: float,
        colour: str = _INK,
    ) -> float:
        """Writes wrapped paragraphs and returns where they end, in inches from the top."""
        for text in texts:
            line = ""
            for word in text.split():
                longer = f"{line} {word}".strip()
                if line and self.width(longer, size) > width:
                    top = self.write(left, top, line, size, colour)
                    longer = word
                line = longer
            top = self.write(left, top, line, size, colour) + size * 0.4 / 72
        return top

    def width(self, text: str, size: float) -> float:
        """Returns the width of a line in inches."""
        from matplotlib.font_manager import FontProperties

        properties = FontProperties(size=size)
        return (
            float(self._renderer.get_text_width_height_descent(text, properties, False)[0]) / _DPI
        )

    def fit(self, text: str, width: float, largest: float, smallest: float) -> tuple[str, float]:
        """Returns a text and its font size so that it fits a width in inches."""
        size = min(largest, largest * width / self.width(text, largest))
        if size >= smallest:
            return text, size
        while self.width(f"{text}…", smallest) > width:
            text = text[:-1]
        return f"{text}…", smallest

    def rule(self, top: float) -> None:
        """Draws a line across the page."""
        from matplotlib.lines import Line2D

        ends = (_MARGIN_IN / _WIDTH_IN, 1 - _MARGIN_IN / _WIDTH_IN)
        height = 1 - top / _HEIGHT_IN
        self.figure.add_artist(Line2D(ends, (height, height), color=_RULE, linewidth=0.8))

    def show_picture(
        self, picture: np.ndarray, left: float, top: float, width: float, height: float
    ) -> float:
        """Shows a picture as large as it fits into a rectangle; returns where it ends."""
        rows, columns = picture.shape[:2]
        inches = min(width / columns, height / rows)
        axes = self.axes(left, top, columns * inches, rows * inches)
        axes.imshow(picture, interpolation="antialiased", aspect="auto")
        axes.set_axis_off()
        return top + rows * inches
