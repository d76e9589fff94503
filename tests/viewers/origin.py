"""One origin for the viewer and the archive: what a hospital's reverse proxy does."""

from __future__ import annotations

import http.client
import mimetypes
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path, PurePosixPath

from interop.programs import LOOPBACK

from . import ohif

PASSED_ON = ("/dicom-web/", "/wado")
NOT_PASSED_ON = frozenset({"host", "connection", "accept-encoding"})
PROGRAM = frozenset({".js", ".css", ".wasm", ".map", ".json", ".svg", ".png"})
"""Suffixes of files; any other path is a page of OHIF's, which it finds by itself."""


@contextmanager
def origin(pages: Path, archive_port: int) -> Iterator[str]:
    """Serve OHIF's pages, and the DICOMweb of an archive, on loopback; yields the address."""
    handler = type("Handler", (_Handler,), {"pages": pages, "archive_port": archive_port})
    server = ThreadingHTTPServer((LOOPBACK, 0), handler)
    handler.port = server.server_port  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://{LOOPBACK}:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 30
    pages: Path
    archive_port: int
    port: int

    def do_GET(self) -> None:
        path = self.path.split("?")[0]
        if path.startswith(PASSED_ON):
            self._pass_on()
        elif path == "/app-config.js":
            self._reply(ohif.CONFIGURATION.encode(), "text/javascript")
        else:
            self._serve(path)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""

    def _serve(self, path: str) -> None:
        file = (self.pages / path.lstrip("/")).resolve()
        if not (file.is_file() and file.is_relative_to(self.pages.resolve())):
            if PurePosixPath(path).suffix in PROGRAM:
                self._reply(b"not found", "text/plain", 404)
                return
            file = self.pages / "index.html"
        kind = "application/wasm" if file.suffix == ".wasm" else mimetypes.guess_type(file)[0]
        self._reply(file.read_bytes(), kind or "application/octet-stream")

    def _pass_on(self) -> None:
        headers = {k: v for k, v in self.headers.items() if k.lower() not in NOT_PASSED_ON}
        headers["Host"] = f"{LOOPBACK}:{self.port}"  # for Bulk Data URIs
        archive = http.client.HTTPConnection(LOOPBACK, self.archive_port, timeout=120)
        try:
            # Orthanc's plugin 1.7 reads "includefield=A,B", and not OHIF's "includefield=A%2CB".
            archive.request("GET", self.path.replace("%2C", ","), headers=headers)
            answer = archive.getresponse()
            content = answer.read()
        finally:
            archive.close()
        self._reply(content, answer.getheader("Content-Type"), answer.status)

    def _reply(self, content: bytes, kind: str | None, status: int = 200) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind or "application/octet-stream")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)
