"""Counters of the node, as a text for Prometheus. Standard library only."""

import collections
import os
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

PREFIX: Final = "bone_age_node_"
METRICS: Final = {
    "received_total": ("counter", "Objects that were received and kept."),
    "ignored_total": ("counter", "Objects that were answered with success and not kept, by cause."),
    "refused_total": ("counter", "Objects that were not taken, by cause."),
    "rejected_associations_total": ("counter", "Associations that were rejected, by cause."),
    "read_total": ("counter", "Radiographs that were read, by status."),
    "read_seconds_total": ("counter", "Time spent reading radiographs and writing results."),
    "repeated_total": ("counter", "Radiographs whose results existed and were sent again."),
    "sent_total": ("counter", "Objects that the peer took."),
    "answered_total": ("counter", "Radiographs whose results were all sent."),
    "answer_seconds_total": ("counter", "Time from arrival to the last result sent, summed."),
    "send_failures_total": ("counter", "Attempts to send that failed, by whether they end."),
    "dead_letters_total": ("counter", "Radiographs or results moved to dead, by kind."),
    "objects": ("gauge", "Radiographs or results in the spool, by state."),
    "oldest_seconds": ("gauge", "Age of the oldest radiograph or result that waits."),
    "free_bytes": ("gauge", "Free space of the spool's disk."),
    "resident_bytes": ("gauge", "Memory of the process."),
    "uptime_seconds": ("gauge", "Time since the start of the node."),
}
"""Type and meaning of each metric by name without the prefix."""


class Metrics:
    """Counters by name and label. For use from several threads."""

    def __init__(self) -> None:
        """Starts all counters at 0."""
        self._values: collections.Counter[tuple[str, str]] = collections.Counter()
        self._lock = threading.Lock()
        self._started = time.monotonic()

    def add(self, name: str, amount: float = 1, label: str = "") -> None:
        """Adds to a counter.

        Args:
            name: a name of `METRICS`.
            amount: what is added.
            label: text such as `status="ok"`; empty for none.
        """
        with self._lock:
            self._values[name, label] += amount  # type: ignore[assignment]

    def value(self, name: str, label: str = "") -> float:
        """Returns a counter."""
        with self._lock:
            return self._values[name, label]

    def text(self, gauges: Mapping[tuple[str, str], float]) -> str:
        """Returns all metrics in the text format of Prometheus.

        Args:
            gauges: present values by name and label.
        """
        with self._lock:
            values: dict[tuple[str, str], float] = dict(self._values)
        values |= gauges
        values["uptime_seconds", ""] = time.monotonic() - self._started
        values["resident_bytes", ""] = resident_bytes()
        lines = []
        for name, (kind, meaning) in METRICS.items():
            labels = sorted(label for metric, label in values if metric == name)
            lines += [f"# HELP {PREFIX}{name} {meaning}", f"# TYPE {PREFIX}{name} {kind}"]
            for label in labels or ([] if ", by " in meaning else [""]):
                shown = f"{{{label}}}" if label else ""
                lines.append(f"{PREFIX}{name}{shown} {values.get((name, label), 0):.10g}")
        return "\n".join(lines) + "\n"


def resident_bytes() -> int:
    """Returns the memory of this process in bytes; 0 where the system does not say."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except (OSError, IndexError, ValueError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")
