"""Jinja2 templates of reports and HTML pages; Jinja2 comes with the extra `train`.

Each template is package data beside the module that renders it. Values are escaped in HTML
templates (`.html.jinja`) and inserted as they are in Markdown templates (`.md.jinja`).
"""

import functools
from pathlib import Path
from typing import Any

import jinja2


def render(template: str, /, **values: Any) -> str:
    """Renders a template.

    Args:
        template: path relative to the package's folder, such as `explain/gallery.html.jinja`.
        **values: variables of the template; a variable that is missing raises an error.
    """
    return _environment().get_template(template).render(values)


@functools.cache
def _environment() -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=jinja2.select_autoescape(("html.jinja",)),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
