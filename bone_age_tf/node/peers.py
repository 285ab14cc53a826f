"""Sends result objects to a PACS, by C-STORE or by STOW. Needs the extra `node`."""

import dataclasses
import enum
from pathlib import Path
from typing import Any, Final, Protocol

from bone_age_tf.extras import named_extras
from bone_age_tf.node import sop_classes
from bone_age_tf.node.log import describe_bug
from bone_age_tf.node.settings import Destination, NodeSettings
from bone_age_tf.node.tls import client_context

_CONNECT_S: Final = 10.0
_RESPONSE_S: Final = 60.0
"""Maximum times for a connection and for the answer to an object."""
_DUPLICATE: Final = 0x0111
"""Status of an object that the peer has already (DICOM PS3.7, C.5.7): nothing is left to do."""
_WARNINGS: Final = (0x0001, 0x0107, 0x0116)
"""General statuses of success with a warning (DICOM PS3.7, annex C)."""
_OF_THE_OBJECT: Final = (400, 409, 413, 415, 422)
"""HTTP statuses that refuse an object. The others mean that the server, the address or the login is
not as it should be, which concerns all objects."""


class Outcome(enum.Enum):
    """What became of an object."""

    SENT = "sent"
    LATER = "later"
    """The peer cannot be reached or takes nothing at present."""
    REFUSED = "refused"
    """The peer answered, and does not take this object."""


@dataclasses.dataclass(frozen=True)
class Delivery:
    """An attempt to send an object.

    Attributes:
        outcome: what became of it.
        reason: why it was not sent, without values of the object.
    """

    outcome: Outcome
    reason: str = ""


class Peer(Protocol):
    """Where results are sent."""

    def send(self, path: Path) -> Delivery:
        """Sends the object of a file."""

    def close(self) -> None:
        """Ends a connection that is open."""


class DicomPeer:
    """Sends objects by C-STORE; an association stays open between objects."""

    def __init__(self, settings: NodeSettings):
        """Prepares associations.

        Raises:
            ConfigError: a file for TLS cannot be used.
            MissingExtraError: pynetdicom is not installed.
        """
        with named_extras("--mode=node"):
            from pynetdicom import AE
        self._destination = settings.destination
        self._tls = client_context(settings.tls) if settings.send_tls and settings.tls else None
        self._association: Any = None
        self._ae = AE(settings.ae_title)
        self._ae.connection_timeout = self._ae.acse_timeout = _CONNECT_S
        self._ae.dimse_timeout = self._ae.network_timeout = _RESPONSE_S
        for sop_class in sop_classes.RESULT_CLASSES:
            self._ae.add_requested_context(sop_class, list(sop_classes.SENT_SYNTAXES))

    def send(self, path: Path) -> Delivery:
        """Sends an object; opens an association if there is none."""
        from pydicom import dcmread

        if self._association is None or not self._association.is_established:
            reason = self._open()
            if reason:
                return Delivery(Outcome.LATER, reason)
        dataset = dcmread(path)
        try:
            response = self._association.send_c_store(dataset)
        except ValueError:
            # pynetdicom raises this error without sending if no presentation context fits.
            name = dataset.SOPClassUID.name
            return Delivery(Outcome.REFUSED, f"the peer does not take the SOP class {name}")
        except RuntimeError:
            response = {}
        if "Status" not in response:
            self._abort()
            return Delivery(Outcome.LATER, "no answer to C-STORE, or the connection was lost")
        return of_dimse_status(response.Status)

    def close(self) -> None:
        """Releases the association."""
        if self._association is not None and self._association.is_established:
            self._association.release()
        self._association = None

    def _open(self) -> str:
        """Opens an association; returns why that failed, or an empty text."""
        peer = self._destination
        tls = None if self._tls is None else (self._tls, peer.host)
        try:
            association = self._ae.associate(
                peer.host, peer.port, ae_title=peer.ae_title, tls_args=tls
            )
        except Exception as error:  # a host that has no address, for instance
            return f"no connection ({describe_bug(error)})"
        if association.is_established:
            self._association = association
            return ""
        self._association = None
        if association.is_rejected:
            return "the peer rejected the association: it may not know this AE title or address"
        return "no connection, or no answer to the association request"

    def _abort(self) -> None:
        if self._association is not None and self._association.is_established:
            self._association.abort()
        self._association = None


class DicomwebPeer:
    """Sends objects by STOW-RS. A login is taken from ~/.netrc."""

    def __init__(self, settings: NodeSettings):
        """Prepares a session.

        Raises:
            MissingExtraError: dicomweb-client is not installed.
        """
        with named_extras("--send_to with the address of a DICOMweb service"):
            import requests
            from dicomweb_client.web import DICOMwebClient
        session = requests.Session()
        if settings.tls is not None and settings.send_tls:
            session.cert = (str(settings.tls.certificate), str(settings.tls.key))
            if settings.tls.authority is not None:
                session.verify = str(settings.tls.authority)
        self._session = session
        self._client = DICOMwebClient(
            settings.destination.url, session=session, timeout=(_CONNECT_S, _RESPONSE_S)
        )
        self._client.set_http_retry_params(retry=False)

    def send(self, path: Path) -> Delivery:
        """Sends an object."""
        import requests
        from pydicom import dcmread

        try:
            answer = self._client.store_instances([dcmread(path)])
        except requests.HTTPError as error:
            return of_http_status(0 if error.response is None else error.response.status_code)
        except requests.RequestException as error:
            return Delivery(Outcome.LATER, f"no connection ({type(error).__name__})")
        failed = answer.get("FailedSOPSequence") or ()
        codes = [int(item.get("FailureReason") or 0) for item in failed]
        return of_dimse_status(codes[0]) if codes else Delivery(Outcome.SENT)

    def close(self) -> None:
        """Closes the connections of the session."""
        self._session.close()


def make_peer(settings: NodeSettings) -> Peer:
    """Returns the peer of the destination.

    Raises:
        ConfigError: a file for TLS cannot be used.
        MissingExtraError: a package is not installed.
    """
    destination: Destination = settings.destination
    return DicomwebPeer(settings) if destination.url else DicomPeer(settings)


def of_dimse_status(status: int) -> Delivery:
    """Returns what a status of C-STORE means (DICOM PS3.4, B.2.3)."""
    if status in (0, _DUPLICATE, *_WARNINGS) or status >> 12 == 0xB:
        return Delivery(Outcome.SENT)
    if status >> 8 == 0xA7:
        return Delivery(Outcome.LATER, f"the peer is out of resources (status {status:04X})")
    return Delivery(Outcome.REFUSED, f"the peer refused the object (status {status:04X})")


def of_http_status(status: int) -> Delivery:
    """Returns what an HTTP status of STOW means."""
    outcome = Outcome.REFUSED if status in _OF_THE_OBJECT else Outcome.LATER
    return Delivery(outcome, f"the server answered with HTTP status {status}")
