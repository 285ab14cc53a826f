"""The page's folder over HTTP on this machine, with the headers that it needs."""

from functools import partial
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

from bone_age_tf.errors import PageError
from bone_age_tf.web.compression import ENCODINGS

HOST = "127.0.0.1"

POLICY = (
    "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; worker-src 'self'; manifest-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'"
)
"""Nothing from elsewhere and nothing inline; WebAssembly may be compiled."""

HEADERS = {
    "Content-Security-Policy": POLICY,
    # Threads in WebAssembly need a page that shares its process with no other site's.
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    # Browsers ask whether it has changed; the service worker keeps it for use offline.
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
    """Returns a server of a folder on this machine alone; `serve_forever` starts it.

    Args:
        folder: of the page.
        port: 0 for one that is free, which `server_port` then tells.

    Raises:
        PageError: the port is taken or not allowed.
    """
    try:
        return ThreadingHTTPServer((HOST, port), partial(_Handler, folder.resolve()))
    except OSError as error:
        raise PageError(f"port {port}: {error.strerror}; name another --port, or 0") from None


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def __init__(self, folder: Path, *arguments):
        self._folder = folder
        super().__init__(*arguments)

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def log_message(self, *_) -> None:
        """A visitor's requests are nobody's business."""

    def _answer(self, with_body: bool) -> None:
        path = self._file()
        if path is None:
            self._begin(HTTPStatus.NOT_FOUND, {"Content-Length": "0"})
            return
        encoding, sent = self._encoded(path)
        state = sent.stat()
        headers = {"ETag": f'"{state.st_mtime_ns:x}-{state.st_size:x}"'}
        if self.headers.get("If-None-Match") == headers["ETag"]:
            self._begin(HTTPStatus.NOT_MODIFIED, headers)
            return
        headers["Content-Type"] = TYPES.get(path.suffix, "application/octet-stream")
        headers["Content-Length"] = str(state.st_size)
        if encoding:
            headers["Content-Encoding"] = encoding
        self._begin(HTTPStatus.OK, headers)
        if with_body:
            self.wfile.write(sent.read_bytes())

    def _file(self) -> Path | None:
        name = unquote(urlsplit(self.path).path).lstrip("/")
        try:
            path = (self._folder / name).resolve()
            path = path / "index.html" if path.is_dir() else path
            return path if path.is_relative_to(self._folder) and path.is_file() else None
        except (OSError, ValueError):  # a name too long, or with a NUL
            return None

    def _encoded(self, path: Path) -> tuple[str, Path]:
        accepted = {
            each.split(";")[0].strip()
            for each in self.headers.get("Accept-Encoding", "").split(",")
            if not each.replace(" ", "").endswith(";q=0")
        }
        for encoding, ending in ENCODINGS.items():
            compressed = path.with_name(path.name + ending)
            if encoding in accepted and compressed.is_file():
                return encoding, compressed
        return "", path

    def _begin(self, status: HTTPStatus, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in (HEADERS | headers).items():
            self.send_header(name, value)
        self.end_headers()
