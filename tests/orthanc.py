"""A PACS for tests and benchmarks: Debian's Orthanc on free ports of the loopback address."""

import json
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path

BINARY = shutil.which("Orthanc") or shutil.which("Orthanc", path="/usr/sbin:/usr/local/sbin")
AE_TITLE = "ORTHANC"
_PLUGIN_FOLDERS = ("/usr/share/orthanc/plugins", "/usr/lib/orthanc/plugins", "/usr/lib/orthanc")
DICOMWEB = next(
    (
        path
        for folder in _PLUGIN_FOLDERS
        for path in sorted(Path(folder).glob("libOrthancDicomWeb.so*"))
    ),
    None,
)

KIT = Path(__file__).parents[1] / "exports/serving/node"
"""Files for Orthanc that the how-to names."""


def missing():
    """What the PACS lacks to be started; empty if nothing."""
    if BINARY is None:
        return "Orthanc"
    return "" if DICOMWEB else "the DICOMweb plugin"


def free_port():
    """A port on which nothing listens."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


class Orthanc:
    """A PACS with its own folder; `start` after `kill` continues with the same database."""

    def __init__(self, folder, node_port, forward=False):
        self.folder = Path(folder)
        self.http_port, self.dicom_port = free_port(), free_port()
        self.url = f"http://127.0.0.1:{self.http_port}"
        self.address = f"{AE_TITLE}@127.0.0.1:{self.dicom_port}"
        self._process = None
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "orthanc_forward.lua").write_bytes(
            (KIT / "orthanc_forward.lua").read_bytes()
        )
        config = json.loads((KIT / "orthanc.json").read_text())
        config |= {
            "HttpPort": self.http_port,
            "DicomPort": self.dicom_port,
            "Plugins": [str(DICOMWEB)],
        }
        config["DicomModalities"]["boneage"][2] = node_port
        if not forward:
            config["LuaScripts"] = []
        (self.folder / "orthanc.json").write_text(json.dumps(config))

    def start(self):
        """Starts the PACS and waits until it answers."""
        log = (self.folder / "log.txt").open("ab")
        self._process = subprocess.Popen(
            [BINARY, str(self.folder / "orthanc.json")],
            stdout=log,
            stderr=log,
            cwd=self.folder,
        )
        log.close()
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            try:
                self.get("/system")
                return self
            except (OSError, urllib.error.URLError):
                assert self._process.poll() is None, (self.folder / "log.txt").read_text()
                time.sleep(0.05)
        raise TimeoutError((self.folder / "log.txt").read_text())

    def kill(self):
        """Ends the PACS at once."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def get(self, path):
        """The JSON answer to a GET request of the REST interface."""
        with urllib.request.urlopen(self.url + path, timeout=20) as answer:
            return json.load(answer)

    def post(self, path, content):
        """The JSON answer to a POST request; the content is JSON or the bytes of a file."""
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        with urllib.request.urlopen(self.url + path, data=body, timeout=20) as answer:
            return json.load(answer)

    def instances(self):
        """The main tags of all objects, with the modality of their series."""
        series = {one["ID"]: one["MainDicomTags"] for one in self.get("/series?expand")}
        return [
            one["MainDicomTags"] | {"Modality": series[one["ParentSeries"]].get("Modality", "")}
            for one in self.get("/instances?expand")
        ]
