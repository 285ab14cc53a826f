"""The node beside a real PACS: Debian's Orthanc, and the clients of dcmtk."""

import shutil
import subprocess
import time

import numpy as np
import pytest

import orthanc
from dicom_files import drawn_hand, file_bytes
from node_process import NodeProcess
from orthanc import Orthanc, free_port

pytest.importorskip("pynetdicom")
CLIENTS = ("storescu", "echoscu", "curl")
MISSING = orthanc.missing() or ", ".join(name for name in CLIENTS if shutil.which(name) is None)
pytestmark = pytest.mark.skipif(
    bool(MISSING), reason=f"not installed (Debian: orthanc, orthanc-dicomweb, dcmtk): {MISSING}"
)

PATIENT = {
    "PatientName": "Sommer^Lotte",
    "PatientID": "PID-4711",
    "AccessionNumber": "ACC-0815",
    "PatientBirthDate": "20111213",
}


def radiograph(number, study=None, side_px=256, **tags):
    """The bytes of a made-up hand with UIDs of its own."""
    stored = np.rint(drawn_hand(side_px) * 16).astype(np.uint16)
    uids = {
        "StudyInstanceUID": f"1.2.826.0.1.{study or number}",
        "SeriesInstanceUID": f"1.2.826.0.2.{number}",
        "SOPInstanceUID": f"1.2.826.0.3.{number}",
    }
    return file_bytes(stored, **(uids | PATIENT | tags))


def storescu(folder, port, radiographs, called="BONEAGE"):
    """Sends radiographs with dcmtk's client in one association; returns its exit status."""
    paths = [folder / f"{number}.dcm" for number in range(len(radiographs))]
    for path, content in zip(paths, radiographs, strict=True):
        path.write_bytes(content)
    command = ["storescu", "-aec", called, "-aet", "CR1", "127.0.0.1", str(port), *map(str, paths)]
    return subprocess.run(command, capture_output=True, timeout=60).returncode


def modalities(pacs, study):
    """Modalities of the objects of a study."""
    url = f"/dicom-web/instances?StudyInstanceUID={study}&includefield=00080060"
    return sorted(one["00080060"]["Value"][0] for one in pacs.get(url))


def check_a_radiograph_that_the_pacs_forwards_is_answered_in_its_study(beside, tmp_path):
    from pydicom import Dataset
    from pynetdicom import AE
    from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelFind as FIND

    pacs, node = beside
    study = "1.2.826.0.1.1"
    assert storescu(tmp_path, pacs.dicom_port, [radiograph(1)], called=orthanc.AE_TITLE) == 0
    node.wait_until(lambda: len(modalities(pacs, study)) == 3)  # QIDO
    assert modalities(pacs, study) == ["CR", "OT", "SR"]
    ae = AE()
    ae.add_requested_context(FIND)
    association = ae.associate("127.0.0.1", pacs.dicom_port)
    query = Dataset()
    query.QueryRetrieveLevel, query.StudyInstanceUID, query.Modality = "SERIES", study, ""
    query.SeriesDescription = ""
    found = [row for status, row in association.send_c_find(query, FIND) if row is not None]
    association.release()
    assert sorted(row.Modality for row in found) == ["CR", "OT", "SR"]
    descriptions = {row.get("SeriesDescription") for row in found}
    assert {"Bone age report (SR)", "Bone age picture (SC)"} <= descriptions


def check_results_that_come_back_are_answered_and_not_read(beside, tmp_path):
    pacs, node = beside
    before, count = node.metrics(), len(pacs.instances())
    own = [one["ID"] for one in pacs.get("/instances?expand") if one["IndexInSeries"] == 1]
    answer = pacs.post("/modalities/boneage/store", {"Resources": own, "Synchronous": True})
    assert answer["FailedInstancesCount"] == 0
    after = node.metrics()
    for cause in ("class", "own"):
        name = f'ignored_total{{cause="{cause}"}}'
        assert after[name] == before.get(name, 0) + 1
    time.sleep(1)
    assert len(pacs.instances()) == count


def check_foreign_clients_reach_the_node_and_a_radiograph_sent_twice_is_one_answer(
    beside, tmp_path
):
    pacs, node = beside
    echo = ["echoscu", "-aec", "BONEAGE", "127.0.0.1", str(node.port)]
    assert subprocess.run(echo, timeout=30).returncode == 0
    assert storescu(tmp_path, node.port, [radiograph(2), radiograph(2)]) == 0
    node.wait_until(lambda: node.metrics()["repeated_total"] == 1)
    node.wait_until(lambda: not any((node.spool / "outgoing").iterdir()))
    assert modalities(pacs, "1.2.826.0.1.2") == ["OT", "SR"]


def check_the_node_goes_on_after_it_was_killed(beside, tmp_path):
    pacs, node = beside
    numbers = range(10, 13)
    assert storescu(tmp_path, node.port, [radiograph(number, study=10) for number in numbers]) == 0
    node.kill()
    assert any((node.spool / "incoming").iterdir())
    # What the PACS could not forward meanwhile is sent again by the script of the how-to.
    assert storescu(tmp_path, pacs.dicom_port, [radiograph(20)], called=orthanc.AE_TITLE) == 0
    while not any(job["State"] == "Failure" for job in pacs.get("/jobs?expand")):
        time.sleep(0.05)
    node.start()
    subprocess.run([orthanc.KIT / "resend_failed.sh", pacs.url], check=True, timeout=30)
    node.wait_until(lambda: len(modalities(pacs, "1.2.826.0.1.10")) == 6)
    node.wait_until(lambda: modalities(pacs, "1.2.826.0.1.20") == ["CR", "OT", "SR"])
    node.wait_until(lambda: not any((node.spool / "outgoing").iterdir()))
    assert modalities(pacs, "1.2.826.0.1.10") == ["OT"] * 3 + ["SR"] * 3
    assert not any((node.spool / "dead").iterdir())


def check_stow_and_wado(beside, tmp_path):
    """Results by STOW, and the radiographs of a study by WADO."""
    from bone_age_tf.images.dicom_facts import Study
    from bone_age_tf.inference.cases import collect_cases
    from bone_age_tf.node.peers import Outcome, make_peer
    from bone_age_tf.node.settings import NodeSettings, parse_destination
    from bone_age_tf.radiograph import Radiograph

    pacs, _ = beside
    study = "1.2.826.0.1.1"
    destination = parse_destination(f"{pacs.url}/dicom-web/")
    peer = make_peer(NodeSettings(destination, tmp_path))
    path = tmp_path / "result.dcm"
    # Two megabytes, which the client sends in pieces.
    path.write_bytes(radiograph(30, side_px=1024, Modality="OT"))
    assert peer.send(path).outcome is Outcome.SENT
    assert modalities(pacs, "1.2.826.0.1.30") == ["OT"]
    peer.close()
    cases = collect_cases(f"{destination.url}/studies/{study}")
    assert [case.image.rpartition("/")[2] for case in cases] == ["1.2.826.0.3.1"]
    assert Radiograph.open(cases[0].path).study == Study(
        study, "1.2.826.0.2.1", "1.2.826.0.3.1", "1.2.840.10008.5.1.4.1.1.1"
    )


def check_the_log_names_no_patient_and_sigterm_ends_the_node(beside, tmp_path):
    _, node = beside
    assert node.health() == (200, {"status": "ok"})
    assert node.terminate() == 0
    log = node.log.read_text()
    assert " read in " in log and log.rstrip().endswith("node stopped")
    for value in (*PATIENT.values(), "Sommer", "1.2.826.0"):
        assert value not in log


def test_the_node_beside_a_pacs(tmp_path):
    """One test, since the PACS and the node start once and keep what they were sent."""
    port = free_port()
    pacs = Orthanc(tmp_path / "pacs", port, forward=True).start()
    node = NodeProcess(tmp_path / "node", pacs.address, "--noquality_check", port=port)
    checks = [
        check_a_radiograph_that_the_pacs_forwards_is_answered_in_its_study,
        check_results_that_come_back_are_answered_and_not_read,
        check_foreign_clients_reach_the_node_and_a_radiograph_sent_twice_is_one_answer,
        check_the_node_goes_on_after_it_was_killed,
        check_stow_and_wado,
        check_the_log_names_no_patient_and_sigterm_ends_the_node,
    ]
    try:
        node.start()
        for check in checks:
            check((pacs, node), tmp_path)
    finally:
        pacs.kill()
        node.kill()
