"""An HTML file of all explained cases that can be sorted and loads nothing from elsewhere.

The layout is in `gallery.html.jinja`, `gallery.css` and `gallery.js`.
"""

import base64
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup
from PIL import Image

from bone_age_tf import schema, templates
from bone_age_tf.evaluation import colours
from bone_age_tf.explain.case import OK, ExplainedCase, years_and_months
from bone_age_tf.explain.methods import METHODS
from bone_age_tf.explain.picture import GROUP_COLOURS, RESEARCH_USE
from bone_age_tf.explain.regions import GROUPS

_SORTS = {
    "error": "size of the error",
    "age": "label",
    "predicted": "bone age",
    "sex": "sex",
    "status": "status",
    "name": "name",
}
"""Keys by which cases can be sorted, with their labels on the page."""
_JPEG_QUALITY = 88
"""Quality of the radiographs in the page, 0 to 100."""
NO_MAP = "none"
"""Value of the page's selector that hides all maps."""


def gallery_html(cases: Sequence[ExplainedCase], methods: Sequence[str], title: str) -> str:
    """Returns the HTML page of all cases.

    Args:
        cases: the cases, including those without a prediction.
        methods: names of the explanation methods; the page opens with the first of them.
        title: title of the page.
    """
    here = Path(__file__).parent
    style, script = (Markup((here / f"gallery.{end}").read_text()) for end in ("css", "js"))
    labelled = any(case.age_months is not None for case in cases)
    return templates.render(
        "explain/gallery.html.jinja",
        title=title,
        style=style,
        script=script,
        summary=_summary(cases),
        research_use=RESEARCH_USE,
        sorts={key: _SORTS[key] for key in _SORTS if labelled or key not in ("error", "age")},
        selected_sort="error" if labelled else "name",
        labelled=labelled,
        methods=[_method_values(name) for name in methods],
        no_map=NO_MAP,
        has_boxes=any(case.boxes is not None for case in cases),
        cases=[_case_values(case, methods) for case in cases],
        max_age=int(schema.MAX_AGE_MONTHS),
    )


def _summary(cases: Sequence[ExplainedCase]) -> str:
    errors = [abs(case.error_months) for case in cases if case.error_months is not None]
    text = f"{len(cases)} {'case' if len(cases) == 1 else 'cases'}"
    refused = sum(case.status != OK for case in cases)
    text += f", {refused} without a prediction." if refused else "."
    if errors:
        text += f" Mean absolute error {np.mean(errors):.1f} months, n = {len(errors)}."
    return text


def _method_values(name: str) -> dict[str, str]:
    method = METHODS[name]
    low, high = ("younger", "older") if method.signed else ("0", "maximum")
    place = "pixel" if method.fine else "place"
    return {
        "name": name,
        "title": method.title,
        "gradient": colours.css_gradient(method.signed),
        "low": low,
        "high": high,
        "unit": f"{method.unit} a {place}" if method.unit else "share",
    }


def _case_values(case: ExplainedCase, methods: Sequence[str]) -> dict[str, Any]:
    values: dict[str, Any] = {
        "name": case.image_id,
        "sort_values": {
            "error": "" if case.error_months is None else f"{abs(case.error_months):.2f}",
            "age": "" if case.age_months is None else f"{case.age_months:.2f}",
            "predicted": "" if case.predicted_months is None else f"{case.predicted_months:.2f}",
            "sex": case.sex_name,
            "status": case.status,
            "name": case.image_id,
        },
        "status": case.status,
        "sex": f", {case.sex_name}" if case.sex_name else "",
        "reason": case.reason,
        "image": None if case.image is None else _jpeg_url(case.image),
        "aspect": case.aspect,
        "maps": [_map_values(case, name) for name in methods if name in case.maps],
        "boxes": None if case.boxes is None else _box_values(case.boxes),
        "plot": None,
        "shares": _share_tables(case, methods),
    }
    if case.predicted_months is not None:
        values |= {
            "age": f"{case.predicted_months:.0f} months",
            "age_years": years_and_months(case.predicted_months),
            "details": _details(case),
            "plot": _plot_values(case, case.predicted_months),
        }
    return values


def _jpeg_url(image: np.ndarray) -> str:
    buffer = io.BytesIO()
    pixels = np.clip(np.rint(image), 0, 255).astype(np.uint8)
    Image.fromarray(pixels).save(buffer, "JPEG", quality=_JPEG_QUALITY)
    return _data_url("image/jpeg", buffer.getvalue())


def _data_url(kind: str, data: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def _map_values(case: ExplainedCase, name: str) -> dict[str, str]:
    png = colours.overlay_png(case.maps[name], METHODS[name].signed)
    return {
        "method": name,
        "title": METHODS[name].title,
        "image": _data_url("image/png", png),
    }


def _box_values(boxes: np.ndarray) -> list[dict[str, Any]]:
    """Returns the boxes [17, 4] in percent of the image, without those that are NaN."""
    return [
        {
            "region": region,
            "colour": GROUP_COLOURS[region.rstrip("12345")],
            "left": 100 * left,
            "top": 100 * top,
            "width": 100 * (right - left),
            "height": 100 * (bottom - top),
        }
        for region, (top, left, bottom, right) in zip(schema.REGIONS, boxes, strict=True)
        if np.isfinite(top)
    ]


def _details(case: ExplainedCase) -> str:
    """Returns the interval and, if a label is known, the label and the error as a text."""
    details = []
    if case.lower_90 is not None:
        details.append(f"90 % interval {case.lower_90:.0f} to {case.upper_90:.0f}")
    if case.error_months is not None:
        details.append(f"label {case.age_months:.0f}, error {case.error_months:+.0f}")
    return "; ".join(details)


def _plot_values(case: ExplainedCase, predicted_months: float) -> dict[str, Any]:
    """Returns what the plot of the age distribution shows, in months."""
    bins = None
    if case.distribution is not None:
        width = schema.MAX_AGE_MONTHS / len(case.distribution)
        peak = max(float(case.distribution.max()), 1e-9)
        tops = " ".join(f"V{100 - 96 * share / peak:.1f} h{width:g}" for share in case.distribution)
        bins = f"M0 100 {tops} V100 Z"
    lines = {"predicted": predicted_months, "label": case.age_months}
    has_interval = case.lower_90 is not None and case.upper_90 is not None
    return {
        "interval": (case.lower_90, case.upper_90) if has_interval else None,
        "bins": bins,
        "lines": {kind: months for kind, months in lines.items() if months is not None},
    }


def _share_tables(case: ExplainedCase, methods: Sequence[str]) -> list[dict[str, Any]]:
    """Returns the shares of each map by region, for the maps that have them."""
    tables = []
    for name in methods:
        shares = case.shares(name)
        if shares is not None:
            most = float(np.abs(case.maps[name]).max())
            maximum = f", at most {most:.1f} months a place" if METHODS[name].unit else ""
            by_group = {group: float(shares[group]) for group in GROUPS}
            tables.append({"method": name, "maximum": maximum, "shares": by_group})
    return tables
