"""One HTML file with every case: sortable, readable on a phone, without a single request."""

import base64
import html
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from bone_age_tf import schema
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
_FILM_QUALITY = 88
"""JPEG."""
NO_MAP = "none"


def gallery_html(cases: Sequence[ExplainedCase], methods: Sequence[str], title: str) -> str:
    """Returns a page of the cases.

    Args:
        cases: what is shown, those without an answer too.
        methods: the maps, the first of which is shown at first.
        title: of the page.
    """
    here = Path(__file__).parent
    style, script = ((here / f"gallery.{end}").read_text() for end in ("css", "js"))
    cards = "\n".join(_card(case, methods) for case in cases)
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; \
style-src 'unsafe-inline'; script-src 'unsafe-inline'">
<link rel="icon" href="data:,">
<title>{html.escape(title)}</title>
<style>
{style}</style>
</head>
<body>
<header><h1>{html.escape(title)}</h1><p>{_summary(cases)} {RESEARCH_USE}</p></header>
{_controls(cases, methods)}
<main>
{cards}
</main>
<footer class="small"><p>Ages are bone ages in months. A map shows what in the image the network's \
answer rests on, not what is true of the child.</p></footer>
<script>
{script}</script>
</body>
</html>
"""


def _summary(cases: Sequence[ExplainedCase]) -> str:
    errors = [abs(case.error_months) for case in cases if case.error_months is not None]
    text = f"{len(cases)} {'case' if len(cases) == 1 else 'cases'}"
    refused = sum(case.status != OK for case in cases)
    text += f", {refused} without an answer." if refused else "."
    if errors:
        text += f" Mean absolute error {np.mean(errors):.1f} months, n = {len(errors)}."
    return text


def _controls(cases: Sequence[ExplainedCase], methods: Sequence[str]) -> str:
    labelled = any(case.age_months is not None for case in cases)
    sorts = "".join(
        f'<option value="{key}"{" selected" if key == ("error" if labelled else "name") else ""}>'
        f"{text}</option>"
        for key, text in _SORTS.items()
        if labelled or key not in ("error", "age")
    )
    maps = "".join(
        f'<option value="{name}">{html.escape(METHODS[name].title)}</option>' for name in methods
    )
    legends = "".join(_legend(name, first=not place) for place, name in enumerate(methods))
    down, up = ("", " selected") if not labelled else (" selected", "")
    boxes = (
        '<label class="box"><input type="checkbox" name="boxes">regions</label>'
        if any(case.boxes is not None for case in cases)
        else '<input type="checkbox" name="boxes" hidden aria-label="regions">'
    )
    return f"""<form aria-label="View">
<label>Sort by<select name="sort">{sorts}</select></label>
<label>Order<select name="direction"><option value="down"{down}>largest first</option>\
<option value="up"{up}>smallest first</option></select></label>
<label>Map<select name="method">{maps}<option value="{NO_MAP}">no map</option></select></label>
<label>Opacity<input type="range" name="opacity" min="10" max="100" value="100"></label>
{boxes}
{legends}
</form>"""


def _legend(name: str, first: bool) -> str:
    method = METHODS[name]
    low, high = ("younger", "older") if method.signed else ("0", "maximum")
    unit = f"{method.unit} a {'pixel' if method.fine else 'place'}" if method.unit else "share"
    return (
        f'<div class="legend" data-method="{name}"{"" if first else " hidden"}>'
        f'<div class="colours" style="background: {colours.css_gradient(method.signed)}"></div>'
        f'<div class="ends"><span>{low}</span><span>{unit}</span><span>{high}</span></div></div>'
    )


def _card(case: ExplainedCase, methods: Sequence[str]) -> str:
    error = case.error_months
    data = {
        "error": "" if error is None else f"{abs(error):.2f}",
        "age": "" if case.age_months is None else f"{case.age_months:.2f}",
        "predicted": "" if case.predicted_months is None else f"{case.predicted_months:.2f}",
        "sex": case.sex_name,
        "status": case.status,
        "name": case.image_id,
    }
    attributes = " ".join(f'data-{key}="{html.escape(text)}"' for key, text in data.items())
    return (
        f"<article {attributes}>{_film(case, methods)}<h2>{html.escape(case.image_id)}</h2>"
        f"{_answer(case)}{_age_plot(case)}{_shares(case, methods)}</article>"
    )


def _film(case: ExplainedCase, methods: Sequence[str]) -> str:
    if case.image is None:
        return '<div class="film none">no image</div>'
    buffer = io.BytesIO()
    pixels = np.clip(np.rint(case.image), 0, 255).astype(np.uint8)
    Image.fromarray(pixels).save(buffer, "JPEG", quality=_FILM_QUALITY)
    layers = [_image("image/jpeg", buffer.getvalue(), f"radiograph {case.image_id}")]
    for place, name in enumerate(name for name in methods if name in case.maps):
        png = colours.overlay_png(case.maps[name], METHODS[name].signed)
        hidden = " hidden" if place else ""
        marks = f' class="overlay" data-method="{name}"{hidden}'
        layers.append(_image("image/png", png, f"{METHODS[name].title} map", marks))
    if case.boxes is not None:
        layers.append(_boxes(case.boxes))
    return f'<div class="film" style="aspect-ratio: {case.aspect}">{"".join(layers)}</div>'


def _image(kind: str, data: bytes, text: str, marks: str = "") -> str:
    source = base64.b64encode(data).decode()
    return f'<img src="data:{kind};base64,{source}" alt="{html.escape(text)}"{marks}>'


def _boxes(boxes: np.ndarray) -> str:
    parts = []
    for name, (top, left, bottom, right) in zip(schema.REGIONS, boxes, strict=True):
        if np.isfinite(top):
            colour = GROUP_COLOURS[name.rstrip("12345")]
            width, height = 100 * (right - left), 100 * (bottom - top)
            parts.append(
                f'<rect x="{100 * left:.1f}" y="{100 * top:.1f}" width="{width:.1f}" '
                f'height="{height:.1f}" stroke="{colour}"><title>{name}</title></rect>'
            )
    return (
        '<svg class="boxes" viewBox="0 0 100 100" preserveAspectRatio="none" hidden role="img" '
        f'aria-label="regions">{"".join(parts)}</svg>'
    )


def _answer(case: ExplainedCase) -> str:
    lines = []
    sex = f", {case.sex_name}" if case.sex_name else ""
    if case.predicted_months is None:
        lines.append(f'<div class="bad">{html.escape(case.status)}{sex}</div>')
    else:
        lines.append(
            f'<div class="age">{case.predicted_months:.0f} months '
            f'<span class="small">({years_and_months(case.predicted_months)}){sex}</span></div>'
        )
        said = []
        if case.lower_90 is not None:
            said.append(f"90 % interval {case.lower_90:.0f} to {case.upper_90:.0f}")
        if case.error_months is not None:
            said.append(f"label {case.age_months:.0f}, error {case.error_months:+.0f}")
        lines.append(f'<div class="small">{"; ".join(said)}</div>')
    if case.reason:
        lines.append(f'<div class="small">{html.escape(case.reason)}</div>')
    return "".join(lines)


def _age_plot(case: ExplainedCase) -> str:
    if case.predicted_months is None:
        return ""
    most, parts = schema.MAX_AGE_MONTHS, []
    if case.lower_90 is not None and case.upper_90 is not None:
        parts.append(
            f'<rect class="interval" x="{case.lower_90:.1f}" y="0" '
            f'width="{case.upper_90 - case.lower_90:.1f}" height="100"/>'
        )
    if case.distribution is not None:
        width, peak = most / len(case.distribution), max(float(case.distribution.max()), 1e-9)
        tops = " ".join(f"V{100 - 96 * share / peak:.1f} h{width:g}" for share in case.distribution)
        parts.append(f'<path class="bins" d="M0 100 {tops} V100 Z"/>')
    lines = [("said", case.predicted_months), ("label", case.age_months)]
    parts += [
        f'<line class="{kind}" x1="{months:.1f}" x2="{months:.1f}" y1="0" y2="100"/>'
        for kind, months in lines
        if months is not None
    ]
    return (
        f'<svg class="age-plot" viewBox="0 0 {most:g} 100" preserveAspectRatio="none" role="img" '
        f'aria-label="age distribution">{"".join(parts)}</svg>'
        '<div class="months small" aria-hidden="true">'
        f"{''.join(f'<span>{months}</span>' for months in range(0, int(most) + 1, 60))}</div>"
    )


def _shares(case: ExplainedCase, methods: Sequence[str]) -> str:
    tables = []
    for place, name in enumerate(methods):
        shares, hidden = case.shares(name), " hidden" if place else ""
        if shares is None:
            continue
        most = float(np.abs(case.maps[name]).max())
        unit = f", at most {most:.1f} months a place" if METHODS[name].unit else ""
        head = "".join(f"<th>{group}</th>" for group in GROUPS)
        body = "".join(f"<td>{100 * shares[group]:.0f} %</td>" for group in GROUPS)
        tables.append(
            f'<div data-method="{name}"{hidden}><table><caption class="small">'
            f"shares of the map{unit}</caption><tr>{head}</tr><tr>{body}</tr></table></div>"
        )
    return "".join(tables)
