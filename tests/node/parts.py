"""Parts of a node for tests: a reader without a network, a peer without a PACS, made-up objects."""

import numpy as np

from bone_age_tf.inference.predictor import Prediction
from bone_age_tf.inference.result import Result
from bone_age_tf.node.peers import Delivery, Outcome
from bone_age_tf.node.settings import Limits, NodeSettings, parse_destination
from bone_age_tf.node.spool import object_key
from dicom_files import file_bytes, make_dataset

UID = "1.2.826.0.3.77"
KEY = object_key(UID)
PERSONAL = {
    "PatientName": "Sommer^Lotte",
    "PatientID": "PID-4711",
    "AccessionNumber": "ACC-0815",
    "PatientBirthDate": "20111213",
}
STORED = np.arange(64 * 64).reshape(64, 64) % 4096


class FakeReader:
    """Reads every radiograph as 100 months; raises `error` if there is one."""

    model, calibration, rejects_unfamiliar = "fake version 1, float32", None, True

    def __init__(self, error=None, version=1):
        self.error, self.model = error, f"fake version {version}, float32"
        self.sources = []

    def read(self, radiograph):
        self.sources.append(radiograph.source)
        if self.error is not None:
            raise self.error
        return Result(
            radiograph.source,
            "female",
            {"female": Prediction(100.0, (90.0, 110.0))},
            model=self.model,
            side=radiograph.side,
            study=radiograph.study,
        )


class FakePeer:
    """Gives the deliveries in their order, then takes everything."""

    def __init__(self, *deliveries):
        self.deliveries, self.sent, self.closed = list(deliveries), [], 0

    def send(self, path):
        delivery = self.deliveries.pop(0) if self.deliveries else Delivery(Outcome.SENT)
        if delivery.outcome is Outcome.SENT:
            self.sent.append(path.read_bytes())
        return delivery

    def close(self):
        self.closed += 1


def radiograph_bytes(uid=UID, **tags):
    """The bytes of a radiograph."""
    return file_bytes(STORED, SOPInstanceUID=uid, **(PERSONAL | tags))


def radiograph_dataset(uid=UID, **tags):
    """A radiograph as pynetdicom sends it."""
    return make_dataset(STORED, SOPInstanceUID=uid, **(PERSONAL | tags))


def settings_in(folder, **values):
    """Settings of a node that listens on a free port and has little to lose."""
    usual = {
        "destination": parse_destination("PACS@127.0.0.1:9"),
        "spool": folder / "spool",
        "host": "127.0.0.1",
        "port": 0,
        "limits": Limits(free_bytes=0),
        "first_retry_s": 0.05,
        "last_retry_s": 0.2,
    }
    return NodeSettings(**(usual | values))
