"""The line between parent and child: messages of a head and a body, over a pair of sockets.

The other side may be in an attacker's hands: nothing is read that is longer than it may be, and
nobody waits longer than was said, however slowly a message comes.
"""

from __future__ import annotations

import math
import socket
import struct
import time
from typing import NamedTuple

LONGEST_BYTES = 1 << 24
"""Of a message; a picture has a quarter of it, and the marks of an image hardly ever so much."""
_LENGTHS = struct.Struct("!II")


class Message(NamedTuple):
    """What is sent at once."""

    head: bytes
    """JSON."""
    body: bytes = b""
    """Large things as they are, such as pixels."""


class Line:
    """One end; one thread at a time may use it, any may close it.

    Raises TimeoutError, EOFError if the other end is closed, OSError if this one is.
    """

    def __init__(self, end: socket.socket) -> None:
        self._end = end

    @property
    def is_silent(self) -> bool:
        """Whether nothing has come that was not received, the end of the line included."""
        try:
            self._end.settimeout(0)
            self._end.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return True
        except OSError:
            pass
        return False

    def send(self, message: Message, until: float = math.inf) -> None:
        """Send a message, before `until` on the monotonic clock."""
        self._end.settimeout(_left_s(until))
        lengths = _LENGTHS.pack(len(message.head), len(message.body))
        self._end.sendall(lengths + message.head + message.body)

    def receive(self, until: float = math.inf) -> Message:
        """Wait for a message, until then; raises ValueError if it is longer than any may be."""
        head_length, body_length = _LENGTHS.unpack(self._next(_LENGTHS.size, until))
        if head_length + body_length > LONGEST_BYTES:
            raise ValueError(f"a message of more than {LONGEST_BYTES} bytes")
        return Message(self._next(head_length, until), self._next(body_length, until))

    def close(self) -> None:
        """Hang up."""
        self._end.close()

    def _next(self, length: int, until: float) -> bytes:
        content = bytearray()
        while len(content) < length:
            self._end.settimeout(_left_s(until))
            piece = self._end.recv(min(length - len(content), 1 << 20))
            if not piece:
                raise EOFError("the line was closed")
            content += piece
        return bytes(content)


def _left_s(until: float) -> float | None:
    """Return how long there is, at least a moment; None if for ever."""
    return None if until == math.inf else max(until - time.monotonic(), 1e-3)
