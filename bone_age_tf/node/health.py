"""The health and metrics page of the node, on the loopback address. Standard library only."""

import http.server
import json
import threading
from collections.abc import Callable, Mapping
from typing import Any, Final

from bone_age_tf.errors import ConfigError

HOST: Final = "127.0.0.1"
HEALTH_PATH: Final = "/healthz"
METRICS_PATH: Final = "/metrics"


class HealthPage:
    """Serves `/healthz`, status 200 or 503 with JSON, and `/metrics` for Prometheus.

    Attributes:
        port: port on which it listens.
    """

    def __init__(
        self,
        port: int,
        problems: Callable[[], Mapping[str, str]],
        metrics: Callable[[], str],
    ):
        """Begins to listen.

        Args:
            port: the port; 0 for any free one.
            problems: returns what is wrong, by part of the node; empty if nothing is.
            metrics: returns the text for Prometheus.

        Raises:
            ConfigError: the port cannot be used.
        """
        try:
            self._server = http.server.ThreadingHTTPServer(
                (HOST, port), _make_handler(problems, metrics)
            )
        except (OSError, OverflowError) as error:
            cause = getattr(error, "strerror", None) or error
            raise ConfigError(
                f"--health_port={port}: cannot listen ({cause}); choose another, or 0 for no page"
            ) from None
        self.port = int(self._server.server_address[1])
        threading.Thread(
            target=self._server.serve_forever, args=(0.1,), name="health", daemon=True
        ).start()

    def close(self) -> None:
        """Ends listening."""
        self._server.shutdown()
        self._server.server_close()


def _make_handler(
    problems: Callable[[], Mapping[str, str]], metrics: Callable[[], str]
) -> type[http.server.BaseHTTPRequestHandler]:
    class Handler(http.server.BaseHTTPRequestHandler):
        """Answers GET."""

        timeout = 10

        def do_GET(self) -> None:
            """Answers a request."""
            if self.path == HEALTH_PATH:
                found = dict(problems())
                text = json.dumps({"status": "failing" if found else "ok", **found}) + "\n"
                self._answer(503 if found else 200, "application/json", text)
            elif self.path == METRICS_PATH:
                self._answer(200, "text/plain; version=0.0.4; charset=utf-8", metrics())
            else:
                self._answer(404, "text/plain", f"{HEALTH_PATH} or {METRICS_PATH}\n")

        def _answer(self, status: int, kind: str, text: str) -> None:
            content = text.encode()
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: Any) -> None:
            """Writes no log of requests."""

    return Handler
