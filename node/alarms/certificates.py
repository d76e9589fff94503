"""When certificates end: those in PEM files, and those that servers show.

Read out of X.509's DER (RFC 5280 4.1) by hand: the standard library tells it of trusted peers
alone, and one that is over is not trusted.
"""

from __future__ import annotations

import re
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from node.config import AlarmMail, Config, HL7Settings, WebhookSettings
from node.http.signed_post import address_of, speaks_tls

_LOOKS_EVERY_S = 6 * 3600.0
_ASKS_AGAIN_S = 900.0
"""One that could not be asked."""
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
    """What those show to whom we speak by TLS, asked for a few times a day.

    Each by a thread of its own: a name that is not resolved, or a server that says nothing, must
    not keep from being examined what else may be wrong.
    """

    def __init__(
        self, looks_every_s: float = _LOOKS_EVERY_S, asks_again_s: float = _ASKS_AGAIN_S
    ) -> None:
        self._looks_every_s = looks_every_s
        self._asks_again_s = asks_again_s
        self._looks: dict[tuple[str, str, int], _Look] = {}

    def ends(self, config: Config) -> Iterator[tuple[str, CertificateEnd]]:
        """Yield when the certificate of each ends, as it was when it was last reached.

        Has those asked whose turn it is, and does not wait for them: they are known the next time.
        """
        for name, (host, port) in _receivers(config):
            look = self._looks.setdefault((name, host, port), _Look(host, port))
            if look.end is not None:
                yield name, look.end
            look.begin(self._looks_every_s, self._asks_again_s)

    def wait(self, timeout_s: float) -> None:
        """Wait until all that are being asked have answered, for so long at most each."""
        for look in self._looks.values():
            look.wait(timeout_s)


class _Look:
    """What one server shows: the last that is known, and a thread that asks it."""

    def __init__(self, host: str, port: int) -> None:
        self._host, self._port = host, port
        self._begun_at: float | None = None
        self._thread: threading.Thread | None = None
        self._has_answered = False
        self.end: CertificateEnd | None = None
        """None: not known. One that does not answer has the certificate that it had."""

    def begin(self, every_s: float, again_s: float) -> None:
        """Ask it, if it was not asked for so long, or for so long in vain."""
        at = time.monotonic()
        if self._thread is not None and self._thread.is_alive():
            return
        wait_s = every_s if self._has_answered else again_s
        if self._begun_at is not None and at - self._begun_at < wait_s:
            return
        self._begun_at = at
        name = f"certificate of {self._host}:{self._port}"
        self._thread = threading.Thread(target=self._ask, name=name, daemon=True)
        self._thread.start()

    def wait(self, timeout_s: float) -> None:
        if self._thread is not None:
            self._thread.join(timeout_s)

    def _ask(self) -> None:
        shown = _shown_by(self._host, self._port)
        self._has_answered = shown is not None
        self.end = shown or self.end


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
    if speaks_tls(url):
        yield name, address_of(url)


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
