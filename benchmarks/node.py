"""The node beside a PACS: many radiographs at once, while both are killed again and again.

python benchmarks/node.py
python benchmarks/node.py --radiographs=100 --kills=5 --steady=40 --one_a_second=20

Needs Debian's orthanc and orthanc-dicomweb, and the extra `node`. Radiographs are made-up hands
with UIDs of their own. Three parts:

1. `--associations` clients send `--radiographs` while the node is killed with SIGKILL `--kills`
   times, at random moments, and the PACS once, for `--pacs_down_s` seconds. A client sends a
   radiograph again until the node has answered it with success. Then the PACS is asked what it
   holds.
2. `--steady` radiographs as fast as they are taken: radiographs a second, and the memory of the
   node.
3. `--one_a_second` radiographs, one a second: the time from arrival to the last result sent.
"""

import argparse
import collections
import concurrent.futures
import random
import re
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from dicom_files import drawn_hand, make_dataset
from node_process import NodeProcess
from orthanc import Orthanc, free_port, missing

_WAIT_S = 3600.0
_LATENCY = re.compile(r"(\w{16}) sent, ([\d.]+) s after its arrival")


class Radiographs:
    """Sends made-up radiographs over several associations."""

    def __init__(self, port: int, associations: int, size_px: int):
        """Draws the hand that all radiographs show."""
        self._port, self._associations = port, associations
        self._stored = np.rint(drawn_hand(size_px) * 16).astype(np.uint16)
        self.attempts = 0

    def send(self, part: int, number: int, rate: float = 0.0) -> None:
        """Sends radiographs and returns when the node has answered all with success.

        Args:
            part: part of the benchmark, a number of the UIDs.
            number: number of radiographs.
            rate: radiographs a second, all associations together; 0 for as many as are taken.
        """
        began = time.monotonic()

        def client(place: int) -> None:
            association = None
            for radiograph in range(place, number, self._associations):
                if rate:
                    time.sleep(max(0.0, began + radiograph / rate - time.monotonic()))
                association = self._send(association, part, radiograph)
            if association is not None:
                association.release()

        with concurrent.futures.ThreadPoolExecutor(self._associations) as pool:
            for done in [pool.submit(client, place) for place in range(self._associations)]:
                done.result()

    def _send(self, association: Any, part: int, radiograph: int) -> Any:
        """Sends a radiograph until it is answered with success; returns the association."""
        dataset = make_dataset(
            self._stored,
            StudyInstanceUID=f"1.2.826.0.1.{part}.{radiograph}",
            SeriesInstanceUID=f"1.2.826.0.2.{part}.{radiograph}",
            SOPInstanceUID=uid_of(part, radiograph),
        )
        while True:
            if association is None or not association.is_established:
                association = self._open()
            if association.is_established:
                self.attempts += 1
                try:
                    if association.send_c_store(dataset).get("Status", 1) == 0:
                        return association
                except (RuntimeError, ValueError):  # the connection was lost
                    association = None
            time.sleep(0.3)

    def _open(self) -> Any:
        from pynetdicom import AE

        ae = AE("BENCHMARK")
        ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = 30
        ae.add_requested_context("1.2.840.10008.5.1.4.1.1.1", "1.2.840.10008.1.2.1")
        return ae.associate("127.0.0.1", self._port, ae_title="BONEAGE")


def uid_of(part: int, radiograph: int) -> str:
    """Returns the SOP Instance UID of a radiograph."""
    return f"1.2.826.0.3.{part}.{radiograph}"


def kill_again_and_again(
    node: NodeProcess, pacs: Orthanc, kills: int, most_s: float, down_s: float, seed: int
) -> float:
    """Kills the node, and once the PACS; returns the time in seconds that this took."""
    random_moments = random.Random(seed)
    began = time.monotonic()
    pacs_at = random_moments.randrange(max(1, kills))
    for number in range(kills):
        if number == pacs_at:
            pacs.kill()
            threading.Timer(down_s, pacs.start).start()
        # Also while it starts.
        time.sleep(random_moments.uniform(0.5, most_s))
        node.kill()
        node.start(wait=False)
    return time.monotonic() - began


def wait_until_empty(node: NodeProcess, note: Callable[[], None] = lambda: None) -> None:
    """Waits until nothing is left in the spool."""
    deadline = time.monotonic() + _WAIT_S
    while any(any((node.spool / state).iterdir()) for state in ("incoming", "outgoing")):
        if time.monotonic() > deadline:
            raise TimeoutError(f"{node.spool}: not empty after {_WAIT_S:.0f} s")
        note()
        time.sleep(0.2)


def results_by_radiograph(pacs: Orthanc) -> dict[str, collections.Counter[str]]:
    """Returns how many SR and SC objects the PACS holds for each radiograph, by its UID."""
    results: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
    for study in pacs.get("/studies?expand"):
        uid = study["MainDicomTags"]["StudyInstanceUID"].replace(".0.1.", ".0.3.")
        for series in study["Series"]:
            found = pacs.get(f"/series/{series}")
            results[uid][found["MainDicomTags"]["Modality"]] += len(found["Instances"])
    return results


def print_results(pacs: Orthanc, node: NodeProcess, radiographs: int) -> bool:
    """Prints what the PACS holds; returns whether nothing is lost and nothing is there twice."""
    results = results_by_radiograph(pacs)
    lost = [
        radiograph for radiograph in range(radiographs) if not results.get(uid_of(1, radiograph))
    ]
    exact = sum(
        results[uid_of(1, radiograph)] == {"SR": 1, "OT": 1} for radiograph in range(radiographs)
    )
    dead = len([*(node.spool / "dead").iterdir()])
    print(f"radiographs lost: {len(lost)} of {radiographs}; dead letters: {dead}")
    print(
        f"radiographs with exactly one SR and one SC in the PACS: {exact} of {radiographs}",
        flush=True,
    )
    return not lost and exact == radiographs and not dead


def latencies_s(node: NodeProcess, last: int) -> list[float]:
    """Returns the times from arrival to the last result sent, of the last ones in the log."""
    return [float(seconds) for _, seconds in _LATENCY.findall(node.log.read_text())][-last:]


def megabytes(values: Sequence[float] | np.ndarray) -> str:
    """Returns the mean of numbers of bytes in MB."""
    return f"{statistics.mean(values) / 1e6:.0f} MB"


def measure(node: NodeProcess, radiographs: Radiographs, options: argparse.Namespace) -> None:
    """Prints throughput, latency and memory of a node that is left alone."""
    node.kill()
    node.start()
    radiographs.send(2, 5)  # the first radiograph loads the libraries
    wait_until_empty(node)
    memory: list[float] = []

    def note() -> None:
        memory.append(node.metrics()["resident_bytes"])

    began = time.monotonic()
    radiographs.send(3, options.steady)
    taken_s = time.monotonic() - began
    wait_until_empty(node, note)
    seconds = time.monotonic() - began
    print(f"radiographs taken a second: {options.steady / taken_s:.1f}")
    print(f"radiographs answered a second: {options.steady / seconds:.2f} (n = {options.steady})")
    radiographs.send(4, options.one_a_second, rate=1.0)
    wait_until_empty(node, note)
    times = sorted(latencies_s(node, options.one_a_second))
    slow_s = times[int(0.95 * (len(times) - 1))]
    print(
        f"time from arrival to the last result sent, at one radiograph a second: median "
        f"{statistics.median(times):.2f} s, 95 % within {slow_s:.2f} s (n = {len(times)})"
    )
    parts = [part for part in np.array_split(memory, 6) if len(part)]
    print(
        f"memory in sixths of the time: {', '.join(map(megabytes, parts))}; "
        f"{max(memory) / 1e6:.0f} MB at most",
        flush=True,
    )


def main() -> int:
    """Runs the parts and prints their figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--radiographs", type=int, default=500)
    parser.add_argument("--associations", type=int, default=8)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--most_s", type=float, default=45.0, help="longest time between kills")
    parser.add_argument(
        "--rate", type=float, default=1.0, help="radiographs sent a second in part 1"
    )
    parser.add_argument("--pacs_down_s", type=float, default=60.0)
    parser.add_argument("--steady", type=int, default=100)
    parser.add_argument("--one_a_second", type=int, default=60)
    parser.add_argument("--size_px", type=int, default=1024)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    if missing():
        print(f"not installed: {missing()}", file=sys.stderr)
        return 2
    print(f"{vars(options)}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        port = free_port()
        pacs = Orthanc(Path(folder) / "pacs", port).start()
        node = NodeProcess(Path(folder) / "node", pacs.address, port=port).start()
        radiographs = Radiographs(port, options.associations, options.size_px)
        try:
            began = time.monotonic()
            with concurrent.futures.ThreadPoolExecutor(1) as pool:
                sending = pool.submit(radiographs.send, 1, options.radiographs, options.rate)
                killing_s = kill_again_and_again(
                    *(node, pacs, options.kills, options.most_s),
                    *(options.pacs_down_s, options.seed),
                )
                sending.result()
            node.wait_until(lambda: node.health()[0] == 200)
            wait_until_empty(node)
            print(
                f"part 1: {time.monotonic() - began:.0f} s; {options.kills} kills in "
                f"{killing_s:.0f} s; {radiographs.attempts} C-STORE requests for "
                f"{options.radiographs} radiographs"
            )
            is_right = print_results(pacs, node, options.radiographs)
            measure(node, radiographs, options)
        finally:
            node.kill()
            pacs.kill()
    return 0 if is_right else 1


if __name__ == "__main__":
    sys.exit(main())
