"""Ports for programs that are told where to listen, and are perhaps started there again later.

A port that the system picks may be lent to any outgoing connection as soon as nobody listens, so
that a node that is started again finds its port taken. Those picked here lie below what Linux
lends out (32768 and above), each worker has its own range, and none is given twice.
"""

from __future__ import annotations

import os
import socket
from itertools import count

_FIRST, _EACH, _WORKERS = 12000, 1000, 20
_worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
_begin = _FIRST + _EACH * (_worker % _WORKERS)
_offsets = count(os.getpid())  # two runs beside each other seldom begin at the same port


def free_port() -> int:
    """Return a port of this machine that nobody listens on, and that no connection takes."""
    for _ in range(_EACH):
        port = _begin + next(_offsets) % _EACH
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port
    raise OSError(f"no port from {_begin} to {_begin + _EACH - 1} is free")
