"""The page with TLS of its own, by a certificate that openssl makes."""

from __future__ import annotations

import contextlib
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from pages import READER, ServedPage, web_config
from starlette.responses import PlainTextResponse

from node.current import Current
from node.errors import ConfigError
from node.http import server as http_server
from node.http.server import HttpServer, Tls
from node.ledger import Ledger
from node.store import Store
from node.web.serving import Page

from .tls import make_certificate

pytestmark = pytest.mark.interop


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate for this machine, and its key."""
    return make_certificate(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    opened = Ledger(f"sqlite:///{tmp_path / 'ledger.db'}")
    opened.migrate()
    yield opened
    opened.close()


def test_a_login_over_tls(
    ledger: Ledger, store: Store, tmp_path: Path, pair: tuple[Path, Path]
) -> None:
    settings = web_config(
        tmp_path,
        f"sqlite:///{tmp_path / 'ledger.db'}",
        host="0.0.0.0",
        names=["localhost"],
        tls_certificate=pair[0],
        tls_key=pair[1],
    )
    site = ServedPage(ledger, store, settings)
    site.add_users()
    site.page.start()
    port = site.page.address.rpartition(":")[2]
    assert site.page.address == f"https://0.0.0.0:{port}"
    with site.visitor(READER, at=f"https://localhost:{port}", trusts=pair[0]) as visitor:
        answer = visitor.ask("/")
        assert answer.status_code == 200
        # It would hold for each port of the host name, and for what else of the site is there.
        assert "strict-transport-security" not in answer.headers
        assert "__Host-ai-node" in visitor.client.cookies
    with pytest.raises(httpx.HTTPError):
        httpx.get(f"http://localhost:{port}")
    site.page.stop()


def test_a_certificate_that_cannot_be_used_is_said_in_words(
    ledger: Ledger, store: Store, tmp_path: Path, pair: tuple[Path, Path]
) -> None:
    (tmp_path / "empty.pem").touch()
    for certificate, key in ((pair[0], tmp_path / "empty.pem"), (tmp_path / "none.pem", pair[1])):
        settings = web_config(
            tmp_path,
            f"sqlite:///{tmp_path / 'ledger.db'}",
            tls_certificate=certificate,
            tls_key=key,
        )
        assert settings.web is not None
        page = Page(Current(settings), store)
        ServedPage(ledger, store, settings).add_users()
        with pytest.raises(ConfigError, match="the certificate or its key cannot be used"):
            page.start()
        page.stop()


@contextlib.contextmanager
def speaking_tls(pair: tuple[Path, Path]) -> Iterator[tuple[str, int]]:
    """Serve something by TLS alone; yields where."""
    answer = PlainTextResponse("heard")
    server = HttpServer(answer, name="web", host="127.0.0.1", port=0, tls=Tls(*pair))
    server.start()
    try:
        yield "127.0.0.1", server.port
    finally:
        server.stop()


def is_hung_up_on(connection: socket.socket) -> bool:
    connection.settimeout(30)
    with contextlib.suppress(ConnectionResetError):
        return connection.recv(1) == b""
    return True


def test_too_many_who_never_begin_tls_are_hung_up_on(
    pair: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_server, "_MOST_CONNECTIONS", 2)
    with (
        speaking_tls(pair) as address,
        socket.create_connection(address),
        socket.create_connection(address),
        socket.create_connection(address) as third,
    ):
        assert is_hung_up_on(third)


def test_who_never_begins_tls_gives_way_to_others_soon(
    pair: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_server, "_TLS_PATIENCE_S", 0.3)
    monkeypatch.setattr(http_server, "_MOST_CONNECTIONS", 1)
    trust = ssl.create_default_context(cafile=str(pair[0]))
    with speaking_tls(pair) as address:
        with socket.create_connection(address) as silent:
            assert is_hung_up_on(silent)
        answer = httpx.get(f"https://{address[0]}:{address[1]}", verify=trust)
        assert answer.text == "heard"
