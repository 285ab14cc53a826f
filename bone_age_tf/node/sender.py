"""Sends the results in the spool to the peer, again and again until it takes or refuses them."""

import random
import threading
import time
from pathlib import Path
from typing import Final

from bone_age_tf.node.log import LOGGER, describe_bug
from bone_age_tf.node.metrics import Metrics
from bone_age_tf.node.peers import Delivery, Outcome, Peer
from bone_age_tf.node.spool import SUFFIX, Spool, arrival_ns

MOST_REFUSALS: Final = 5
"""Number of refusals after which results are moved to `dead`. A peer may refuse an object for a
while, for instance while its database is restored."""
IDLE_S: Final = 2.0
"""Time without results after which a connection is closed."""
_LEAST_SHARE: Final = 0.5
"""Least share of a delay; the rest is random, so that several nodes do not return together."""
_PRUNE_S: Final = 3600.0
"""Time between searches for results that were sent long ago."""


class Backoff:
    """Delays that double from failure to failure, with a random part."""

    def __init__(self, first_s: float, last_s: float, seed: int | None = None):
        """Starts without a failure.

        Args:
            first_s: first delay in seconds.
            last_s: maximum delay in seconds.
            seed: seed of the random part; None for one of the system.
        """
        self._first_s, self._last_s = first_s, last_s
        self._random = random.Random(seed)
        self.failures = 0

    def fail(self) -> float:
        """Counts a failure and returns the delay in seconds."""
        delay_s = min(self._last_s, self._first_s * 2.0 ** min(self.failures, 60))
        self.failures += 1
        return delay_s * self._random.uniform(_LEAST_SHARE, 1)

    def succeed(self) -> None:
        """Forgets the failures."""
        self.failures = 0


class Sender:
    """Sends results, the first to arrive first."""

    def __init__(
        self,
        spool: Spool,
        peer: Peer,
        metrics: Metrics,
        first_retry_s: float = 1.0,
        last_retry_s: float = 300.0,
        keep_s: float = float("inf"),
    ):
        """Prepares the sender.

        Args:
            spool: the results.
            peer: where they are sent.
            metrics: what is counted.
            first_retry_s: time in seconds before the first new attempt.
            last_retry_s: maximum time in seconds between attempts.
            keep_s: time in seconds for which results are kept after they were sent.
        """
        self._spool, self._peer, self._metrics = spool, peer, metrics
        self._retry_s = (first_retry_s, last_retry_s)
        self._backoff = Backoff(*self._retry_s)
        self._refusals: dict[str, Backoff] = {}
        self._not_before: dict[str, float] = {}
        self._keep_s, self._pruned = keep_s, -_PRUNE_S
        self._sent_at = time.monotonic()

    def run(self, stop: threading.Event, ready: threading.Event) -> None:
        """Sends until the node stops.

        Args:
            stop: set when the node stops.
            ready: set when there are new results.
        """
        while not stop.is_set():
            try:
                delay_s = self.step(stop)
                self._prune()
            except Exception as error:
                LOGGER.error("error while sending: %s", describe_bug(error))
                delay_s = self._backoff.fail()
            if delay_s:
                self._peer.close()
                stop.wait(delay_s)
                continue
            if time.monotonic() - self._sent_at > IDLE_S:
                self._peer.close()
            ready.wait(0.5)
            ready.clear()
        self._peer.close()

    def step(self, stop: threading.Event | None = None) -> float:
        """Sends all results that wait; returns the time in seconds to wait after a failure."""
        for folder in self._spool.answers():
            if stop is not None and stop.is_set():
                break
            if self._not_before.get(folder.name, 0) > time.monotonic():
                continue
            delivery = self._send(folder)
            if delivery.outcome is Outcome.LATER:
                delay_s = self._backoff.fail()
                self._metrics.add("send_failures_total", label='outcome="later"')
                LOGGER.warning("not sent, next attempt in %.0f s: %s", delay_s, delivery.reason)
                return delay_s
            self._backoff.succeed()
            if delivery.outcome is Outcome.REFUSED:
                self._note_refusal(folder, delivery.reason)
            else:
                self._finish(folder)
        return 0.0

    def _send(self, folder: Path) -> Delivery:
        """Sends the files of a folder up to the first that is not sent."""
        for path in sorted(folder.glob(f"*{SUFFIX}")):
            try:
                delivery = self._peer.send(path)
            except Exception as error:  # a damaged file, which must not hold up the others
                delivery = Delivery(Outcome.REFUSED, f"cannot be sent: {describe_bug(error)}")
            if delivery.outcome is not Outcome.SENT:
                return delivery
            self._metrics.add("sent_total")
            self._sent_at = time.monotonic()
        return Delivery(Outcome.SENT)

    def _finish(self, folder: Path) -> None:
        self._spool.finish(folder)
        self._forget(folder.name)
        self._metrics.add("answered_total")
        arrived_ns = arrival_ns(folder.name)
        seconds = time.time() - arrived_ns / 1e9 if arrived_ns else 0.0
        self._metrics.add("answer_seconds_total", seconds)
        LOGGER.info("%s sent, %.1f s after its arrival", folder.name[-16:], seconds)

    def _note_refusal(self, folder: Path, reason: str) -> None:
        self._metrics.add("send_failures_total", label='outcome="refused"')
        backoff = self._refusals.setdefault(folder.name, Backoff(*self._retry_s))
        delay_s = backoff.fail()
        if backoff.failures >= MOST_REFUSALS:
            self._spool.bury_answer(folder, reason)
            self._forget(folder.name)
            self._metrics.add("dead_letters_total", label='kind="results"')
            LOGGER.error("%s moved to dead: %s", folder.name[-16:], reason)
            return
        self._not_before[folder.name] = time.monotonic() + delay_s
        LOGGER.warning("%s not sent: %s", folder.name[-16:], reason)

    def _forget(self, name: str) -> None:
        self._refusals.pop(name, None)
        self._not_before.pop(name, None)

    def _prune(self) -> None:
        if time.monotonic() - self._pruned > _PRUNE_S:
            self._pruned = time.monotonic()
            removed = self._spool.prune(self._keep_s)
            if removed:
                LOGGER.info("%d results that were sent long ago removed", removed)
