"""A small HTTP server in a thread of its own: what the web page and the monitoring answer by."""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import anyio.to_thread
import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

from node.errors import ConfigError
from node.logs import OncePerMinute

_DRAIN_S = 5
_MOST_CONNECTIONS = 200
"""At a time: each takes a file descriptor, of which the listener for studies needs some, too."""
_MOST_OF_ONE = 100
"""Of these from one address, so that nobody alone keeps all others out."""
_PATIENCE_S = 20.0
"""With who does not say the whole of a request."""
_TLS_PATIENCE_S = 5.0
"""With who does not say what TLS begins, or ends, with; asyncio itself waits for 60 s."""


@dataclass(frozen=True, slots=True)
class Tls:
    """Certificate (with its chain) and key of a server, PEM."""

    certificate: Path
    key: Path


class _SaidSeldom(logging.Filter):
    """Lets each warning be said once a minute: anybody may send what is no request."""

    said = OncePerMinute()

    def filter(self, record: logging.LogRecord) -> bool:
        """Let a record pass, or not."""
        if record.levelno != logging.WARNING:
            return True
        words = record.getMessage()
        more = self.said.again(words)
        record.msg, record.args = f"{words}{more or ''}", ()
        return more is not None


_SELDOM = _SaidSeldom()


class _Door(socket.socket):
    """Hangs up at once on who comes when there are too many: before TLS, and before any of ours.

    A _Connection is made only after the handshake, and who says nothing never gets so far.
    """

    def __init__(self, family: socket.AddressFamily) -> None:
        super().__init__(family, socket.SOCK_STREAM)
        self._let_in: list[tuple[socket.socket, str]] = []

    def accept(self) -> tuple[socket.socket, Any]:
        """Return the next connection; raise ConnectionAbortedError if there is no room for it."""
        connection, address = super().accept()
        self._let_in = [one for one in self._let_in if one[0].fileno() >= 0]  # not closed yet
        of_one = sum(host == address[0] for _, host in self._let_in)
        if len(self._let_in) >= _MOST_CONNECTIONS or of_one >= _MOST_OF_ONE:
            connection.close()
            raise ConnectionAbortedError("too many connections")  # asyncio goes on with the next
        self._let_in.append((connection, address[0]))
        return connection, address


class _Loop(asyncio.SelectorEventLoop):
    """Has less patience with TLS than asyncio; uvicorn has no setting for it."""

    async def create_server(self, *args: Any, **settings: Any) -> asyncio.Server:
        """Return a server."""
        if settings.get("ssl") is not None:
            settings["ssl_handshake_timeout"] = _TLS_PATIENCE_S
            settings["ssl_shutdown_timeout"] = _TLS_PATIENCE_S
        return await super().create_server(*args, **settings)


class _Connection(H11Protocol):
    """Hangs up on who says nothing whole for long."""

    _patience: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._patience is not None:
            self._patience.cancel()
        super().connection_lost(exc)

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._wait()

    def _wait(self) -> None:
        """Give the client its time for a request, from now on."""
        if self._patience is not None:
            self._patience.cancel()
        self._patience = self.loop.call_later(_PATIENCE_S, self._lose_patience)

    def _lose_patience(self) -> None:
        cycle = cast("RequestResponseCycle | None", self.cycle)  # none before the first request
        if cycle is None or cycle.response_complete or cycle.more_body:
            self.transport.abort()


class HttpServer:
    """Answers at one address until it is stopped.

    Requests are not logged: their addresses may say whose a study is.
    """

    def __init__(  # noqa: PLR0913 - all but the first by name
        self,
        application: ASGIApp,
        *,
        name: str,
        host: str,
        port: int,
        tls: Tls | None = None,
        proxies: Sequence[str] = (),
        threads: int = 8,
    ) -> None:
        self._name = name
        """What it is called in messages, and the table of its settings: "web"."""
        self._host, self._asked_port = host, port
        self._socket: socket.socket | None = None
        self._threads = threads
        """Views at a time, of those that are not async: each may hold a connection of a ledger."""
        settings = uvicorn.Config(
            application,
            http=_Connection,
            log_config=None,
            access_log=False,
            server_header=False,
            lifespan="off",
            ws="none",
            proxy_headers=bool(proxies),
            forwarded_allow_ips=list(proxies),
            ssl_certfile=None if tls is None else tls.certificate,
            ssl_keyfile=None if tls is None else tls.key,
            timeout_graceful_shutdown=_DRAIN_S,
        )
        logging.getLogger("uvicorn").setLevel(logging.WARNING)
        logging.getLogger("uvicorn.error").addFilter(_SELDOM)  # the second time it is there already
        try:
            settings.load()
        except OSError as error:  # ssl.SSLError is one
            raise ConfigError(
                f"[{name}] the certificate or its key cannot be used ({error.strerror or error}); "
                "both are PEM files that the user the node runs as may read"
            ) from error
        self._server = uvicorn.Server(settings)
        self._thread = threading.Thread(target=self._serve, name=f"{name} server", daemon=True)

    @property
    def port(self) -> int:
        """The port that is really used."""
        assert self._socket is not None, "it has been started"
        return int(self._socket.getsockname()[1])

    @property
    def has_died(self) -> bool:
        """Whether it ended without being asked to."""
        is_wanted = self._thread.ident is not None and not self._server.should_exit
        return is_wanted and not self._thread.is_alive()

    def start(self) -> None:
        """Listen; raise ConfigError if that is impossible here."""
        is_v6 = ":" in self._host
        listener = _Door(socket.AF_INET6 if is_v6 else socket.AF_INET)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if self._host == "::":
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        try:
            listener.bind((self._host, self._asked_port))
            listener.listen(128)
        except OSError as error:
            listener.close()
            raise ConfigError(
                f"[{self._name}] {self._host}:{self._asked_port} cannot be listened on "
                f"({error.strerror}); stop what uses it, or choose another host or port"
            ) from error
        self._socket = listener
        self._thread.start()

    def stop(self) -> None:
        """Answer what was asked, and end."""
        self._server.should_exit = True
        if self._thread.ident is not None:
            self._thread.join(_DRAIN_S + 5)
        if self._socket is not None:
            self._socket.close()

    def _serve(self) -> None:
        assert self._socket is not None
        with asyncio.Runner(loop_factory=_Loop) as runner:
            runner.run(self._serve_on(self._socket))

    async def _serve_on(self, listener: socket.socket) -> None:
        anyio.to_thread.current_default_thread_limiter().total_tokens = self._threads
        await self._server.serve(sockets=[listener])
