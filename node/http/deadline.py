"""An end to what is waited for on a connection, however slowly it comes.

A timeout of a socket is of one operation: who sends a byte now and then is never late. Here the
connection is cut at its time, so that whoever reads from it, or shakes hands, sees that it is over.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager


class CutOff:
    """What cuts connections; made by `cut_off_after`. Safe to use from two threads."""

    def __init__(self) -> None:
        self._watched: list[socket.socket] = []
        self._lock = threading.Lock()
        self.is_over = False

    def watch(self, connection: socket.socket) -> None:
        """Cut this one, too; TLS may be put upon it afterwards."""
        with self._lock:
            # Another name of the same connection: that of who uses it passes on to TLS.
            self._watched.append(connection.dup())
            if self.is_over:
                _cut(self._watched[-1])

    def end(self) -> None:
        """Cut all."""
        with self._lock:
            self.is_over = True
            for connection in self._watched:
                _cut(connection)

    def close(self) -> None:
        """Let go of all."""
        with self._lock:
            for connection in self._watched:
                connection.close()
            self._watched.clear()


def _cut(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):  # the other side may have ended it
        connection.shutdown(socket.SHUT_RDWR)


@contextmanager
def cut_off_after(seconds: float) -> Iterator[CutOff]:
    """Cut the connections that are watched if the block has not ended by then."""
    it = CutOff()
    timer = threading.Timer(seconds, it.end)
    timer.daemon = True
    timer.start()
    try:
        yield it
    finally:
        timer.cancel()
        it.close()
