"""TLS contexts of the node's listener and of its connections to the peer."""

import ssl

from bone_age_tf.errors import ConfigError
from bone_age_tf.node.settings import TlsFiles


def server_context(files: TlsFiles) -> ssl.SSLContext:
    """Returns the context for associations that peers open.

    With an authority, peers need a certificate of it.

    Raises:
        ConfigError: a file cannot be read.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    _load(context, files)
    if files.authority is not None:
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def client_context(files: TlsFiles) -> ssl.SSLContext:
    """Returns the context for associations that the node opens; the peer's name is checked.

    Raises:
        ConfigError: a file cannot be read.
    """
    context = ssl.create_default_context()
    _load(context, files)
    return context


def _load(context: ssl.SSLContext, files: TlsFiles) -> None:
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    flag = f"--tls_certificate={files.certificate}, --tls_key={files.key}"
    try:
        # A password would be asked for on a terminal, which a service does not have.
        context.load_cert_chain(files.certificate, files.key, password=lambda: "")
        if files.authority is not None:
            flag = f"--tls_ca={files.authority}"
            context.load_verify_locations(files.authority)
    except (OSError, ValueError) as error:
        cause = getattr(error, "strerror", None) or str(error)
        raise ConfigError(
            f"{flag}: cannot be used ({cause}); give PEM files, the key without a password"
        ) from None
