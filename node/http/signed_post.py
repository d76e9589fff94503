"""A signed message to a program of the site's: POST as Standard Webhooks says it.

https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md: what is
signed is "ID.TIMESTAMP.BODY" by HMAC-SHA256; the ID is the same at each attempt, the timestamp is
the attempt's. Any answer 2xx is an acknowledgement, all others mean: try again.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import socket
import ssl
import time
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

import urllib3

from node.errors import DeliveryError, Unreached, Unsent
from node.http.deadline import CutOff, cut_off_after
from node.http.trust import trusting

_CANNOT_TAKE_NOW = frozenset({502, 503, 504})
"""Bad Gateway, Service Unavailable, Gateway Timeout (RFC 9110 15.6): what stands before it says
that the program itself is away."""


def post_signed(
    url: str,
    secret: str,
    message_id: str,
    body: bytes,
    *,
    timeout_s: float,
    tls_ca: Path | None = None,
) -> None:
    """Bring a JSON message to a URL; return once it has been acknowledged.

    `secret` is "whsec_" and base64. Redirections are not followed: what is sent is for nobody
    else. Raises DeliveryError, Unreached if nobody who could judge the message has answered, and
    Unsent if it cannot have arrived; none says more of the URL than host and port, for the rest
    may be secret.
    """
    where = host_and_port(url)
    trusted = trusting(tls_ca)
    with (
        cut_off_after(timeout_s) as deadline,
        urllib3.PoolManager(
            ssl_context=trusted, retries=False, timeout=urllib3.Timeout(total=timeout_s)
        ) as pool,
    ):
        pool.pool_classes_by_scheme = _watched_by(deadline)
        try:
            answer = pool.request(
                "POST",
                url,
                body=body,
                headers=signature_headers(secret, message_id, body, at=time.time()),
                redirect=False,
                preload_content=False,
            )
            answer.close()  # what it says beside the status is of no use to anybody
        except urllib3.exceptions.HTTPError as error:
            if deadline.is_over and not isinstance(error, urllib3.exceptions.ConnectTimeoutError):
                raise _late(where, timeout_s) from error
            raise _failure(error, where, timeout_s) from error
        if deadline.is_over:  # what was cut may read as an end
            raise _late(where, timeout_s)
    if 200 <= answer.status < 300:
        return
    words = f"{where} answered with HTTP status {answer.status}, not with one of 200 to 299"
    if answer.status in _CANNOT_TAKE_NOW:
        raise Unreached(words)
    raise DeliveryError(words)


def _watched_by(deadline: CutOff) -> dict[str, type[urllib3.HTTPConnectionPool]]:
    """Return pools whose connections end at a time."""

    class Plain(urllib3.connection.HTTPConnection):
        def _new_conn(self) -> socket.socket:
            found = super()._new_conn()
            deadline.watch(found)
            return found

    class Secure(urllib3.connection.HTTPSConnection):
        def _new_conn(self) -> socket.socket:
            found = super()._new_conn()
            deadline.watch(found)
            return found

    class PlainPool(urllib3.HTTPConnectionPool):
        ConnectionCls = Plain

    class SecurePool(urllib3.HTTPSConnectionPool):
        ConnectionCls = Secure

    return {"http": PlainPool, "https": SecurePool}


def signature_headers(secret: str, message_id: str, body: bytes, *, at: float) -> Mapping[str, str]:
    """Return the headers of a message that is sent at a time (epoch seconds, UTC)."""
    key = base64.b64decode(secret.removeprefix("whsec_"))
    timestamp = str(int(at))
    signed = b".".join((message_id.encode(), timestamp.encode(), body))
    signature = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    return {
        "Content-Type": "application/json",
        "User-Agent": "ai-node",
        "webhook-id": message_id,
        "webhook-timestamp": timestamp,
        "webhook-signature": f"v1,{signature}",
    }


def _failure(error: urllib3.exceptions.HTTPError, where: str, timeout_s: float) -> DeliveryError:
    errors = urllib3.exceptions
    if isinstance(error, errors.SSLError):
        is_refused = isinstance(error.args[0] if error.args else None, ssl.SSLCertVerificationError)
        words = f"{where}: no trusted TLS connection ({_tls_reason(error)})"
        return Unsent(words) if is_refused else Unreached(words)
    if isinstance(error, errors.NewConnectionError):  # which is a ConnectTimeoutError, too
        return Unsent(f"{where} cannot be reached ({_reason(error)})")
    if isinstance(error, errors.ConnectTimeoutError):
        return Unsent(f"{where} cannot be reached (timed out)")
    if isinstance(error, errors.TimeoutError):
        return _late(where, timeout_s)
    return Unreached(f"{where} has broken off ({_reason(error)})")


def _late(where: str, timeout_s: float) -> Unreached:
    return Unreached(f"{where} has not answered within {timeout_s:g} s")


def address_of(url: str) -> tuple[str, int]:
    """Return the host and port of a URL of http or https."""
    parts = urlsplit(url)
    return parts.hostname or "", parts.port or (443 if speaks_tls(url) else 80)


def speaks_tls(url: str) -> bool:
    """Whether a URL is one of https."""
    return urlsplit(url).scheme == "https"


def host_and_port(url: str) -> str:
    """Return all of a URL that may be said: the rest may be secret."""
    host, port = address_of(url)
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _tls_reason(error: urllib3.exceptions.SSLError) -> str:
    found = error.args[0] if error.args else error
    if isinstance(found, ssl.SSLCertVerificationError):
        return found.verify_message
    return getattr(found, "reason", None) or type(found).__name__


def _reason(error: BaseException) -> str:
    """Return what the system says; a library's own words may quote the whole URL."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.strerror:
            return cause.strerror
        cause = cause.__cause__ or cause.__context__
    return type(error).__name__
