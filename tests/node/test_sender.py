import json

import pytest
from parts import FakePeer

from bone_age_tf.node.metrics import Metrics
from bone_age_tf.node.peers import Delivery, Outcome, of_dimse_status, of_http_status
from bone_age_tf.node.sender import MOST_REFUSALS, Backoff, Sender
from bone_age_tf.node.spool import Spool, object_key

LATER = Delivery(Outcome.LATER, "no connection")
REFUSED = Delivery(Outcome.REFUSED, "refused (status A900)")
SENT = Delivery(Outcome.SENT)


@pytest.fixture
def spool(tmp_path):
    """A spool with the results of three radiographs, an SC and an SR each."""
    spool = Spool(tmp_path)
    for number in range(3):
        spool.store(object_key(str(number)), b"radiograph")
        radiograph = spool.received()[0]
        with spool.new_folder() as folder:
            for kind in ("sc", "sr"):
                (folder / f"result.{kind}.dcm").write_bytes(f"{kind} {number}".encode())
            spool.answer(radiograph, folder, {})
    yield spool
    spool.close()


def test_results_are_sent_in_their_order(spool):
    peer, metrics = FakePeer(), Metrics()
    assert Sender(spool, peer, metrics).step() == 0
    assert peer.sent == [
        f"{kind} {number}".encode() for number in range(3) for kind in ("sc", "sr")
    ]
    assert spool.counts() == {"incoming": 0, "outgoing": 0, "done": 3, "dead": 0}
    assert (metrics.value("sent_total"), metrics.value("answered_total")) == (6, 3)


def test_a_peer_that_cannot_be_reached_is_tried_again_and_nothing_is_lost(spool):
    peer = FakePeer(SENT, LATER, LATER, LATER)
    sender = Sender(spool, peer, Metrics(), 1.0, 300.0)
    delays = [sender.step() for _ in range(3)]
    assert all(delay >= 0.5 * 2**n for n, delay in enumerate(delays))
    assert spool.counts()["outgoing"] == 3
    assert sender.step() == 0
    assert (spool.counts()["done"], len({*peer.sent})) == (3, 6)


def test_refused_results_do_not_hold_up_others_and_end_as_dead_letters(spool):
    class Refusing(FakePeer):
        def send(self, path):
            return REFUSED if b" 1" in path.read_bytes() else super().send(path)

    sender = Sender(spool, Refusing(), Metrics(), 0.0, 0.0)
    for _ in range(MOST_REFUSALS):
        assert sender.step() == 0
    assert spool.counts() == {"incoming": 0, "outgoing": 0, "done": 2, "dead": 1}
    dead = spool.folder / "dead" / object_key("1")
    assert (dead / "reason.txt").read_text() == "refused (status A900)\n"
    assert json.loads((dead / "answer.json").read_text()) == {}


def test_an_object_that_cannot_be_sent_does_not_hold_up_others(spool):
    class Failing(FakePeer):
        def send(self, path):
            if b" 0" in path.read_bytes():
                raise ValueError("Sommer^Lotte")
            return super().send(path)

    sender = Sender(spool, Failing(), Metrics(), 0.0, 0.0)
    for _ in range(MOST_REFUSALS):
        sender.step()
    reason = (spool.folder / "dead" / object_key("0") / "reason.txt").read_text()
    assert "ValueError" in reason
    assert "Sommer" not in reason
    assert spool.counts()["done"] == 2


def test_delays_double_to_a_limit_and_differ():
    backoff = Backoff(1.0, 60.0, seed=0)
    delays = [backoff.fail() for _ in range(200)]
    assert all(0.5 * min(60, 2**n) <= delay <= min(60, 2**n) for n, delay in enumerate(delays))
    assert len({*delays}) > 190
    backoff.succeed()
    assert backoff.fail() <= 1


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        (0x0000, Outcome.SENT),
        (0xB000, Outcome.SENT),
        (0xB007, Outcome.SENT),
        (0x0111, Outcome.SENT),
        (0xA700, Outcome.LATER),
        (0xA900, Outcome.REFUSED),
        (0xC000, Outcome.REFUSED),
        (0x0122, Outcome.REFUSED),
    ],
)
def test_what_statuses_of_c_store_mean(status, outcome):
    assert of_dimse_status(status).outcome is outcome


@pytest.mark.parametrize(
    ("status", "outcome"),
    [(503, Outcome.LATER), (401, Outcome.LATER), (404, Outcome.LATER), (415, Outcome.REFUSED)],
)
def test_what_http_statuses_mean(status, outcome):
    assert of_http_status(status).outcome is outcome
