"""`--mode=web`: builds and serves the page that reads radiographs in the browser."""

from pathlib import Path
from typing import TYPE_CHECKING

from absl import flags

from bone_age_tf.commands import EXIT_OK, RESEARCH_USE, shared_flags

if TYPE_CHECKING:
    from bone_age_tf.web.build import Page

DEFAULT_OUTPUT = "build/web"
EXAMPLES = """\
Build the page, which sends no radiograph anywhere, and open it on this machine:
  {command} --mode=web                            (only build it: --noserve --output=FOLDER)
"""
_MEGABYTE = 1e6


def define_flags(values: flags.FlagValues) -> None:
    """Defines the mode's flags."""
    shared_flags.define_exported_model(values)
    shared_flags.define_variant(values)
    shared_flags.define_quality_check(values)
    shared_flags.text(values, "output", DEFAULT_OUTPUT, "Folder of the page.")
    shared_flags.switch(values, "serve", True, "Serve the page on this machine once it is built.")
    shared_flags.whole_number(
        values, "port", 8000, "Port of the server; 0 for one that is free.", 0, 65535
    )


def run(values: flags.FlagValues, overrides: list[tuple[str, str]]) -> int:
    """Builds the page and serves it until it is interrupted."""
    from bone_age_tf.bundle import Bundle
    from bone_age_tf.web.build import build_page
    from bone_age_tf.web.server import make_server

    bundle = Bundle.find(values.model, values.exports_dir)
    print(f"building the page with {bundle.folder}", flush=True)
    page = build_page(bundle, Path(values.output), values.variant, values.quality_check)
    print(_describe(page))
    if not values.serve:
        return EXIT_OK
    server = make_server(page.folder, values.port)
    print(f"http://localhost:{server.server_port}/   Ctrl-C ends it", flush=True)
    print(RESEARCH_USE, flush=True)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        print()
    finally:
        server.server_close()
    return EXIT_OK


def _describe(page: "Page") -> str:
    from bone_age_tf.web.compression import brotli

    sizes = f"{page.first_load_bytes / _MEGABYTE:.1f} MB"
    models = f"{page.models_bytes / _MEGABYTE:.1f} MB"
    lines = [f"page: {page.folder}, version {page.version}"]
    codecs = f"{page.codecs_bytes / _MEGABYTE:.1f} MB"
    lines.append(f"first load, compressed: {sizes}, and {models} of models")
    lines.append(f"decoders of DICOM files, kept for the first of them: {codecs}")
    if brotli is None:
        lines.append("compressed with gzip alone; the extra web (brotli) makes it a fifth smaller")
    return "\n".join(lines)
