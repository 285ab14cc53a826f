import os
import stat
import threading

import pytest
from parts import KEY

from bone_age_tf.errors import OutputError
from bone_age_tf.node.spool import Spool, object_key

CALLS = ("rename", "fsync", "link", "unlink", "utime")
"""Functions by which the spool changes the disk."""
pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")


def kill_at(step, after, work):
    """Runs work in a process that ends at the n-th call of `CALLS`, or after it, like kill -9.

    Nothing is cleaned up. Returns whether the work came to its end before.
    """
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 1
    left = step

    def wrap(call):
        def wrapped(*arguments, **options):
            nonlocal left
            left -= 1
            if left == 0 and not after:
                os._exit(0)
            try:
                return call(*arguments, **options)
            finally:
                if left == 0:
                    os._exit(0)

        return wrapped

    try:
        for name in CALLS:
            setattr(os, name, wrap(getattr(os, name)))
        work()
        os._exit(1)
    finally:
        os._exit(2)


def answer(spool, radiograph):
    radiograph = spool.begin(radiograph)
    with spool.new_folder() as folder:
        (folder / "result.sr.dcm").write_bytes(b"report of " + radiograph.path.read_bytes())
        spool.answer(radiograph, folder, {"digest": "d"})


def send(spool, sent):
    """Reads and sends what is in a spool; what was sent is written to a folder."""
    for radiograph in spool.received():
        answer(spool, radiograph)
    for path in spool.answers():
        (sent / "report").write_bytes((path / "result.sr.dcm").read_bytes())
        spool.finish(path)


@pytest.mark.parametrize("after", [False, True])
def test_a_radiograph_survives_kill_9_at_every_step(tmp_path, after):
    """From the moment its sender is answered: received, read, sent."""
    for step in range(1, 60):
        folder, sent = tmp_path / f"{step}", tmp_path / f"sent{step}"
        sent.mkdir()

        def work(folder=folder, sent=sent):
            spool = Spool(folder)
            spool.store(KEY, b"radiograph")
            (sent / "success").touch()
            send(spool, sent)

        ended = kill_at(step, after, work)
        spool = Spool(folder)
        send(spool, sent)
        reports = [path.read_bytes() for path in sent.glob("report")]
        assert reports == [b"report of radiograph"] or not (sent / "success").exists()
        assert spool.counts() == {"incoming": 0, "outgoing": 0, "done": len(reports), "dead": 0}
        assert not any((folder / "unfinished").iterdir())
        spool.close()
        if ended:
            break
    assert 12 < step < 59


@pytest.mark.parametrize("after", [False, True])
def test_a_dead_letter_survives_kill_9_at_every_step(tmp_path, after):
    for step in range(1, 60):
        folder = tmp_path / f"{step}"
        spool = Spool(folder)
        spool.store(KEY, b"radiograph")
        spool.close()

        def work(folder=folder):
            spool = Spool(folder)
            spool.bury_radiograph(spool.received()[0], "blank")

        ended = kill_at(step, after, work)
        spool = Spool(folder)
        for radiograph in spool.received():
            spool.bury_radiograph(radiograph, "blank")
        dead = folder / "dead" / KEY
        assert (dead / "radiograph.dcm").read_bytes() == b"radiograph"
        assert (dead / "reason.txt").read_text() == "blank\n"
        assert spool.counts() == {"incoming": 0, "outgoing": 0, "done": 0, "dead": 1}
        spool.close()
        if ended:
            break
    assert 5 < step < 59


def test_radiographs_come_in_their_order_with_the_number_of_tries(tmp_path):
    spool = Spool(tmp_path)
    keys = [object_key(str(number)) for number in range(5)]
    for key in keys:
        spool.store(key, b"radiograph")
    assert [radiograph.key for radiograph in spool.received()] == keys
    first = spool.begin(spool.begin(spool.received()[0]))
    assert (first.tries, spool.received()[0]) == (2, first)
    assert [radiograph.key for radiograph in spool.received()] == keys
    assert spool.put_back(first).tries == 0
    assert 0 <= spool.oldest_s() < 60
    (tmp_path / "incoming" / f"{keys[0]}.dcm").write_bytes(b"put back by hand")
    assert keys[0] in [radiograph.key for radiograph in spool.received() if radiograph.tries == 0]


def test_many_threads_write_at_the_same_time(tmp_path):
    spool = Spool(tmp_path)

    def write(number):
        for _ in range(10):
            spool.store(object_key(str(number)), bytes([number]))

    threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    radiographs = spool.received()
    assert len(radiographs) == 80
    assert all(
        object_key(str(radiograph.path.read_bytes()[0])) == radiograph.key
        for radiograph in radiographs
    )


def test_results_are_found_sent_again_and_pruned(tmp_path):
    spool = Spool(tmp_path)
    spool.store(KEY, b"radiograph")
    answer(spool, spool.received()[0])
    assert [facts for _, facts in spool.find_answers(KEY)] == [{"digest": "d"}]
    spool.finish(spool.answers()[0])
    spool.store(KEY, b"radiograph")
    (folder, _), radiograph = next(spool.find_answers(KEY)), spool.received()[0]
    spool.send_again(folder, radiograph)
    assert spool.counts() == {"incoming": 0, "outgoing": 1, "done": 0, "dead": 0}
    spool.finish(spool.answers()[0])
    assert (spool.prune(3600), spool.prune(-1)) == (0, 1)
    assert spool.counts()["done"] == 0


def test_refused_results_become_a_dead_letter_that_a_new_success_removes(tmp_path):
    spool = Spool(tmp_path)
    spool.store(KEY, b"radiograph")
    answer(spool, spool.received()[0])
    dead = spool.bury_answer(spool.answers()[0], "refused")
    assert sorted(path.name for path in dead.iterdir()) == [
        "answer.json",
        "reason.txt",
        "result.sr.dcm",
    ]
    dead.rename(tmp_path / "outgoing" / KEY)  # as the runbook says
    spool.store(KEY, b"radiograph")
    spool.bury_radiograph(spool.received()[0], "blank")
    spool.finish(spool.answers()[0])
    assert spool.counts() == {"incoming": 0, "outgoing": 0, "done": 1, "dead": 0}


def test_a_spool_belongs_to_one_node_and_to_its_owner(tmp_path):
    folder = tmp_path / "spool"
    spool = Spool(folder)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    with pytest.raises(OutputError, match="another node uses this folder"):
        Spool(folder)
    spool.close()
    Spool(folder).close()
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="--spool="):
        Spool(tmp_path / "file")


def test_keys_are_those_of_the_command_in_the_runbook():
    """`printf %s 1.2.3 | sha256sum | cut -c-16`."""
    assert object_key("1.2.3") == "c47f5b18b8a430e6"
