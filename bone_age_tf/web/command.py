"""The page's command: built, then served on this machine."""

import sys
from pathlib import Path

from bone_age_tf.errors import ModelError, PageError
from bone_age_tf.inference.command import EXIT_OK, EXIT_USAGE, RESEARCH_USE
from bone_age_tf.inference.predictor import choose_version
from bone_age_tf.web.build import Page, build_page
from bone_age_tf.web.compression import brotli
from bone_age_tf.web.server import make_server

_MEGABYTE = 1e6


def web_command(
    exports_dir: Path,
    model: str | None,
    variant: str | None,
    output: Path,
    check_films: bool,
    serve: bool,
    port: int,
) -> int:
    """Builds the page and serves it until it is interrupted.

    Args:
        exports_dir: the folder with `<model>/<version>/`; the highest version is taken.
        model: the model's name; None for the one that is shipped, or else the newest.
        variant: which of the export's files; None for the most exact.
        output: folder of the page.
        check_films: whether the page refuses films and puts them right.
        serve: whether it is served, or only built.
        port: of the server; 0 for one that is free.

    Returns:
        The exit code: `EXIT_OK`, or `EXIT_USAGE` with the reason on standard error.
    """
    try:
        folder = choose_version(exports_dir, model)
        print(f"building the page with {folder}", flush=True)
        page = build_page(exports_dir, folder, output, variant, check_films)
        print(_describe(page))
        if not serve:
            return EXIT_OK
        server = make_server(page.folder, port)
    except (ModelError, PageError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_USAGE
    print(f"http://localhost:{server.server_port}/   Ctrl-C ends it", flush=True)
    print(RESEARCH_USE, flush=True)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        print()
    finally:
        server.server_close()
    return EXIT_OK


def _describe(page: Page) -> str:
    sizes = f"{page.first_load_bytes / _MEGABYTE:.1f} MB"
    models = f"{page.models_bytes / _MEGABYTE:.1f} MB"
    lines = [f"page: {page.folder}, version {page.version}"]
    lines.append(f"first load, compressed: {sizes}, and {models} of models")
    if brotli is None:
        lines.append("compressed with gzip alone; pip install brotli makes it a fifth smaller")
    return "\n".join(lines)
