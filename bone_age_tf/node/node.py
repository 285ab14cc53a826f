"""The node: its parts, their start and their end."""

import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import TYPE_CHECKING

from bone_age_tf.node.health import HealthPage
from bone_age_tf.node.log import LOGGER, describe_bug
from bone_age_tf.node.metrics import Metrics
from bone_age_tf.node.peers import make_peer
from bone_age_tf.node.receiver import Receiver
from bone_age_tf.node.sender import Sender
from bone_age_tf.node.settings import NodeSettings
from bone_age_tf.node.spool import Spool
from bone_age_tf.node.worker import Worker

if TYPE_CHECKING:
    from bone_age_tf.reader import Reader


class Node:
    """Receives, reads and sends, each in a thread of its own.

    Attributes:
        settings: the settings.
        spool: the state on the disk.
        metrics: what is counted.
        receiver: what listens.
        health: the health page, None without one or before `start`.
    """

    def __init__(self, settings: NodeSettings, reader: "Reader"):
        """Opens the spool.

        Args:
            settings: the settings.
            reader: what reads radiographs.

        Raises:
            ConfigError: a file for TLS cannot be used.
            MissingExtraError: a package of the extra `node` is not installed.
            OutputError: the spool cannot be written, or another node uses it.
        """
        self.settings, self.metrics = settings, Metrics()
        self._stopping = threading.Event()
        self._arrived, self._answered = threading.Event(), threading.Event()
        peer = make_peer(settings)
        self.spool = Spool(settings.spool)
        self.receiver = Receiver(settings, self.spool, self.metrics, self._arrived)
        self._worker = Worker(
            self.spool,
            reader,
            settings.kinds,
            settings.sds_reference,
            self.metrics,
            self._answered,
        )
        self._sender = Sender(
            self.spool,
            peer,
            self.metrics,
            settings.first_retry_s,
            settings.last_retry_s,
            settings.keep_s,
        )
        self.health: HealthPage | None = None
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        """Starts all parts.

        Raises:
            ConfigError: a port cannot be used.
        """
        if self.settings.health_port is not None:
            self.health = HealthPage(self.settings.health_port, self.problems, self._metrics_text)
        self.receiver.start()
        self._threads = [
            self._thread("worker", lambda: self._worker.run(self._stopping, self._arrived)),
            self._thread("sender", lambda: self._sender.run(self._stopping, self._answered)),
        ]
        counts = ", ".join(f"{number} {state}" for state, number in self.spool.counts().items())
        LOGGER.info(
            "node %s listens on port %d and sends to %s; spool: %s",
            self.settings.ae_title,
            self.receiver.port,
            self.settings.destination.label,
            counts,
        )

    def stop(self) -> None:
        """Ends all parts: associations and the radiograph that is being read come to their end."""
        self._stopping.set()
        self.receiver.stop()
        for event in (self._arrived, self._answered):
            event.set()
        for thread in self._threads:
            thread.join()
        if self.health is not None:
            self.health.close()
        self.spool.close()
        LOGGER.info("node stopped")

    def run(self) -> None:
        """Runs until the process receives SIGTERM or SIGINT.

        Raises:
            ConfigError: a port cannot be used.
        """

        def stop(number: int, frame: FrameType | None) -> None:
            self._stopping.set()

        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, stop)
        try:
            self.start()
            while not self._stopping.wait(0.5):
                pass
        finally:
            self.stop()

    def problems(self) -> dict[str, str]:
        """Returns what is wrong, by part of the node; empty if all parts work.

        A peer that cannot be reached is no problem of the node; see the metrics.
        """
        problems = {}
        if not self.receiver.is_alive():
            problems["receiver"] = "not listening"
        problems |= {thread.name: "stopped" for thread in self._threads if not thread.is_alive()}
        if self.spool.free_bytes() < self.settings.limits.free_bytes:
            problems["disk"] = "less free space than --min_free_mb"
        return problems

    def _metrics_text(self) -> str:
        gauges = {
            ("objects", f'state="{state}"'): float(number)
            for state, number in self.spool.counts().items()
        }
        gauges["oldest_seconds", ""] = self.spool.oldest_s()
        gauges["free_bytes", ""] = float(self.spool.free_bytes())
        return self.metrics.text(gauges)

    def _thread(self, name: str, work: Callable[[], None]) -> threading.Thread:
        def run() -> None:
            try:
                work()
            except BaseException as error:  # shown by the health page, which restarts the node
                LOGGER.critical("%s ended: %s", name, describe_bug(error))

        thread = threading.Thread(target=run, name=name, daemon=True)
        thread.start()
        return thread
