"""What systemd hears from us: ready, alive, stopping. Without systemd nobody is told anything.

The protocol is that of sd_notify(3): datagrams to the socket that $NOTIFY_SOCKET names.
"""

from __future__ import annotations

import functools
import logging
import os
import socket
import time

log = logging.getLogger(__name__)


def tell(state: str) -> bool:
    """Tell systemd: "READY=1", "STOPPING=1", "WATCHDOG=1"; return whether it can have heard it.

    A node whose supervisor is not there works on all the same, and never waits for it.
    """
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return False
    if address.startswith("@"):  # Linux's abstract namespace
        address = f"\0{address[1:]}"
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as systemd:
            systemd.setblocking(False)
            systemd.connect(address)
            systemd.sendall(state.encode("ascii"))
    except OSError as error:
        _complain(error.strerror or str(error))
        return False
    return True


def tell_reloading() -> bool:
    """Tell systemd that we read our configuration anew, until we tell "READY=1"."""
    now_us = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    return tell(f"RELOADING=1\nMONOTONIC_USEC={now_us}")


@functools.cache
def _complain(reason: str) -> None:
    """Log it once: the watchdog would repeat it for ever."""
    log.warning("systemd does not hear us at $NOTIFY_SOCKET: %s", reason)


class Watchdog:
    """Lets systemd know that we live, if it wants to; it kills and restarts who falls silent."""

    def __init__(self) -> None:
        wanted = os.environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        self._period_s = int(os.environ.get("WATCHDOG_USEC", "0")) / 1e6 / 2 if wanted else 0.0
        self._fed_at = float("-inf")

    def feed(self) -> None:
        """Say that we live, at least twice in the time that it waits."""
        is_due = self._period_s and time.monotonic() - self._fed_at >= self._period_s
        if is_due and tell("WATCHDOG=1"):
            self._fed_at = time.monotonic()
