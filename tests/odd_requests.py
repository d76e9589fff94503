"""Association requests, byte by byte: plain ones, and odd ones that other software accepts."""

from __future__ import annotations

import struct
from functools import partial

from pydicom.uid import ImplicitVRLittleEndian
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]

APPLICATION_CONTEXT = b"1.2.840.10008.3.1.1.1"


def item(kind: int, content: bytes) -> bytes:
    return bytes([kind, 0]) + struct.pack(">H", len(content)) + content


def context(context_id: int, abstract_syntax: bytes, *more: bytes) -> bytes:
    syntaxes = item(0x30, abstract_syntax) + item(0x40, ImplicitVRLittleEndian.encode())
    return item(0x20, bytes([context_id, 0, 0, 0]) + syntaxes + b"".join(more))


PLAIN = context(1, Verification.encode())
LENGTH, CLASS = item(0x51, struct.pack(">L", 16384)), item(0x52, b"1.2.3")


def request(
    *items: bytes,
    called: bytes = b"AINODE",
    calling: bytes = b"MODALITY",
    version: int = 1,
    padding: bytes = b" ",
) -> bytes:
    """Return an A-ASSOCIATE-RQ."""
    titles = called.ljust(16, padding) + calling.ljust(16, padding)
    body = struct.pack(">HH", version, 0) + titles + bytes(32)
    body += item(0x10, APPLICATION_CONTEXT) + b"".join(items)
    return b"\x01\0" + struct.pack(">L", len(body)) + body


def odd_requests(called: bytes = b"AINODE", calling: bytes = b"MODALITY") -> dict[str, bytes]:
    """Return requests that are odd, by what is odd about them."""
    ask = partial(request, called=called, calling=calling)
    information = item(0x50, LENGTH + CLASS)
    return {
        "NUL behind AE titles": ask(PLAIN, information, padding=b"\0"),
        "unknown user information": ask(PLAIN, item(0x50, LENGTH + item(0x5E, b"?") + CLASS)),
        "unknown item": ask(PLAIN, item(0x60, b"?"), information),
        "unknown item in a context": ask(
            context(1, Verification.encode(), item(0x44, b"?")), information
        ),
        "NUL behind the version name": ask(
            PLAIN, item(0x50, LENGTH + CLASS + item(0x55, b"SCANNER\0"))
        ),
        "a version name that is too long": ask(
            PLAIN, item(0x50, LENGTH + CLASS + item(0x55, b"SCANNER" * 3))
        ),
        "an even context ID beside": ask(PLAIN, context(2, b"1.2.3"), information),
        "more versions": ask(PLAIN, information, version=3),
    }


ODD = odd_requests()
