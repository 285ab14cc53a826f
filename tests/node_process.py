"""The node as a process of its own, for tests and benchmarks that kill it."""

import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

from orthanc import free_port

ROOT = Path(__file__).parents[1]


class NodeProcess:
    """A node with its own folder; `start` after `kill` continues with the same spool."""

    def __init__(self, folder, send_to, *arguments, port=None):
        self.folder, self.port, self.health_port = Path(folder), port or free_port(), free_port()
        self.spool, self.log = self.folder / "spool", self.folder / "node.log"
        self.process = None
        self._command = [
            *(sys.executable, "-m", "bone_age_tf", "--mode=node", f"--port={self.port}"),
            *(f"--send_to={send_to}", f"--spool={self.spool}", "--host=127.0.0.1"),
            *(f"--health_port={self.health_port}", "--min_free_mb=50", *arguments),
        ]
        self.folder.mkdir(parents=True, exist_ok=True)

    def start(self, wait=True):
        """Starts the node and, if wanted, waits until it listens."""
        path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self._command,
                stdout=log,
                stderr=log,
                cwd=self.folder,
                env=os.environ | {"PYTHONPATH": path},
            )
        if wait:
            self.wait_until(lambda: self.health()[0] == 200)
        return self

    def wait_until(self, condition, seconds=60):
        """Waits until a condition holds while the node runs."""
        deadline = time.monotonic() + seconds
        while not condition():
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.05)

    def kill(self):
        """Ends the node as a power failure would."""
        self.process.kill()
        self.process.wait()

    def terminate(self):
        """Ends the node with SIGTERM; returns its exit status."""
        self.process.terminate()
        return self.process.wait(30)

    def health(self):
        """Status and content of the health page; 0 where there is none."""
        try:
            with urllib.request.urlopen(self._url("/healthz"), timeout=5) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)
        except (urllib.error.URLError, OSError):
            return 0, {}

    def metrics(self):
        """Values of /metrics by name with labels, without the common prefix."""
        with urllib.request.urlopen(self._url("/metrics"), timeout=5) as answer:
            lines = answer.read().decode().splitlines()
        rows = (line.rpartition(" ") for line in lines if not line.startswith("#"))
        return {name.removeprefix("bone_age_node_"): float(value) for name, _, value in rows}

    def _url(self, path):
        return f"http://127.0.0.1:{self.health_port}{path}"
