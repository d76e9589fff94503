"""A program that signed messages are brought to, by HTTP or HTTPS, and remembers them."""

from __future__ import annotations

import ssl
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

SECRET = "whsec_" + "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
"""The one that the specification's examples have."""


@dataclass(frozen=True)
class Heard:
    """A message as it came."""

    path: str
    headers: Mapping[str, str]
    body: bytes


@dataclass
class Program:
    """What hears, and what it answers."""

    status: int = 200
    location: str = ""
    waits_s: float = 0
    port: int = 0
    is_tls: bool = False
    heard: list[Heard] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"{'https' if self.is_tls else 'http'}://localhost:{self.port}/told"


@contextmanager
def listening(
    program: Program | None = None, tls: tuple[Path, Path] | None = None
) -> Iterator[Program]:
    """Run such a program; with TLS if there is a certificate and its key."""
    it = program or Program()
    it.is_tls = tls is not None

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            it.heard.append(Heard(self.path, {k.lower(): v for k, v in self.headers.items()}, body))
            time.sleep(it.waits_s)
            self.send_response(it.status)
            if it.location:
                self.send_header("Location", it.location)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: object, client_address: object) -> None:
            pass  # of who hung up

    server = Server(("localhost", it.port), Handler)
    if tls is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*tls)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    it.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield it
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
