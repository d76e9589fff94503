"""The HTTP server of the page and of the monitoring: who is heard, and for how long."""

from __future__ import annotations

import contextlib
import logging
import socket
from collections.abc import Iterator

import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send

from node.errors import ConfigError
from node.http import server as http_server
from node.http.server import HttpServer
from node.logs import OncePerMinute

REQUEST = b"GET / HTTP/1.1\r\nHost: here\r\n\r\n"


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    body = await Request(scope, receive).body()
    await PlainTextResponse(b"heard " + body)(scope, receive, send)


@pytest.fixture
def server() -> Iterator[HttpServer]:
    made = HttpServer(echo, name="web", host="127.0.0.1", port=0)
    made.start()
    yield made
    made.stop()


def call(server: HttpServer, said: bytes = b"") -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", server.port), timeout=30)
    connection.sendall(said)
    return connection


def answer(connection: socket.socket) -> bytes:
    """Return the next answer; b"" if the other side hangs up."""
    said = b""
    with contextlib.suppress(ConnectionResetError):
        while not said.endswith(b"heard "):
            if not (more := connection.recv(4096)):
                break
            said += more
    return said


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"GET / HTTP/1.1\r\nHost: he",
        b"POST / HTTP/1.1\r\nHost: here\r\nContent-Length: 10\r\n\r\nabc",
        REQUEST + b"GET /",
    ],
    ids=["nothing", "half a head", "half a body", "half a second request"],
)
def test_who_does_not_say_all_is_hung_up_on(
    server: HttpServer, monkeypatch: pytest.MonkeyPatch, said: bytes
) -> None:
    monkeypatch.setattr(http_server, "_PATIENCE_S", 0.3)
    with call(server, said) as connection:
        if said.startswith(REQUEST):
            assert answer(connection).endswith(b"heard ")
        assert answer(connection) == b""


def test_when_there_are_too_many_the_next_is_hung_up_on_and_those_who_are_there_are_answered(
    server: HttpServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_server, "_MOST_CONNECTIONS", 2)
    with call(server, REQUEST) as one, call(server, REQUEST) as two:
        assert b"heard" in answer(one)
        assert b"heard" in answer(two)
        with call(server) as three:
            assert answer(three) == b""
        one.sendall(REQUEST)
        assert b"heard" in answer(one)


def test_one_address_alone_does_not_keep_the_others_out(
    server: HttpServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_server, "_MOST_OF_ONE", 1)
    with call(server, REQUEST) as one, call(server) as two:
        assert b"heard" in answer(one)
        assert answer(two) == b""
        here, other = ("127.0.0.1", server.port), ("127.0.0.2", 0)
        with socket.create_connection(here, timeout=30, source_address=other) as three:
            three.sendall(REQUEST)
            assert b"heard" in answer(three)


def test_requests_are_not_logged(server: HttpServer, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG), call(server, REQUEST) as connection:
        assert b"heard" in answer(connection)
    assert "GET" not in caplog.text
    assert "here" not in caplog.text


def test_what_is_no_request_is_said_once_a_minute_with_how_often(
    server: HttpServer, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = OncePerMinute()
    monkeypatch.setattr(http_server._SaidSeldom, "said", said)
    for _ in range(3):
        with call(server, b"garbage\r\n\r\n") as connection:
            assert answer(connection).startswith(b"HTTP/1.1 400")
    words = "Invalid HTTP request received."
    assert [record.getMessage() for record in caplog.records] == [words]
    assert said.again(words) is None
    monkeypatch.setattr(said, "_every_s", 0.0)
    with call(server, b"garbage\r\n\r\n") as connection:
        assert answer(connection).startswith(b"HTTP/1.1 400")
    assert caplog.messages[-1] == f"{words} (and 3 times more since it was last said)"


def test_a_server_is_dead_only_if_it_was_not_stopped() -> None:
    server = HttpServer(echo, name="web", host="127.0.0.1", port=0)
    assert not server.has_died
    server.start()
    assert not server.has_died
    server.stop()
    assert not server.has_died


def test_a_port_that_is_taken_is_said_in_words(server: HttpServer) -> None:
    second = HttpServer(echo, name="monitoring", host="127.0.0.1", port=server.port)
    with pytest.raises(ConfigError, match=rf"\[monitoring\] 127\.0\.0\.1:{server.port} cannot be"):
        second.start()
    second.stop()
