"""When certificates end: those in PEM files, and those that servers show.

Read out of X.509's DER (RFC 5280 4.1) by hand: the standard library tells it of trusted peers
alone, and one that is over is not trusted.
"""

from __future__ import annotations

import re
import socket
import ssl
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

from node.config import AlarmMail, Config, HL7Settings, WebhookSettings

_LOOKS_EVERY_S = 6 * 3600.0
_WITHIN_S = 5.0
_PEM = re.compile(rb"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)
_SEQUENCE, _VERSION, _UTC_TIME = 0x30, 0xA0, 0x17


@dataclass(frozen=True, slots=True)
class CertificateEnd:
    """When a certificate ends."""

    ends_at: float
    """Epoch seconds, UTC."""


def ends_in_file(path: Path) -> CertificateEnd | None:
    """Return when the first of the certificates in a PEM file ends; None if it has none."""
    try:
        found = [_PEM.findall(path.read_bytes())]
        ends = [end_of(ssl.PEM_cert_to_DER_cert(pem.decode("ascii"))) for pem in found[0]]
    except (OSError, ValueError):  # what is wrong with it is said by who is to use it
        return None
    return CertificateEnd(min(ends)) if ends else None


def end_of(certificate: bytes) -> float:
    """Return when a certificate (DER) ends, in epoch seconds, UTC. Raises ValueError."""
    _, inside, _ = _element(certificate, 0)
    _, place, _ = _element(certificate, inside)  # TBSCertificate
    tag, _, after = _element(certificate, place)
    if tag == _VERSION:
        place = after
    for _ in range(3):  # serial number, signature, issuer
        _, _, place = _element(certificate, place)
    tag, place, _ = _element(certificate, place)  # validity
    if tag != _SEQUENCE:
        raise ValueError("no certificate: its validity is not where it should be")
    _, _, place = _element(certificate, place)  # from when on it is valid
    tag, begin, end = _element(certificate, place)
    text = certificate[begin:end].decode("ascii")
    form = "%y%m%d%H%M%SZ" if tag == _UTC_TIME else "%Y%m%d%H%M%SZ"
    return datetime.strptime(text, form).replace(tzinfo=UTC).timestamp()


def _element(data: bytes, place: int) -> tuple[int, int, int]:
    """Return the tag of what begins there, where its content begins, and where it ends (X.690)."""
    if place + 2 > len(data):
        raise ValueError("no certificate: it ends too early")
    length, begin = data[place + 1], place + 2
    if length & 0x80:
        size = length & 0x7F
        length, begin = int.from_bytes(data[begin : begin + size], "big"), begin + size
    if begin + length > len(data):
        raise ValueError("no certificate: it ends too early")
    return data[place], begin, begin + length


class ReceiverCertificates:
    """What those show to whom we speak by TLS, asked for a few times a day."""

    def __init__(self, looks_every_s: float = _LOOKS_EVERY_S) -> None:
        self._looks_every_s = looks_every_s
        self._looked_at: float | None = None
        self._ends: Mapping[str, CertificateEnd] = {}

    def ends(self, config: Config) -> Iterator[tuple[str, CertificateEnd]]:
        """Yield when the certificate of each ends that was reached when it was last asked."""
        asked = self._looked_at
        if asked is None or time.monotonic() - asked >= self._looks_every_s:
            self._looked_at = time.monotonic()
            shown = {name: _shown_by(*where) for name, where in _receivers(config)}
            self._ends = {name: end for name, end in shown.items() if end is not None}
        yield from self._ends.items()


def _receivers(config: Config) -> Iterator[tuple[str, tuple[str, int]]]:
    for one in config.lists:
        if isinstance(one, HL7Settings) and one.tls:
            yield one.name, (one.host, one.port)
        elif isinstance(one, WebhookSettings):
            yield from _of_url(one.name, one.url)
    if config.alarms.webhook is not None:
        yield from _of_url("[alarms.webhook]", config.alarms.webhook.url)
    mail: AlarmMail | None = config.alarms.mail
    if mail is not None and mail.security == "tls":
        yield "[alarms.mail]", (mail.host, mail.port)


def _of_url(name: str, url: str) -> Iterator[tuple[str, tuple[str, int]]]:
    parts = urlsplit(url)
    if parts.scheme == "https" and parts.hostname:
        yield name, (parts.hostname, parts.port or 443)


def _shown_by(host: str, port: int) -> CertificateEnd | None:
    """Return when the certificate ends that a server shows; None if it cannot be asked.

    Whether it is to be trusted is judged by who sends it something: nothing is sent here.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        with (
            socket.create_connection((host, port), _WITHIN_S) as plain,
            context.wrap_socket(plain, server_hostname=host) as server,
        ):
            shown = server.getpeercert(binary_form=True)
        return CertificateEnd(end_of(shown)) if shown else None
    except (OSError, ValueError):
        return None


def shown_day(at: float) -> str:
    """Return a day as people write it, of UTC."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d")
