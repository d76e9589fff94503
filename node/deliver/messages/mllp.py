"""HL7 messages over a TCP connection: MLLP, and what the other side says of a message.

MLLP release 1: a block is <VT>, the message, <FS><CR>. One connection a message: nothing is left on
it that another's answer could be taken for. The answer is an ACK (chapter 2.9.2 of the standard):
AA, or CA of a receiver that commits first, says that it has the message; AE, AR, CE and CR that it
will not have it as it is.
"""

from __future__ import annotations

import logging
import re
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass

from node.config import HL7Settings
from node.deliver.messages.connecting import connected
from node.dimse.addresses import place
from node.errors import DeliveryError, Unreached
from node.http.trust import trusting

log = logging.getLogger(__name__)

_START, _END = b"\x0b", b"\x1c\r"
_LONGEST_ANSWER = 1 << 20
TAKEN = frozenset({"AA", "CA"})
REFUSED = frozenset({"AE", "AR", "CE", "CR"})
_ERRORS: Mapping[str, str] = {
    "100": "segment sequence error",
    "101": "required field missing",
    "102": "data type error",
    "103": "table value not found",
    "200": "unsupported message type",
    "201": "unsupported event code",
    "202": "unsupported processing ID",
    "203": "unsupported version ID",
    "204": "unknown key identifier",
    "205": "duplicate key identifier",
    "206": "application record locked",
    "207": "application internal error",
}
"""Table 0357."""
_IS_LOCATION = re.compile(r"[A-Z][A-Z0-9]{2}(\^\d+)*")
"""ERR-2: a segment, and numbers of where in it."""


@dataclass(frozen=True, slots=True)
class Acknowledgement:
    """What the other side says of a message."""

    code: str
    """MSA-1."""
    control_id: str
    """MSA-2: of which message."""
    why: str = ""
    """What is wrong, by its numbers; its own words may quote patient data, and are not kept."""


def exchange(content: bytes, settings: HL7Settings) -> Acknowledgement:
    """Send a message and return what is said of it.

    Raises Unsent if nothing of it can have arrived, Unreached if nothing was answered, and
    DeliveryError if that cannot be understood.
    """
    where = place(settings.host, settings.port)
    ends_at = time.monotonic() + settings.timeout_s
    with connect_mllp(settings) as connection:
        try:
            connection.sendall(_START + content + _END)
            answer = _read(connection, where, ends_at, settings.timeout_s)
        except TimeoutError as error:
            raise Unreached(f"{where} has not answered in {settings.timeout_s:g} s") from error
        except OSError as error:
            reason = error.strerror or type(error).__name__
            raise Unreached(f"{where} broke off instead of answering ({reason})") from error
    log.debug("%s answered %r", where, answer)
    return read_acknowledgement(answer, where)


def connect_mllp(settings: HL7Settings) -> socket.socket:
    """Return a connection, with TLS where that is set; raise Unsent if there is none to be had."""
    files = (settings.tls_ca, settings.tls_certificate, settings.tls_key)
    context = trusting(*files) if settings.tls else None
    host, port = settings.host, settings.port
    return connected(host, port, timeout_s=settings.timeout_s, context=context)


def _read(connection: socket.socket, where: str, ends_at: float, timeout_s: float) -> bytes:
    """Return what stands in the next block."""
    found = b""
    while not (found.startswith(_START) and found.endswith(_END)):
        left_s = ends_at - time.monotonic()
        if left_s <= 0:
            raise TimeoutError
        connection.settimeout(left_s)
        more = connection.recv(65536)
        if not more:
            raise Unreached(f"{where} broke off instead of answering")
        found += more
        if len(found) > _LONGEST_ANSWER or not found.startswith(_START):
            raise DeliveryError(f"{where} did not answer with an MLLP block within {timeout_s:g} s")
    return found[len(_START) : -len(_END)]


def read_acknowledgement(answer: bytes, where: str) -> Acknowledgement:
    """Return what an ACK says; raise DeliveryError if that is none."""
    # What is read of it is ASCII in every character set.
    segments = [line for line in re.split(r"[\r\n]+", answer.decode("latin-1")) if line]
    if not segments or not segments[0].startswith("MSH") or len(segments[0]) < 9:
        raise DeliveryError(f"{where} answered with something that is no HL7 message")
    field, component = segments[0][3], segments[0][4]
    by_name: dict[str, list[str]] = {}
    for segment in segments:
        name, *fields = segment.split(field)
        by_name.setdefault(name, [name, *fields])
    said = [*by_name.get("MSA", []), "", "", ""]
    code, control_id = said[1].strip(), said[2].strip()
    if code not in TAKEN | REFUSED:
        raise DeliveryError(f"{where} answered without saying whether it took the message (MSA-1)")
    return Acknowledgement(code, control_id, _why(by_name.get("ERR", []), component))


def _why(error: list[str], component: str) -> str:
    """Return what an ERR segment says in numbers: "101 required field missing, PID^1^5"."""
    fields = [*error, *[""] * 5]
    number = fields[3].partition(component)[0].strip()
    words = [f"{number} {_ERRORS[number]}"] if number in _ERRORS else []
    location = fields[2].replace(component, "^").rstrip("^")
    words += [location] if _IS_LOCATION.fullmatch(location) else []
    return ", ".join(words)
