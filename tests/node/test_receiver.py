import contextlib
import http.server
import io
import shutil
import socket
import ssl
import subprocess
import threading
import time
import urllib.request

import pydicom
import pytest
from parts import KEY, PERSONAL, UID, FakeReader, radiograph_dataset, settings_in

from bone_age_tf.clinical.dicom_objects import MANUFACTURER
from bone_age_tf.errors import ConfigError
from bone_age_tf.node.log import start_log
from bone_age_tf.node.metrics import Metrics
from bone_age_tf.node.node import Node
from bone_age_tf.node.peers import DicomPeer, Outcome, make_peer
from bone_age_tf.node.receiver import Receiver
from bone_age_tf.node.settings import Limits, TlsFiles, parse_destination, parse_networks
from bone_age_tf.node.spool import Spool, object_key

pynetdicom = pytest.importorskip("pynetdicom")
from pynetdicom.sop_class import (  # noqa: E402
    ComprehensiveSRStorage,
    ComputedRadiographyImageStorage,
    CTImageStorage,
    Verification,
)

SYNTAX = "1.2.840.10008.1.2.1"


@contextlib.contextmanager
def listening(folder, **values):
    settings = settings_in(folder, **values)
    spool = Spool(settings.spool)
    receiver = Receiver(settings, spool, Metrics(), threading.Event())
    receiver.start()
    try:
        yield receiver, spool
    finally:
        receiver.stop()
        spool.close()


def associate(port, title="CR1", tls=None):
    ae = pynetdicom.AE(title)
    ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = 5
    ae.add_requested_context(Verification)
    for sop_class in (ComputedRadiographyImageStorage, ComprehensiveSRStorage, CTImageStorage):
        ae.add_requested_context(sop_class, SYNTAX)
    return ae.associate("127.0.0.1", port, ae_title="BONEAGE", tls_args=tls)


def store(port, dataset, **options):
    association = associate(port, **options)
    assert association.is_established
    status = association.send_c_store(dataset).Status
    association.release()
    return status


def cause_of(receiver, name="refused_total"):
    """Causes that were counted."""
    prefix = f"bone_age_node_{name}{{cause="
    lines = receiver._metrics.text({}).splitlines()
    return [line.split('"')[1] for line in lines if line.startswith(prefix)]


def test_an_object_is_in_the_spool_when_its_sender_has_success(tmp_path):
    with listening(tmp_path) as (receiver, spool):
        association = associate(receiver.port)
        assert association.send_c_echo().Status == 0
        accepted = {one.abstract_syntax for one in association.accepted_contexts}
        assert CTImageStorage not in accepted
        assert association.send_c_store(radiograph_dataset()).Status == 0
        (radiograph,) = spool.received()
        association.release()
    stored = pydicom.dcmread(radiograph.path)
    assert (radiograph.key, stored.SOPInstanceUID, stored.PatientID) == (KEY, UID, "PID-4711")
    assert stored.file_meta.TransferSyntaxUID == SYNTAX


def test_several_associations_at_once(tmp_path):
    with listening(tmp_path) as (receiver, spool):
        associations = [associate(receiver.port) for _ in range(8)]
        for number, association in enumerate(associations):
            assert association.send_c_store(radiograph_dataset(f"1.2.3.{number}")).Status == 0
        for association in associations:
            association.release()
        assert len(spool.received()) == 8


def test_own_results_and_reports_are_answered_and_not_kept(tmp_path):
    with listening(tmp_path) as (receiver, spool):
        assert store(receiver.port, radiograph_dataset(Manufacturer=MANUFACTURER)) == 0
        report = radiograph_dataset(SOPClassUID=ComprehensiveSRStorage)
        assert store(receiver.port, report) == 0
        assert spool.received() == []
        assert cause_of(receiver, "ignored_total") == ["class", "own"]


def test_objects_beyond_a_limit_are_refused_and_later_ones_are_taken(tmp_path):
    size = Limits(object_bytes=1000, free_bytes=0)
    with listening(tmp_path / "size", limits=size) as (receiver, spool):
        association = associate(receiver.port)
        assert association.send_c_store(radiograph_dataset()).Status == 0xA700
        in_pieces = radiograph_dataset(Rows=1024, Columns=1024)
        in_pieces.PixelData = bytes(2**21)
        assert association.send_c_store(in_pieces).Status == 0xA700
        small = radiograph_dataset(Rows=1, Columns=2)
        small.PixelData = bytes(4)
        assert association.send_c_store(small).Status == 0
        association.release()
        assert (len(spool.received()), cause_of(receiver)) == (1, ["size"])
    waiting = Limits(waiting=1, free_bytes=0)
    with listening(tmp_path / "number", limits=waiting) as (receiver, spool):
        statuses = [store(receiver.port, radiograph_dataset(uid)) for uid in ("1.2.1", "1.2.2")]
        assert (statuses, len(spool.received())) == ([0, 0xA700], 1)
    with listening(tmp_path / "disk", limits=Limits(free_bytes=2**60)) as (receiver, spool):
        assert (store(receiver.port, radiograph_dataset()), spool.received()) == (0xA700, [])


def test_a_disk_that_fails_is_no_success(tmp_path, monkeypatch):
    def fail(*arguments):
        raise OSError(5, "Input/output error")

    with listening(tmp_path) as (receiver, spool):
        monkeypatch.setattr("bone_age_tf.node.spool.os.fsync", fail)
        assert (store(receiver.port, radiograph_dataset()), spool.received()) == (0xA700, [])
        assert not any((spool.folder / "unfinished").iterdir())


def test_too_many_associations_and_unknown_titles_are_rejected(tmp_path):
    limits = Limits(associations=1, free_bytes=0)
    with listening(tmp_path, limits=limits, allow_ae=("CR1", "CR2")) as (receiver, _):
        assert associate(receiver.port, "OTHER").is_rejected
        time.sleep(0.2)
        first = associate(receiver.port)
        assert (first.is_established, associate(receiver.port, "CR2").is_rejected) == (True, True)
        first.release()


def test_other_addresses_are_not_answered(tmp_path):
    networks = parse_networks(["10.1.0.0/16", "192.0.2.1"])
    with listening(tmp_path, allow_address=networks) as (receiver, _):
        assert not associate(receiver.port).is_established
        assert cause_of(receiver, "rejected_associations_total") == ["address"]
    with listening(tmp_path, allow_address=parse_networks(["127.0.0.0/8"])) as (receiver, _):
        assert store(receiver.port, radiograph_dataset()) == 0


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    """An authority and certificates of it for the node and a client, made with openssl."""
    folder = tmp_path_factory.mktemp("certificates")

    def openssl(*arguments):
        subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)

    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2")
    openssl("req", "-x509", *key, "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=authority")
    for name in ("node", "client"):
        openssl(
            *("req", "-x509", *key, "-keyout", f"{name}.key", "-out", f"{name}.pem"),
            *("-CA", "ca.pem", "-CAkey", "ca.key", "-subj", f"/CN={name}"),
            *("-addext", "subjectAltName=IP:127.0.0.1", "-addext", "basicConstraints=CA:FALSE"),
        )
    return folder


def tls_files(folder, name="node"):
    return TlsFiles(folder / f"{name}.pem", folder / f"{name}.key", folder / "ca.pem")


def test_tls_needs_a_certificate_and_does_not_wait_for_slow_clients(tmp_path, certificates):
    with listening(tmp_path, tls=tls_files(certificates)) as (receiver, spool):
        silent = socket.create_connection(("127.0.0.1", receiver.port))
        context = ssl.create_default_context(cafile=str(certificates / "ca.pem"))
        assert not associate(receiver.port, tls=(context, "127.0.0.1")).is_established
        assert not associate(receiver.port).is_established
        context.load_cert_chain(certificates / "client.pem", certificates / "client.key")
        assert store(receiver.port, radiograph_dataset(), tls=(context, "127.0.0.1")) == 0
        # The node's own client, with the peer's name checked.
        own = settings_in(
            tmp_path,
            destination=parse_destination(f"BONEAGE@127.0.0.1:{receiver.port}"),
            tls=tls_files(certificates, "client"),
            send_tls=True,
        )
        path = tmp_path / "result.dcm"
        radiograph_dataset("1.2.5", SOPClassUID="1.2.840.10008.5.1.4.1.1.7").save_as(
            path, enforce_file_format=True
        )
        peer = DicomPeer(own)
        assert peer.send(path).outcome is Outcome.SENT
        peer.close()
        assert len(spool.received()) == 2
        silent.close()
    with pytest.raises(ConfigError, match=r"--tls_certificate=.*missing\.pem"):
        settings = settings_in(tmp_path, tls=TlsFiles(tmp_path / "missing.pem", tmp_path / "key"))
        Receiver(settings, spool, Metrics(), threading.Event())


def test_a_foreign_client_with_tls(tmp_path, certificates):
    if shutil.which("echoscu") is None:
        pytest.skip("echoscu (Debian's dcmtk) is not installed")
    with listening(tmp_path, tls=tls_files(certificates)) as (receiver, _):
        files = [certificates / name for name in ("client.key", "client.pem", "ca.pem")]
        known = ["+tls", *files[:2], "+cf", files[2]]
        for options, status in ((known, 0), (["+tla", "+cf", files[2]], 1), ([], 1)):
            command = ["echoscu", *options, "-aec", "BONEAGE", "127.0.0.1", str(receiver.port)]
            done = subprocess.run(command, capture_output=True, timeout=30)
            assert bool(done.returncode) == bool(status), done.stderr


def test_a_peer_without_a_listener_and_one_without_the_class(tmp_path):
    path = tmp_path / "result.dcm"
    radiograph_dataset().save_as(path, enforce_file_format=True)
    delivery = DicomPeer(settings_in(tmp_path)).send(path)
    assert delivery.outcome is Outcome.LATER
    with listening(tmp_path) as (receiver, _):
        there = parse_destination(f"BONEAGE@127.0.0.1:{receiver.port}")
        peer = DicomPeer(settings_in(tmp_path, destination=there))
        delivery = peer.send(path)  # a CR image is no result
        peer.close()
    assert delivery.outcome is Outcome.REFUSED
    assert "Computed Radiography" in delivery.reason


def test_a_web_service_that_is_away_busy_or_refuses(tmp_path):
    pytest.importorskip("dicomweb_client")
    path = tmp_path / "result.dcm"
    radiograph_dataset().save_as(path, enforce_file_format=True)
    statuses = [503, 401, 415]

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(statuses.pop(0))
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *arguments):
            pass

    def send_to(port):
        there = parse_destination(f"http://127.0.0.1:{port}/dicom-web")
        peer = make_peer(settings_in(tmp_path, destination=there))
        outcome = peer.send(path).outcome
        peer.close()
        return outcome

    assert send_to(9) is Outcome.LATER
    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        outcomes = [send_to(server.server_address[1]) for _ in range(3)]
        server.shutdown()
    assert outcomes == [Outcome.LATER, Outcome.LATER, Outcome.REFUSED]


def test_a_node_from_radiograph_to_result_its_page_and_its_log(tmp_path):
    """The peer of the node is a second receiver, which ignores what it gets: results."""
    log = io.StringIO()
    start_log(log)
    with listening(tmp_path / "pacs") as (pacs, _):
        there = parse_destination(f"PACS@127.0.0.1:{pacs.port}")
        settings = settings_in(tmp_path, destination=there, health_port=0, kinds=("sr",))
        node = Node(settings, FakeReader())
        node.start()
        base = f"http://127.0.0.1:{node.health.port}"
        try:
            assert urllib.request.urlopen(f"{base}/healthz").read() == b'{"status": "ok"}\n'
            assert store(node.receiver.port, radiograph_dataset()) == 0
            bad = radiograph_dataset("1.2.826.9", Modality="CT", StudyDescription="Lotte Sommer")
            assert store(node.receiver.port, bad) == 0
            deadline = time.monotonic() + 20
            while node.spool.counts() != {"incoming": 0, "outgoing": 0, "done": 1, "dead": 1}:
                assert time.monotonic() < deadline, log.getvalue()
                time.sleep(0.02)
            text = urllib.request.urlopen(f"{base}/metrics").read().decode()
        finally:
            node.stop()
        assert cause_of(pacs, "ignored_total") == ["class"]
    assert 'bone_age_node_read_total{status="ok"} 1\n' in text
    assert 'bone_age_node_objects{state="dead"} 1\n' in text
    assert "\nbone_age_node_sent_total 1\n" in text
    words = log.getvalue()
    assert f"{KEY} received from 'CR1' at 127.0.0.1, status 0000" in words
    assert f"moved to dead/{object_key('1.2.826.9')}" in words
    for value in (*PERSONAL.values(), "Sommer", UID):
        assert value not in words + text


def test_a_port_that_is_used_is_an_error_with_a_remedy(tmp_path):
    with listening(tmp_path) as (receiver, spool):
        settings = settings_in(tmp_path, port=receiver.port)
        with pytest.raises(ConfigError, match=r"--port=.*choose another port"):
            Receiver(settings, spool, Metrics(), threading.Event()).start()
