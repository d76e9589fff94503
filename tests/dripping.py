"""A server that is never silent for long, and never done."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def dripping(begins: bytes = b"") -> Iterator[int]:
    """Run a server that sends a byte now and then for ever, and return its port."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with connection, contextlib.suppress(OSError):
                connection.sendall(begins)
                while not is_over.wait(0.05):
                    connection.sendall(b"a")

        is_over = threading.Event()
        thread = threading.Thread(target=serve)
        thread.start()
        yield server.getsockname()[1]
        is_over.set()
        thread.join()
