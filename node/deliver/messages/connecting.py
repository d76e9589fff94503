"""A TCP connection to who is told of levels, with TLS where that is wanted."""

from __future__ import annotations

import socket
import ssl
from pathlib import Path

from node.dimse.addresses import place
from node.errors import Unsent
from node.http.signed_post import address_of, speaks_tls
from node.http.trust import trusting


def connected_to(url: str, *, timeout_s: float, tls_ca: Path | None) -> socket.socket:
    """Return a connection to the host of a URL, with TLS for https; raise Unsent if none is had."""
    context = trusting(tls_ca) if speaks_tls(url) else None
    return connected(*address_of(url), timeout_s=timeout_s, context=context)


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
