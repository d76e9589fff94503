"""What is said first on a connection: an association request, or something else (PS3.8 9.3.2).

A request is read as the standard asks of whoever receives it: what it does not know is passed over,
of the protocol version one bit is looked at. AE titles end at a NUL, with which many programs fill
them up, as DCMTK and Orthanc read them. pynetdicom gives up such requests.
"""

from __future__ import annotations

import copy
import logging
import socket
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from pynetdicom.pdu import A_ABORT_RQ, A_ASSOCIATE_RJ, A_ASSOCIATE_RQ, PDU
from pynetdicom.pdu_items import PDU_ITEM_TYPES
from pynetdicom.pdu_primitives import A_ASSOCIATE

log = logging.getLogger(__name__)

_HEADER = 6
_FIXED = 74
"""Bytes before the variable items."""
_LONGEST = 1 << 20
"""Of 128 presentation contexts with all transfer syntaxes there are, a request has a tenth."""

_REMEMBERED, _LONGEST_REMEMBERED = 32, 1 << 15
"""A sender asks for the same each time it comes, and to read that takes its time."""

_ASSOCIATE_RQ = 0x01
_PDU_TYPES = range(0x01, 0x08)
_PRESENTATION_CONTEXT, _USER_INFORMATION = 0x20, 0x50
_ITEMS = frozenset({0x10, _PRESENTATION_CONTEXT, _USER_INFORMATION})
_SUB_ITEMS = {
    _PRESENTATION_CONTEXT: (8, frozenset({0x30, 0x40})),
    _USER_INFORMATION: (4, frozenset(range(0x51, 0x59))),
}
"""Where those of an item begin, and which pynetdicom knows."""
_UIDS = frozenset({0x10, 0x30, 0x40, 0x52})
"""Items that are a UID, which has no padding here (PS3.8 F); some fill it up all the same."""

_PROTOCOLS = (
    (b"\x16\x03", "TLS"),
    (b"\x0b", "HL7 (MLLP)"),
    (b"MSH", "HL7"),
    (b"SSH-", "SSH"),
    (b"PROXY ", "the PROXY protocol"),
    *((method, "HTTP") for method in (b"GET ", b"POST", b"PUT ", b"HEAD", b"OPTI", b"DELE")),
    *((method, "HTTP") for method in (b"PATC", b"CONN", b"TRAC", b"PRI ")),
)
"""By what their first message begins with."""


class NoRequest(Exception):  # noqa: N818 - a kind of beginning
    """A connection that did not begin with an association request; the words say with what."""


class NothingSaid(NoRequest):
    """Not a byte came."""


@dataclass(frozen=True, slots=True)
class Rejection:
    """Why an association is rejected, in the numbers of PS3.8 9.3.4."""

    result: int
    source: int
    diagnostic: int


NO_SUCH_CALLING_AE = Rejection(1, 1, 3)
NO_SUCH_CALLED_AE = Rejection(1, 1, 7)
NO_SUCH_VERSION = Rejection(1, 2, 2)
LOCAL_LIMIT_EXCEEDED = Rejection(2, 3, 2)  # transient: it may ask again


@dataclass(frozen=True, slots=True)
class AssociationRequest:
    """Who asks whom for an association, and for what."""

    calling_ae: str
    called_ae: str
    is_version_1: bool
    items: bytes
    """The variable items that are understood."""

    def pdu(self) -> A_ASSOCIATE_RQ:
        """Return it as pynetdicom reads it; raise NoRequest if it makes no sense.

        It is the same one for requests that are alike: nobody may change it.
        """
        return (_pdu_of if len(self.items) > _LONGEST_REMEMBERED else _pdu_once)(self)


class _ReadOnce(A_ASSOCIATE_RQ):
    """A request that pynetdicom need not make anew of each of its hundreds of items."""

    def read(self) -> None:
        """Make it once; raise whatever pynetdicom stumbles over."""
        self._primitive = super().to_primitive()

    def to_primitive(self) -> A_ASSOCIATE:
        """Return one that may be changed; not so the items in it."""
        return copy.copy(self._primitive)


def _pdu_of(request: AssociationRequest) -> A_ASSOCIATE_RQ:
    pdu = _ReadOnce()
    pdu.protocol_version = 1
    try:
        pdu.called_ae_title, pdu.calling_ae_title = request.called_ae, request.calling_ae
        pdu.variable_items = pdu._wrap_generate_items(request.items)  # type: ignore[assignment]
        pdu.read()
    except Exception as error:  # whatever pynetdicom stumbles over
        raise NoRequest("an association request that makes no sense") from error
    return pdu


_pdu_once = lru_cache(_REMEMBERED)(_pdu_of)


def hear(connection: socket.socket, within_s: float) -> AssociationRequest:
    """Return the request that a connection begins with; raise NoRequest if it does not in time."""
    give_up_at = time.monotonic() + within_s
    beginning = _receive(connection, _HEADER, give_up_at)
    if not beginning:
        raise NothingSaid("nothing")
    if beginning[0] != _ASSOCIATE_RQ or len(beginning) < _HEADER:
        raise NoRequest(_what_it_is(beginning))
    (length,) = struct.unpack(">L", beginning[2:])
    if not _FIXED - _HEADER <= length <= _LONGEST:
        raise NoRequest(f"an association request of {length} bytes")
    content = beginning + _receive(connection, length, give_up_at)
    if len(content) < _HEADER + length:
        raise NoRequest("a part of an association request")
    return read_request(content)


def read_request(content: bytes) -> AssociationRequest:
    """Return what is understood of an A-ASSOCIATE-RQ; raise NoRequest if it is not whole."""
    return (_read if len(content) > _LONGEST_REMEMBERED else _read_once)(content)


def _read(content: bytes) -> AssociationRequest:
    try:
        items = b"".join(_understood(content[_FIXED:], _ITEMS))
    except (AssertionError, struct.error) as error:  # what pynetdicom says of a short item
        raise NoRequest("an association request with items that are not whole") from error
    return AssociationRequest(
        calling_ae=_ae_title(content[26:42]),
        called_ae=_ae_title(content[10:26]),
        is_version_1=bool(content[7] & 1),
        items=items,
    )


_read_once = lru_cache(_REMEMBERED)(_read)


def rejecting(rejection: Rejection) -> bytes:
    """Return an A-ASSOCIATE-RJ."""
    pdu = A_ASSOCIATE_RJ()
    pdu.result, pdu.source = rejection.result, rejection.source
    pdu.reason_diagnostic = rejection.diagnostic
    return pdu.encode()


def aborting() -> bytes:
    """Return the A-ABORT that is the answer to what is no association request (PS3.8 AA-1)."""
    pdu = A_ABORT_RQ()
    pdu.source = pdu.reason_diagnostic = 0
    return pdu.encode()


def _receive(connection: socket.socket, length: int, give_up_at: float) -> bytes:
    """Return as many bytes, or fewer if no more come in time."""
    content = bytearray()
    while len(content) < length and (left_s := give_up_at - time.monotonic()) > 0:
        connection.settimeout(left_s)
        try:
            part = connection.recv(length - len(content))
        except OSError:  # a time-out is one, too
            break
        if not part:
            break
        content += part
    return bytes(content)


def _what_it_is(beginning: bytes) -> str:
    for start, protocol in _PROTOCOLS:
        if beginning.startswith(start):
            return protocol
    if beginning[0] in _PDU_TYPES and beginning[1:2] == b"\0":
        return f"a DICOM message out of turn (PDU type {beginning[0]:02X}H)"
    return f"what is no DICOM (its first byte is {beginning[0]:02X}H)"


def _ae_title(padded: bytes) -> str:
    text = padded.partition(b"\0")[0].decode("ascii", "replace").strip().replace("\\", "?")
    return "".join(one if one.isascii() and one.isprintable() else "?" for one in text) or "?"


def _understood(items: bytes, known: frozenset[int]) -> Iterator[bytes]:
    for kind, item in PDU._generate_items(items):
        body = item[4:].rstrip(b" \0") if kind in _UIDS else item[4:]
        if kind in _SUB_ITEMS:
            start, known_within = _SUB_ITEMS[kind]
            body = item[4:start] + b"".join(_understood(item[start:], known_within))
        understood = item[:2] + struct.pack(">H", len(body)) + body
        if kind in known and _is_readable(kind, understood):
            yield understood


def _is_readable(kind: int, item: bytes) -> bool:
    try:
        read: Any = PDU_ITEM_TYPES[kind]()
        read.decode(item)
        if kind not in _UIDS:
            read.to_primitive()
    except Exception as error:  # noqa: BLE001 - whatever pynetdicom stumbles over
        kind_of_error = type(error).__name__
        log.debug(
            "An item of an association request is passed over: 0x%02X, %s", kind, kind_of_error
        )
        return False
    return True
