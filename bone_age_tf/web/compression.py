"""Compresses files in advance, so that the server need not compress them for each request."""

import gzip
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

try:
    import brotli
except ImportError:
    brotli = None

SUFFIXES = (".html", ".css", ".js", ".json", ".svg", ".webmanifest", ".wasm", ".tflite")
ENCODINGS = {"br": ".br", "gzip": ".gz"}
"""File name extension of the compressed file by Content-Encoding, the smaller encoding first."""

_LEAST_BYTES = 512
_WORTHWHILE = 0.95
"""Maximum size of a compressed file, as a share of the original, for it to be kept."""
_QUALITY = 9
"""Quality of brotli; 11 makes the WASM files 13 % smaller and takes fourteen times as long."""
_THREADS = 2


def compress_files(paths: Iterable[Path], earlier: dict[Path, Path]) -> None:
    """Writes `NAME.br` (if brotli is installed) and `NAME.gz` beside each file.

    Args:
        paths: files; files with other extensions than `SUFFIXES` and small files are skipped.
        earlier: for some files, an earlier file with the same content, which may have been
            compressed.
    """
    chosen = [path for path in paths if path.suffix in SUFFIXES]
    with ThreadPoolExecutor(_THREADS) as pool:
        for _ in pool.map(lambda path: _compress(path, earlier.get(path)), chosen):
            pass


def _compress(path: Path, earlier: Path | None) -> None:
    data = path.read_bytes()
    if len(data) < _LEAST_BYTES:
        return
    for encoding, ending in ENCODINGS.items():
        if encoding == "br" and brotli is None:
            continue
        done = None if earlier is None else earlier.with_name(earlier.name + ending)
        if done is not None and done.is_file():
            small = done.read_bytes()
        elif encoding == "br":
            small = brotli.compress(data, quality=_QUALITY)
        else:
            small = gzip.compress(data, mtime=0)
        if len(small) < _WORTHWHILE * len(data):
            path.with_name(path.name + ending).write_bytes(small)


def sent_bytes(path: Path) -> int:
    """Returns the transferred bytes of a file for a browser that accepts all encodings."""
    others = (path.with_name(path.name + ending) for ending in ENCODINGS.values())
    return min(each.stat().st_size for each in (path, *others) if each.is_file())
