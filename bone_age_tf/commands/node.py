"""`--mode=node`: a DICOM node that answers radiographs with results; no TensorFlow."""

from pathlib import Path
from typing import TYPE_CHECKING

from absl import flags

from bone_age_tf import schema
from bone_age_tf.commands import EXIT_OK, shared_flags
from bone_age_tf.errors import ConfigError, require_known

if TYPE_CHECKING:
    from bone_age_tf.node.settings import NodeSettings, TlsFiles

EXAMPLES = """\
Listen on port 11112 and send results (DICOM SR and Secondary Capture) to a PACS:
  {command} --mode=node --port=11112 --ae_title=BONEAGE --send_to=ORTHANC@pacs.example:4242

Add this node to the PACS with its AE title, host and port, and let the PACS forward hand
radiographs to it. Try the connection, and send a radiograph yourself:
  echoscu -aec BONEAGE HOST 11112
  storescu -aec BONEAGE HOST 11112 IM0001

Who may send: this machine and the host of --send_to, unless you name others:
  {command} --mode=node --send_to=PACS@10.1.0.5:104 --allow_address=10.1.0.0/16 --allow_ae=PACS,CR1

Results by DICOMweb; a login is taken from ~/.netrc:
  {command} --mode=node --send_to=https://pacs.example/dicom-web

With TLS in both directions, where peers need a certificate of your authority:
  {command} --mode=node --send_to=PACS@pacs.example:2762 --send_tls --tls_certificate=node.pem \\
    --tls_key=node.key --tls_ca=authority.pem

Is it well? http://127.0.0.1:11113/healthz and /metrics (Prometheus).
SIGTERM ends it; what waits in --spool is continued at the next start, also after kill -9.
Radiographs that cannot be read, and results that the PACS refuses, are in SPOOL/dead with a reason.
"""
_MEBIBYTE = 2**20
_DAY_S = 86400.0


def define_flags(values: flags.FlagValues) -> None:
    """Defines the mode's flags."""
    text, whole_number = shared_flags.text, shared_flags.whole_number
    text(
        values,
        "send_to",
        None,
        "Where results are sent: AET@HOST:PORT, or the address of a DICOMweb service.",
    )
    text(values, "ae_title", "BONEAGE", "AE title of this node.")
    text(values, "host", "", "Address on which the node listens. Default: all of the machine.")
    whole_number(values, "port", 11112, "Port on which it listens; 0 for any free one.", 0, 65535)
    text(
        values,
        "spool",
        "spool",
        "Folder of what was received and is not sent yet. It holds data of patients, must survive "
        "restarts, and belongs to one node.",
    )
    flags.DEFINE_list(
        "report",
        ["sr", "sc"],
        "What is sent for each radiograph: sr (Structured Report), sc (Secondary Capture), pdf "
        "(Encapsulated PDF).",
        flag_values=values,
    )
    text(
        values,
        "sds_reference",
        schema.BRUSH_FOUNDATION,
        "The table with the SD of bone age, " + " or ".join(schema.SD_REFERENCES) + ".",
    )
    shared_flags.define_exported_model(values)
    shared_flags.define_variant(values)
    shared_flags.define_quality_check(values)
    text(values, "calibration", None, "A site's calibration, from --mode=calibrate.")
    _define_access_flags(values)
    _define_limits(values)


def _define_access_flags(values: flags.FlagValues) -> None:
    text = shared_flags.text
    flags.DEFINE_list("allow_ae", [], "AE titles that may send. Default: all.", flag_values=values)
    flags.DEFINE_list(
        "allow_address",
        [],
        "Addresses and networks that may send, such as 10.1.2.3,10.1.0.0/16. Default: this machine "
        "and the host of --send_to.",
        flag_values=values,
    )
    text(values, "tls_certificate", None, "PEM file with the node's certificate, for TLS.")
    text(values, "tls_key", None, "PEM file with its private key, without a password.")
    text(
        values,
        "tls_ca",
        None,
        "PEM file with the authorities that peers must be certified by. Without it, every client "
        "is accepted.",
    )
    shared_flags.switch(values, "send_tls", False, "Send results with TLS too.")


def _define_limits(values: flags.FlagValues) -> None:
    number = shared_flags.whole_number
    number(values, "max_object_mb", 256, "Maximum size of an object in MiB.", 1)
    number(values, "max_associations", 16, "Maximum number of associations at a time.", 1)
    number(
        values,
        "max_waiting",
        10_000,
        "Maximum number of radiographs and results in the spool; more are refused (A700).",
        1,
    )
    number(
        values,
        "min_free_mb",
        1024,
        "Free space of the spool's disk in MiB below which objects are refused (A700).",
        0,
    )
    number(
        values,
        "keep_days",
        30,
        "Days for which results are kept after they were sent, to send them again without reading.",
        0,
    )
    number(
        values,
        "health_port",
        11113,
        "Port of /healthz and /metrics on 127.0.0.1; 0 for no page.",
        0,
        65535,
    )


def run(values: flags.FlagValues, overrides: list[tuple[str, str]]) -> int:
    """Runs the node until SIGTERM or an interruption."""
    from bone_age_tf.clinical.report_kinds import require_report_packages
    from bone_age_tf.extras import require_packages
    from bone_age_tf.node.settings import parse_kinds

    require_report_packages(parse_kinds(values.report))
    require_packages("--mode=node", ("pynetdicom", "dicomweb_client"))
    settings = make_settings(values)
    from bone_age_tf.node.log import start_log
    from bone_age_tf.node.node import Node
    from bone_age_tf.reader import load

    start_log()
    reader = load(
        values.model,
        variant=values.variant,
        exports_dir=values.exports_dir,
        calibration=values.calibration,
        quality_check=values.quality_check,
    )
    Node(settings, reader).run()
    return EXIT_OK


def make_settings(values: flags.FlagValues) -> "NodeSettings":
    """Returns the settings of the node that the flags describe.

    Raises:
        ConfigError: a flag is missing or has a value that cannot be used.
    """
    from bone_age_tf.node import settings

    if not values.send_to:
        raise ConfigError(
            "--mode=node needs --send_to=AET@HOST:PORT, the PACS that gets the results, for "
            "example --send_to=ORTHANC@127.0.0.1:4242"
        )
    require_known("sds_reference", values.sds_reference, schema.SD_REFERENCES)
    tls = _tls_files(values)
    if values.send_tls and tls is None:
        raise ConfigError("--send_tls needs --tls_certificate and --tls_key")
    return settings.NodeSettings(
        destination=settings.parse_destination(values.send_to),
        spool=Path(values.spool),
        ae_title=settings.parse_ae_title("ae_title", values.ae_title),
        host=values.host,
        port=values.port,
        kinds=settings.parse_kinds(values.report),
        sds_reference=values.sds_reference,
        allow_ae=tuple(settings.parse_ae_title("allow_ae", title) for title in values.allow_ae),
        allow_address=settings.parse_networks(values.allow_address),
        tls=tls,
        send_tls=values.send_tls,
        limits=settings.Limits(
            object_bytes=values.max_object_mb * _MEBIBYTE,
            associations=values.max_associations,
            waiting=values.max_waiting,
            free_bytes=values.min_free_mb * _MEBIBYTE,
        ),
        keep_s=values.keep_days * _DAY_S,
        health_port=values.health_port or None,
    )


def _tls_files(values: flags.FlagValues) -> "TlsFiles | None":
    """Returns the files for TLS; None without them.

    Raises:
        ConfigError: one of them is missing.
    """
    from bone_age_tf.node.settings import TlsFiles

    if not values.tls_certificate and not values.tls_key:
        if values.tls_ca:
            raise ConfigError("--tls_ca has no effect without --tls_certificate and --tls_key")
        return None
    if not values.tls_certificate or not values.tls_key:
        raise ConfigError("--tls_certificate and --tls_key belong together; give both")
    return TlsFiles(
        Path(values.tls_certificate), Path(values.tls_key), shared_flags.path_or_none(values.tls_ca)
    )
