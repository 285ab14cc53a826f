"""Copies the DICOM parser and the decoders of compressed pixel data from npm to the page."""

import json
import re
import shutil
from pathlib import Path
from typing import Final

from bone_age_tf.errors import PageError

_SOURCE_MAP = re.compile(r"\n//# sourceMappingURL=\S+\s*$")

_LIBRARY_LICENSES: Final = "codec_licenses.txt"
"""File with the licences of OpenJPEG and CharLS, which the packages do not contain."""

_MODULE: Final = (
    "jpeg_lossless",
    "@cornerstonejs/jpeg-lossless-decoder-js",
    "release/lossless-min.js",
)
"""Name in the page, package and file of a decoder that is a module already."""
_SCRIPTS: Final = (
    ("dicom_parser", "dicom-parser", "dist/dicomParser.min.js", "this.dicomParser"),
    ("jpeg_ls", "@cornerstonejs/codec-charls", "dist/charlswasm_decode.js", "CharLSWASM"),
    ("jpeg_2000", "@cornerstonejs/codec-openjpeg", "dist/openjpegwasm_decode.js", "OpenJPEGWASM"),
)
"""Name in the page, package, file, and what the file defines, of scripts that are no modules."""

PACKAGES: Final = (_MODULE[1], *(package for _, package, _, _ in _SCRIPTS))
"""npm packages whose code is copied."""


def copy_codecs(modules: Path, folder: Path) -> None:
    """Copies the parser and the decoders to the page.

    The page imports them when a DICOM file needs them. Scripts that are no modules are wrapped, so
    that they need neither globals of the page nor a loader.

    Args:
        modules: folder node_modules with the installed packages.
        folder: target folder, which is created.

    Raises:
        PageError: the contents of a package are not as expected.
    """
    folder.mkdir(parents=True)
    name, package, file = _MODULE
    (folder / f"{name}.js").write_text(_text(modules, package, file), "utf-8")
    for name, package, file, value in _SCRIPTS:
        text = _text(modules, package, file)
        if value.rpartition(".")[2] not in text:
            raise PageError(f"{modules / package / file}: it does not define {value}")
        wrapped = f"export default (function () {{\n{text}\nreturn {value};\n}}).call({{}});\n"
        (folder / f"{name}.js").write_text(wrapped, "utf-8")
        wasm = (modules / package / file).with_suffix(".wasm")
        if wasm.is_file():
            shutil.copyfile(wasm, folder / f"{name}.wasm")


def read_licenses(modules: Path, sources: Path) -> str:
    """Returns the licences of the packages that are copied, and of the libraries in them.

    Args:
        modules: folder node_modules with the installed packages.
        sources: folder of the page's sources.
    """
    parts = [(sources / _LIBRARY_LICENSES).read_text("utf-8")]
    for package in PACKAGES:
        described = json.loads((modules / package / "package.json").read_text("utf-8"))
        parts.append(f"{package} {described['version']}: {described['license']}\n")
        for path in sorted((modules / package).glob("LICENSE*")):
            parts.append(path.read_text("utf-8"))
    return "\n".join(parts)


def _text(modules: Path, package: str, file: str) -> str:
    """Returns the text of a script, without the address of its source map."""
    return _SOURCE_MAP.sub("\n", (modules / package / file).read_text("utf-8"))
