"""What a node offers by HTTP beside its work, and goes on without where it cannot be offered."""

from __future__ import annotations

import threading
from typing import Protocol

import sqlalchemy as sa

from node.errors import ConfigError

TRY_AGAIN_EVERY_S = 60


class Offered(Protocol):
    """A server that may be started again, whether its start failed, or it died, or was stopped."""

    @property
    def has_died(self) -> bool:
        """Whether it ended without being asked to."""
        ...

    def start(self) -> None:
        """Begin to answer; raise ConfigError if that cannot be as things are."""
        ...

    def stop(self) -> None:
        """End what has begun, if anything has."""
        ...


class SideServer:
    """One of them: its fault is said, and tried to be mended, and stops no reception of images."""

    def __init__(self, server: Offered | None) -> None:
        """Make one; None: nobody wants it yet."""
        self._server = server
        self._lock = threading.Lock()
        self._why_not = ""
        self._is_over = False

    @property
    def trouble(self) -> str:
        """Why it does not answer now, "" if it does."""
        server = self._server
        why = self._why_not or ("it has died" if server is not None and server.has_died else "")
        return f"{why} (tried again every {TRY_AGAIN_EVERY_S} s)" if why else ""

    def start(self) -> None:
        """Begin to answer, or remember why not."""
        with self._lock:
            self._start()

    def offer(self, server: Offered | None) -> None:
        """Answer by another from now on, or not at all; the former answers what it was asked."""
        with self._lock:
            if self._is_over:
                return
            if self._server is not None:
                self._server.stop()
            self._server, self._why_not = server, ""
            self._start()

    def mend(self) -> None:
        """Start it again if it does not answer."""
        with self._lock:
            if self._is_over or self._server is None or not self.trouble:
                return
            self._server.stop()
            self._start()

    def stop(self) -> None:
        """End it for good."""
        with self._lock:
            self._is_over = True
            if self._server is not None:
                self._server.stop()

    def _start(self) -> None:
        if self._server is None:
            return
        try:
            self._server.start()
        except ConfigError as error:
            self._why_not = "; ".join(str(error).splitlines())
        except OSError as error:  # such as no descriptor left
            self._why_not = f"it cannot be started ({error.strerror or error})"
        except sa.exc.SQLAlchemyError:
            self._why_not = "the database does not answer"
        else:
            self._why_not = ""
            return
        self._server.stop()
