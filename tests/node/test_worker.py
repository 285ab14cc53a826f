import threading

import pydicom
import pytest
from parts import KEY, UID, FakeReader, radiograph_bytes

from bone_age_tf.node.metrics import Metrics
from bone_age_tf.node.spool import Spool
from bone_age_tf.node.worker import MOST_TRIES, Worker
from bone_age_tf.schema import BRUSH_FOUNDATION

pytest.importorskip("highdicom")


@pytest.fixture
def spool(tmp_path):
    spool = Spool(tmp_path / "spool")
    yield spool
    spool.close()


def make_worker(spool, reader=None, kinds=("sr",)):
    return Worker(
        spool, reader or FakeReader(), kinds, BRUSH_FOUNDATION, Metrics(), threading.Event()
    )


def sent(spool):
    """Sends everything; returns SOP Instance UIDs by file."""
    uids = {}
    for folder in spool.answers():
        for path in folder.glob("*.dcm"):
            uids[path.name] = pydicom.dcmread(path).SOPInstanceUID
        spool.finish(folder)
    return uids


def test_a_radiograph_becomes_results_whose_uids_derive_from_it(spool):
    spool.store(KEY, radiograph_bytes())
    worker = make_worker(spool, kinds=("sr", "sc", "pdf"))
    assert worker.step()
    assert not worker.step()
    (folder,) = spool.answers()
    report = pydicom.dcmread(folder / "result.sr.dcm")
    evidence = report.CurrentRequestedProcedureEvidenceSequence[0]
    series = evidence.ReferencedSeriesSequence[0]
    assert series.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == UID
    first = sent(spool)
    assert {*first} == {"result.sr.dcm", "result.sc.dcm", "result.pdf.dcm"}
    spool.prune(-1)  # forgotten: it is read again, to the same objects
    spool.store(KEY, radiograph_bytes())
    assert make_worker(spool, kinds=("sr", "sc", "pdf")).step()
    assert sent(spool) == first
    spool.store(KEY, radiograph_bytes())
    assert make_worker(spool, FakeReader(version=2)).step()
    assert sent(spool)["result.sr.dcm"] != first["result.sr.dcm"]


def test_the_same_radiograph_is_read_once_and_a_changed_one_again(spool):
    reader = FakeReader()
    worker = make_worker(spool, reader)
    for _ in range(2):  # while the first results still wait
        spool.store(KEY, radiograph_bytes())
        worker.step()
    assert len(spool.answers()) == 1
    sent(spool)
    spool.store(KEY, radiograph_bytes())
    worker.step()
    assert (len(reader.sources), len(spool.answers())) == (1, 1)
    spool.store(KEY, radiograph_bytes(PatientSex="M"))
    worker.step()
    assert (len(reader.sources), len(spool.answers())) == (2, 2)


@pytest.mark.parametrize(
    ("content", "error", "reason"),
    [
        (radiograph_bytes(Modality="CT"), None, "modality CT"),
        (radiograph_bytes()[:2000], None, "truncated"),
        (b"nothing", None, "not a DICOM file"),
        (radiograph_bytes(StudyInstanceUID=None), None, "StudyInstanceUID is missing"),
        (radiograph_bytes(), KeyError("Sommer^Lotte"), "an error in the program: KeyError at "),
    ],
)
def test_what_cannot_be_read_is_a_dead_letter_with_its_reason(spool, content, error, reason):
    spool.store(KEY, content)
    spool.store("0" * 16, radiograph_bytes("1.2.4"))
    worker = make_worker(spool, FakeReader(error))
    worker.step()
    dead = spool.folder / "dead" / KEY
    assert (dead / "radiograph.dcm").read_bytes() == content
    text = (dead / "reason.txt").read_text()
    assert reason in text
    assert "Sommer" not in text
    assert [radiograph.key for radiograph in spool.received()] == ["0" * 16]


def test_a_radiograph_that_ends_the_node_is_not_read_for_ever(spool):
    spool.store(KEY, radiograph_bytes())
    for _ in range(MOST_TRIES):
        with pytest.raises(SystemExit):  # as a decoder that crashes
            make_worker(spool, FakeReader(SystemExit())).step()
    make_worker(spool).step()
    assert f"ended {MOST_TRIES} times" in (spool.folder / "dead" / KEY / "reason.txt").read_text()


def test_a_full_disk_is_not_the_fault_of_the_radiograph(spool, monkeypatch):
    spool.store(KEY, radiograph_bytes())

    def full(*arguments, **options):
        raise OSError(28, "No space left on device")

    worker = make_worker(spool)
    for _ in range(MOST_TRIES + 1):
        with monkeypatch.context() as patch, pytest.raises(OSError, match="No space"):
            patch.setattr("bone_age_tf.node.worker.write_reports", full)
            worker.step()
    assert worker.step()
    assert spool.counts() == {"incoming": 0, "outgoing": 1, "done": 0, "dead": 0}
