"""Serves the page over HTTP on this machine, with the necessary headers."""

import os
from functools import partial
from http import HTTPStatus
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from bone_age_tf.errors import PageError
from bone_age_tf.web.compression import ENCODINGS

HOST = "127.0.0.1"

POLICY = (
    "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; worker-src 'self'; manifest-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'"
)
"""Content security policy: no other origins and no inline code; WebAssembly may be compiled."""

HEADERS = {
    "Content-Security-Policy": POLICY,
    # Threads in WebAssembly require cross-origin isolation.
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    # Browsers revalidate files; the service worker caches them for offline use.
    "Cache-Control": "no-cache",
    "Vary": "Accept-Encoding",
}

TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".webmanifest": "application/manifest+json",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
    ".wasm": "application/wasm",
    ".tflite": "application/octet-stream",
}


def make_server(folder: Path, port: int) -> ThreadingHTTPServer:
    """Returns a server of a folder, only reachable from this machine; `serve_forever` starts it.

    Args:
        folder: folder of the page.
        port: 0 for a free port, which is then in `server_port`.

    Raises:
        PageError: the port is in use or not allowed.
    """
    try:
        return ThreadingHTTPServer((HOST, port), partial(_Handler, directory=str(folder.resolve())))
    except OSError as error:
        raise PageError(f"port {port}: {error.strerror}; name another --port, or 0") from None


class _Handler(SimpleHTTPRequestHandler):
    """Serves a folder with the page's headers, compressed if the browser accepts it."""

    protocol_version = "HTTP/1.1"
    extensions_map = TYPES | {"": "application/octet-stream"}
    _encoding = ""
    _status = HTTPStatus.OK

    def log_message(self, *_: Any) -> None:
        """Writes no log, since a visitor's requests are private."""

    def translate_path(self, path: str) -> str:
        """Returns the file of a request, or a nonexistent file for paths outside of the folder."""
        folder = Path(self.directory)
        name = unquote(urlsplit(path).path).lstrip("/")
        self._encoding = ""
        try:
            path_on_disk = (folder / name).resolve()
            path_on_disk = path_on_disk / "index.html" if path_on_disk.is_dir() else path_on_disk
            if not (path_on_disk.is_relative_to(folder) and path_on_disk.is_file()):
                return str(folder / "no such file")
        except (OSError, ValueError):  # the name is too long or contains NUL
            return str(folder / "no such file")
        for encoding, ending in ENCODINGS.items():
            compressed = path_on_disk.with_name(path_on_disk.name + ending)
            if encoding in self._accepted() and compressed.is_file():
                self._encoding = encoding
                return str(compressed)
        return str(path_on_disk)

    def guess_type(self, path: str | os.PathLike[str]) -> str:
        """Returns the type of a file; for a compressed file, the type of its content."""
        name = str(path)
        ending = ENCODINGS.get(self._encoding, "")
        return super().guess_type(name.removesuffix(ending) if ending else name)

    def send_response(self, code: int, message: str | None = None) -> None:
        """Begins a response, and stores its status for the headers."""
        self._status = HTTPStatus(code)
        super().send_response(code, message)

    def end_headers(self) -> None:
        """Adds the page's headers."""
        for name, value in HEADERS.items():
            self.send_header(name, value)
        if self._encoding and self._status == HTTPStatus.OK:
            self.send_header("Content-Encoding", self._encoding)
        super().end_headers()

    def _accepted(self) -> set[str]:
        return {
            each.split(";")[0].strip()
            for each in self.headers.get("Accept-Encoding", "").split(",")
            if not each.replace(" ", "").endswith(";q=0")
        }
