"""Settings of the node, and the texts of flags from which they are made."""

import dataclasses
import ipaddress
import re
import socket
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from bone_age_tf import schema
from bone_age_tf.errors import ConfigError

SENT_KINDS: Final = ("sr", "sc", "pdf")
"""Kinds of reports that are DICOM objects and can be sent."""
_AE_TITLE: Final = re.compile(r"[ -\[\]-~]{1,16}")
"""Application entity titles: 1 to 16 characters of ASCII without backslash (PS3.5, 6.2)."""
_DICOM_PEER: Final = re.compile(r"(?P<title>[^@]+)@(?P<host>\[[^\]]+\]|[^:@\[\]]+):(?P<port>\d+)")
_WEB_SCHEMES: Final = ("http", "https")

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclasses.dataclass(frozen=True)
class Destination:
    """Where results are sent.

    Attributes:
        host: name or address of the peer.
        port: its port.
        ae_title: its AE title; empty for DICOMweb.
        url: address of its DICOMweb service; empty for DICOM.
    """

    host: str
    port: int
    ae_title: str = ""
    url: str = ""

    @property
    def label(self) -> str:
        """The destination in messages."""
        return self.url or f"{self.ae_title}@{self.host}:{self.port}"


@dataclasses.dataclass(frozen=True)
class TlsFiles:
    """Files for TLS.

    Attributes:
        certificate: PEM file with the node's certificate, and those of the authorities between.
        key: PEM file with its private key.
        authority: PEM file with the authorities that peers must be certified by; None to accept
            every client, and to trust the authorities of the system.
    """

    certificate: Path
    key: Path
    authority: Path | None = None


@dataclasses.dataclass(frozen=True)
class Limits:
    """Limits beyond which objects and associations are refused.

    Attributes:
        object_bytes: maximum size of an object.
        associations: maximum number of associations at the same time.
        waiting: maximum number of radiographs and results that wait in the spool.
        free_bytes: minimum free space of the spool's disk.
    """

    object_bytes: int = 256 * 2**20
    associations: int = 16
    waiting: int = 10_000
    free_bytes: int = 2**30


@dataclasses.dataclass(frozen=True)
class NodeSettings:
    """Settings of a node.

    Attributes:
        destination: where results are sent.
        spool: folder of the spool.
        ae_title: AE title of the node.
        host: address on which it listens; empty for all.
        port: port on which it listens; 0 for any free one.
        kinds: kinds of reports that are sent, some of `SENT_KINDS`.
        sds_reference: reference of the standard deviation scores.
        allow_ae: AE titles that may send; empty for all.
        allow_address: networks that may send; empty for this machine and the destination.
        tls: files for TLS; None to listen without.
        send_tls: whether results are sent with TLS too.
        limits: see `Limits`.
        keep_s: time in seconds for which results are kept after they were sent.
        health_port: port of the health page on the loopback address; None for no page, 0 for any
            free port.
        first_retry_s: time in seconds before the first new attempt to send.
        last_retry_s: maximum time in seconds between attempts.
    """

    destination: Destination
    spool: Path
    ae_title: str = "BONEAGE"
    host: str = ""
    port: int = 11112
    kinds: tuple[str, ...] = ("sr", "sc")
    sds_reference: str = schema.BRUSH_FOUNDATION
    allow_ae: tuple[str, ...] = ()
    allow_address: tuple[Network, ...] = ()
    tls: TlsFiles | None = None
    send_tls: bool = False
    limits: Limits = Limits()
    keep_s: float = 30 * 86400.0
    health_port: int | None = None
    first_retry_s: float = 1.0
    last_retry_s: float = 300.0


def parse_ae_title(flag: str, text: str) -> str:
    """Returns an AE title.

    Raises:
        ConfigError: it has no or more than 16 characters, or some that are not allowed.
    """
    title = text.strip()
    if not _AE_TITLE.fullmatch(title):
        raise ConfigError(
            f"--{flag}={text}: an AE title has 1 to 16 ASCII characters without a backslash, for "
            "example BONEAGE"
        )
    return title


def parse_destination(text: str) -> Destination:
    """Returns the destination of results from `AET@HOST:PORT` or the address of a web service.

    Raises:
        ConfigError: it is neither.
    """
    parts = urlsplit(text)
    if parts.scheme in _WEB_SCHEMES and parts.hostname:
        if parts.username or parts.password:
            raise ConfigError(
                "--send_to: a password in an address is seen by everyone on this machine; write "
                "it in ~/.netrc (machine HOST login NAME password WORD)"
            )
        port = parts.port or {"http": 80, "https": 443}[parts.scheme]
        return Destination(parts.hostname, port, url=text.rstrip("/"))
    match = _DICOM_PEER.fullmatch(text.strip())
    if match is None or not 0 < int(match["port"]) < 2**16:
        raise ConfigError(
            f"--send_to={text}: write AET@HOST:PORT, for example ORTHANC@pacs.example:4242, or the "
            "address of a DICOMweb service, for example https://pacs.example/dicom-web"
        )
    title = parse_ae_title("send_to", match["title"])
    return Destination(match["host"].strip("[]"), int(match["port"]), title)


def parse_networks(texts: list[str]) -> tuple[Network, ...]:
    """Returns networks from addresses such as 10.1.2.3 or 10.1.0.0/16.

    Raises:
        ConfigError: a text is no address.
    """
    networks = []
    for text in filter(None, map(str.strip, texts)):
        try:
            networks.append(ipaddress.ip_network(text))
        except ValueError as error:
            raise ConfigError(
                f"--allow_address={text}: {error}; write addresses or networks, for example "
                "10.1.2.3,10.1.0.0/16"
            ) from None
    return tuple(networks)


def parse_kinds(texts: list[str]) -> tuple[str, ...]:
    """Returns the kinds of reports that are sent.

    Raises:
        ConfigError: there is none, or one is not a DICOM object.
    """
    kinds = tuple(dict.fromkeys(text.strip().lower() for text in texts if text.strip()))
    unknown = [kind for kind in kinds if kind not in SENT_KINDS]
    if unknown or not kinds:
        raise ConfigError(
            f"--report={','.join(texts)}: the node sends DICOM objects; name some of "
            f"{','.join(SENT_KINDS)}"
        )
    return kinds


def is_allowed(address: str, settings: NodeSettings) -> bool:
    """Returns whether a peer's address may open associations.

    Args:
        address: its IP address.
        settings: the settings. Without networks, this machine and the destination's host may; the
            name of the host is looked up each time, since addresses change.
    """
    peer = _address(address)
    if settings.allow_address:
        return any(peer in network for network in settings.allow_address)
    if peer.is_loopback:
        return True
    try:
        infos = socket.getaddrinfo(settings.destination.host, None)
    except OSError:
        return False
    return any(_address(str(info[4][0])) == peer for info in infos)


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    address = ipaddress.ip_address(text.partition("%")[0])
    mapped = getattr(address, "ipv4_mapped", None)  # as sockets for both families report IPv4
    return mapped or address
