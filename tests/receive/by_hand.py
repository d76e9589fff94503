"""A sender whose every byte is chosen: PDUs, presentation data values, command sets."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

from odd_requests import CLASS, item, request
from pydicom.filereader import read_file_meta_info
from pydicom.uid import ExplicitVRLittleEndian

from node.dicom.part10 import data_set_begins_at

COMMAND, DATA, LAST = 1, 0, 2
RELEASE_RQ, RELEASE_RP = b"\x05\0\0\0\0\x04\0\0\0\0", b"\x06\0\0\0\0\x04\0\0\0\0"
ABORT_BY_PEER = b"\x07\0\0\0\0\x04\0\0\0\0"


def context(context_id: int, abstract_syntax: str, *syntaxes: str) -> bytes:
    of_context = b"".join(item(0x40, one.encode()) for one in syntaxes or [ExplicitVRLittleEndian])
    head = bytes([context_id, 0, 0, 0]) + item(0x30, abstract_syntax.encode())
    return item(0x20, head + of_context)


def element(number: int, value: bytes) -> bytes:
    value += b"\0" * (len(value) % 2)
    return struct.pack("<HHL", 0, number, len(value)) + value


def command_set(*elements: bytes) -> bytes:
    behind = b"".join(elements)
    return element(0, struct.pack("<L", len(behind))) + behind


def store_request(
    sop_class: str,
    sop_instance: str,
    message_id: int = 1,
    *,
    data_set_type: int = 0x0102,
    odd: bytes = b"",
) -> bytes:
    """Return the command set of a C-STORE-RQ. `odd`: an element that none of them has."""
    return command_set(
        *([odd] if odd else []),
        element(0x0002, sop_class.encode()),
        element(0x0100, struct.pack("<H", 1)),
        element(0x0110, struct.pack("<H", message_id)),
        element(0x0700, struct.pack("<H", 2)),
        element(0x0800, struct.pack("<H", data_set_type)),
        element(0x1000, sop_instance.encode()),
    )


ODD_ELEMENT = element(0x0001, struct.pack("<L", 200))
"""Length to End, as ACR-NEMA had it: pynetdicom reads such a request, and we do not."""


def value(control: int, content: bytes, context_id: int = 1) -> bytes:
    return struct.pack(">LBB", len(content) + 2, context_id, control) + content


def pdu(*values: bytes) -> bytes:
    body = b"".join(values)
    return b"\x04\0" + struct.pack(">L", len(body)) + body


def in_pieces(content: bytes, size: int) -> Iterator[bytes]:
    for at in range(0, max(len(content), 1), size):
        yield content[at : at + size]


@dataclass(frozen=True, slots=True)
class Object:
    """An object as its sender has it."""

    sop_class: str
    sop_instance: str
    data_set: bytes

    @classmethod
    def of(cls, path: Path) -> Object:
        content = path.read_bytes()
        meta = read_file_meta_info(path)
        return cls(
            str(meta.MediaStorageSOPClassUID),
            str(meta.MediaStorageSOPInstanceUID),
            content[data_set_begins_at(BytesIO(content)) :],
        )

    def values(
        self, message_id: int = 1, size: int = 16_000, context_id: int = 1, odd: bytes = b""
    ) -> list[bytes]:
        """Return it as presentation data values, of a size at most."""
        command = store_request(self.sop_class, self.sop_instance, message_id, odd=odd)
        pieces = list(in_pieces(self.data_set, size))
        data = [value(DATA, one, context_id) for one in pieces[:-1]]
        return [
            value(COMMAND | LAST, command, context_id),
            *data,
            value(DATA | LAST, pieces[-1], context_id),
        ]


class Caller:
    """A connection to a node."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.accepted = b""
        """The A-ASSOCIATE-AC."""

    def say(self, *pdus: bytes) -> None:
        self.connection.sendall(b"".join(pdus))

    def hear(self) -> bytes:
        """Return the next PDU; b"" if the connection ends."""
        head = self._exactly(6)
        return head and head + self._exactly(int.from_bytes(head[2:], "big"))

    def status(self) -> tuple[int, int]:
        """Return the message ID and the status of the next answer, which is in one value."""
        answer = self.hear()
        assert answer[:1] == b"\x04", answer
        values = dict(elements_of(answer[12:]))
        return int.from_bytes(values[0x0120], "little"), int.from_bytes(values[0x0900], "little")

    def release(self) -> None:
        self.say(RELEASE_RQ)
        assert self.hear() == RELEASE_RP
        assert self.hear() == b""

    def _exactly(self, size: int) -> bytes:
        content = b""
        while len(content) < size:
            part = self.connection.recv(size - len(content))
            if not part:
                return b""
            content += part
        return content


def elements_of(command: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at < len(command):
        _, number, length = struct.unpack_from("<HHL", command, at)
        yield number, command[at + 8 : at + 8 + length]
        at += 8 + length


@contextmanager
def calling(port: int, contexts: Sequence[bytes], longest: int = 16384) -> Iterator[Caller]:
    """Open an association; `longest`: of the PDUs that may come back."""
    information = item(0x50, item(0x51, struct.pack(">L", longest)) + CLASS)
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        caller = Caller(connection)
        caller.say(request(*contexts, information))
        caller.accepted = caller.hear()
        assert caller.accepted[:1] == b"\x02", caller.accepted
        yield caller
