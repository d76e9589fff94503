"""Ports for programs that are told where to listen, and are perhaps started there again later.

A port that the system picks may be lent to any outgoing connection as soon as nobody listens, so
that a node that is started again finds its port taken. Those picked here lie below what Linux
lends out (32768 and above), and none is given twice, whoever else runs these tests.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

_FIRST, _END, _BLOCK = 12000, 32000, 100
_claims: list[socket.socket] = []
"""Held until this process ends, however it ends: they say whose blocks of ports are taken."""


def _has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


needs_ipv6 = pytest.mark.skipif(not _has_ipv6(), reason="this machine has no IPv6")


def free_port() -> int:
    """Return a port of this machine that nobody listens on, and that no connection takes."""
    for port in _ports:
        with socket.socket() as probe:
            try:
                probe.bind(("", port))  # Orthanc and dcmtk listen on every interface
            except OSError:
                continue
        return port
    raise OSError(f"no port from {_FIRST} to {_END - 1} is free")


def _ours() -> Iterator[int]:
    for first in range(_FIRST, _END, _BLOCK):
        claim = socket.socket(socket.AF_UNIX)
        try:
            claim.bind(f"\0the ports from {first} of the node's tests")
        except OSError:
            claim.close()
            continue
        _claims.append(claim)
        yield from range(first, first + _BLOCK)


_ports = _ours()
