"""Receives objects by C-STORE and writes them to the spool. Needs pynetdicom (extra `node`)."""

import io
import logging
import socketserver
import threading
import time
import weakref
from typing import Any, Final

from bone_age_tf.errors import ConfigError
from bone_age_tf.extras import named_extras
from bone_age_tf.images import dicom_facts
from bone_age_tf.images.dicom_tags import Tags
from bone_age_tf.node import sop_classes
from bone_age_tf.node.log import LOGGER, describe_bug
from bone_age_tf.node.metrics import Metrics
from bone_age_tf.node.settings import NodeSettings, is_allowed
from bone_age_tf.node.spool import Spool, object_key
from bone_age_tf.node.tls import server_context

SUCCESS: Final = 0x0000
OUT_OF_RESOURCES: Final = 0xA700
DOES_NOT_MATCH: Final = 0xA900
"""Statuses of C-STORE (DICOM PS3.4, B.2.3)."""
_PDU_BYTES: Final = 131_072
"""Maximum size of a piece of an object, so that a radiograph has tens of pieces, not thousands."""
_HANDSHAKE_S: Final = 10.0
"""Maximum time of a TLS handshake."""
_FAREWELL_S: Final = 5.0
"""Time in which associations may end by themselves when the node stops."""
_LEAST_FREE_PLACES: Final = 4
"""Connections beyond the limit of associations that are answered with a rejection; more are closed
without an answer."""
_OWN_TAGS: Final = (
    *("SOPInstanceUID", "Manufacturer", "ManufacturerModelName", "SeriesDescription"),
    "SoftwareVersions",
)


class Receiver:
    """Listens for associations.

    Attributes:
        port: port on which it listens, after `start`.
    """

    def __init__(
        self, settings: NodeSettings, spool: Spool, metrics: Metrics, arrived: threading.Event
    ):
        """Prepares the listener.

        Args:
            settings: the settings.
            spool: where radiographs are written.
            metrics: what is counted.
            arrived: set when a radiograph was written.

        Raises:
            ConfigError: a file for TLS cannot be used.
            MissingExtraError: pynetdicom is not installed.
        """
        with named_extras("--mode=node"):
            from pynetdicom import AE, _config
        _config.LOG_HANDLER_LEVEL = "none"  # else every message is formatted for a log
        self.port = settings.port
        self._settings, self._spool, self._metrics = settings, spool, metrics
        self._arrived = arrived
        self._too_large: weakref.WeakSet[Any] = weakref.WeakSet()
        self._tls = None if settings.tls is None else server_context(settings.tls)
        self._server: Any = None
        self._thread: threading.Thread | None = None
        self._ae = AE(settings.ae_title)
        self._ae.maximum_associations = settings.limits.associations
        self._ae.maximum_pdu_size = _PDU_BYTES
        self._ae.require_calling_aet = list(settings.allow_ae)
        self._ae.add_supported_context(sop_classes.VERIFICATION)
        for sop_class in {*sop_classes.RADIOGRAPH_CLASSES, *sop_classes.IGNORED_CLASSES}:
            self._ae.add_supported_context(sop_class, list(sop_classes.TRANSFER_SYNTAXES))

    def start(self) -> None:
        """Begins to listen.

        Raises:
            ConfigError: the port cannot be used.
        """
        from pynetdicom import evt

        handlers: list[Any] = [
            (evt.EVT_C_STORE, self._store),
            (evt.EVT_PDU_RECV, self._limit_size),
            (evt.EVT_REJECTED, self._note_rejection),
        ]
        address = (self._settings.host, self._settings.port)
        try:
            self._server = self._ae.make_server(
                address,
                server_class=_make_server_class(self._settings, self._metrics),
                ssl_context=self._tls,
                evt_handlers=handlers,
            )
        except (OSError, OverflowError) as error:
            cause = getattr(error, "strerror", None) or error
            raise ConfigError(
                f"--host={address[0]} --port={address[1]}: cannot listen ({cause}); choose another "
                "port, or end the program that uses it"
            ) from None
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.1,), name="receiver", daemon=True
        )
        self._thread.start()

    def is_alive(self) -> bool:
        """Returns whether it listens."""
        return self._thread is not None and self._thread.is_alive()

    def stop(self) -> None:
        """Ends listening; associations have some seconds to end by themselves."""
        if self._server is None:
            return
        self._server.shutdown()
        deadline = time.monotonic() + _FAREWELL_S
        while self._server.active_associations and time.monotonic() < deadline:
            time.sleep(0.05)
        for association in self._server.active_associations:
            association.abort()

    def _store(self, event: Any) -> int:
        """Returns the status of a C-STORE; success only when the object is safely on the disk."""
        key = object_key(str(event.request.AffectedSOPInstanceUID))
        peer = _describe_peer(event.assoc)
        try:
            status, cause = self._take(event, key)
        except OSError as error:
            status, cause = OUT_OF_RESOURCES, "disk"
            LOGGER.error("spool cannot be written: errno %s", error.errno)
        except Exception as error:  # pynetdicom would log the message of the error
            status, cause = OUT_OF_RESOURCES, "error"
            LOGGER.error("error while receiving %s: %s", key, describe_bug(error))
        if status != SUCCESS:
            self._metrics.add("refused_total", label=f'cause="{cause}"')
        elif cause:
            self._metrics.add("ignored_total", label=f'cause="{cause}"')
        else:
            self._metrics.add("received_total")
            self._arrived.set()
        level = logging.INFO if status == SUCCESS else logging.WARNING
        what = "received" if status == SUCCESS and not cause else f"not kept ({cause})"
        LOGGER.log(level, "%s %s from %s, status %04X", key, what, peer, status)
        return status

    def _take(self, event: Any, key: str) -> tuple[int, str]:
        """Writes an object to the spool; returns the status and why it was not kept, if so."""
        was_too_large = event.assoc in self._too_large
        self._too_large.discard(event.assoc)
        limits = self._settings.limits
        if was_too_large or event.request.DataSet.getbuffer().nbytes > limits.object_bytes:
            return OUT_OF_RESOURCES, "size"
        if str(event.request.AffectedSOPClassUID) in sop_classes.IGNORED_CLASSES:
            return SUCCESS, "class"
        content = event.encoded_dataset()
        tags = _read_head(content)
        if tags is not None:
            if dicom_facts.is_own_result(tags):
                return SUCCESS, "own"
            stated = tags.text("SOPInstanceUID")
            if stated and object_key(stated) != key:
                return DOES_NOT_MATCH, "uid"
        if self._spool.number_waiting() >= limits.waiting:
            return OUT_OF_RESOURCES, "waiting"
        if self._spool.free_bytes() - len(content) < limits.free_bytes:
            return OUT_OF_RESOURCES, "disk"
        self._spool.store(key, content)
        return SUCCESS, ""

    def _limit_size(self, event: Any) -> None:
        """Discards what was received of an object that is too large, before the next piece."""
        message = event.assoc.dimse.message
        data = getattr(message, "data_set", None)
        if data is not None and data.tell() > self._settings.limits.object_bytes:
            data.seek(0)
            data.truncate()
            self._too_large.add(event.assoc)

    def _note_rejection(self, event: Any) -> None:
        self._metrics.add("rejected_associations_total", label='cause="negotiation"')
        LOGGER.warning(
            "association from %s rejected: AE title not in --allow_ae, or more than %d at a time",
            _describe_peer(event.assoc),
            self._settings.limits.associations,
        )


def _read_head(content: bytes) -> Tags | None:
    """Returns the attributes that show whose an object is; None if it is damaged."""
    import pydicom

    try:
        return Tags(
            pydicom.dcmread(
                io.BytesIO(content), stop_before_pixels=True, specific_tags=list(_OWN_TAGS)
            )
        )
    except Exception:  # of any class; the worker says what is wrong with it
        return None


def _describe_peer(association: Any) -> str:
    requestor = association.requestor
    return f"{requestor.ae_title.strip()!r} at {requestor.address}"


def _make_server_class(settings: NodeSettings, metrics: Metrics) -> type:
    """Returns pynetdicom's server, which handshakes in the thread of a connection and is quiet."""
    from pynetdicom.transport import ThreadedAssociationServer

    class Server(ThreadedAssociationServer):
        """Checks addresses, and does not wait for clients that are slow or do not know TLS."""

        def get_request(self) -> Any:
            sock, address = self.socket.accept()  # type: ignore[union-attr]
            if self.ssl_context is not None:
                sock = self.ssl_context.wrap_socket(
                    sock, server_side=True, do_handshake_on_connect=False
                )
            return sock, address

        def verify_request(self, request: Any, client_address: Any) -> bool:
            cause = ""
            if not is_allowed(client_address[0], settings):
                cause = "address"
            most = settings.limits.associations + _LEAST_FREE_PLACES
            if len(self.active_associations) >= most:
                cause = "connections"
            if cause:
                metrics.add("rejected_associations_total", label=f'cause="{cause}"')
                hint = "; add it to --allow_address" if cause == "address" else ""
                LOGGER.warning("connection from %s closed: %s%s", client_address[0], cause, hint)
            return not cause

        def process_request_thread(self, request: Any, client_address: Any) -> None:
            if self.ssl_context is not None:
                try:
                    request.settimeout(_HANDSHAKE_S)
                    request.do_handshake()
                    request.settimeout(None)
                except OSError as error:
                    metrics.add("rejected_associations_total", label='cause="tls"')
                    reason = getattr(error, "reason", None) or type(error).__name__
                    LOGGER.warning("TLS with %s failed: %s", client_address[0], reason)
                    self.shutdown_request(request)
                    return
            super().process_request_thread(request, client_address)

        def handle_error(self, request: Any, client_address: Any) -> None:
            LOGGER.warning("connection from %s failed", client_address[0])

        def shutdown(self) -> None:
            # pynetdicom's own method expects a server that `AE.start_server` has started.
            socketserver.BaseServer.shutdown(self)
            self.server_close()

    return Server
