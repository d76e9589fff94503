"""A TCP connection to who is told of levels, with TLS where that is wanted."""

from __future__ import annotations

import socket
import ssl
from pathlib import Path

from node.dimse.addresses import place
from node.errors import Unsent


def trusting(
    ca: Path | None, certificate: Path | None = None, key: Path | None = None
) -> ssl.SSLContext:
    """Return whose certificates are trusted, and which is ours; raise Unsent if that cannot be."""
    try:
        context = ssl.create_default_context(cafile=ca)
        if certificate is not None:
            context.load_cert_chain(certificate, key)
    except OSError as error:  # ssl.SSLError is one
        files = ", ".join(str(path) for path in (ca, certificate, key) if path is not None)
        raise Unsent(
            f"{files}: cannot be used for TLS ({error.strerror or type(error).__name__}); "
            "these are PEM files that the node may read"
        ) from error
    return context


def connected(
    host: str, port: int, *, timeout_s: float, context: ssl.SSLContext | None = None
) -> socket.socket:
    """Return a connection, with TLS if there is a context; raise Unsent if none is to be had."""
    where = place(host, port)
    try:
        connection = socket.create_connection((host, port), timeout=timeout_s)
    except TimeoutError as error:
        words = "a firewall is between, or nobody has that address"
        raise Unsent(f"{where} cannot be reached: it does not answer: {words}") from error
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise Unsent(f"{where} cannot be reached: {reason}") from error
    if context is None:
        return connection
    try:
        return context.wrap_socket(connection, server_hostname=host)
    except TimeoutError as error:  # of the whole handshake, however slowly it comes
        connection.close()
        raise Unsent(f"{where}: no trusted TLS connection within {timeout_s:g} s") from error
    except (OSError, ValueError) as error:
        connection.close()
        raise Unsent(f"{where}: no trusted TLS connection ({_reason(error)})") from error


def _reason(error: Exception) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return error.verify_message
    if isinstance(error, ssl.SSLError):
        return error.reason or type(error).__name__
    return getattr(error, "strerror", None) or type(error).__name__
