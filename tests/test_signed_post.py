"""Signed messages by HTTP: what another's reader of them says, and what is said of who answers."""

from __future__ import annotations

import contextlib
import logging
import socket
import ssl
import time
from pathlib import Path

import pytest
from dripping import dripping
from ports import free_port
from standardwebhooks import Webhook, WebhookVerificationError
from webhooks import SECRET, Program, listening

from node.deliver.messages.connecting import connected
from node.errors import DeliveryError, Unreached, Unsent
from node.http.signed_post import post_signed, signature_headers

BODY = '{"level": "urgent", "name": "Jürgen 山田"}'.encode()


def tell(url: str, *, timeout_s: float = 30, body: bytes = BODY) -> None:
    post_signed(url, SECRET, "msg_1", body, timeout_s=timeout_s)


def test_another_reader_finds_the_signature_right() -> None:
    with listening() as program:
        tell(program.url)
    (heard,) = program.heard
    assert heard.body == BODY
    assert heard.path == "/told"
    assert heard.headers["content-type"] == "application/json"
    assert heard.headers["webhook-id"] == "msg_1"
    Webhook(SECRET).verify(BODY, dict(heard.headers))
    with pytest.raises(WebhookVerificationError):
        Webhook(SECRET).verify(BODY.replace(b"urgent", b"routine"), dict(heard.headers))


def test_the_signature_is_the_one_of_the_specification() -> None:
    headers = signature_headers(
        SECRET, "msg_p5jXN8AQM9LWM0D4loKWxJek", b'{"test": 2432232314}', at=1614265330.9
    )
    assert headers["webhook-timestamp"] == "1614265330"
    assert headers["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


@pytest.mark.parametrize("status", [200, 201, 202, 204])
def test_each_answer_of_success_is_an_acknowledgement(status: int) -> None:
    with listening(Program(status=status)) as program:
        tell(program.url)
    assert len(program.heard) == 1


def test_an_answer_that_never_ends_is_waited_for_no_longer_than_was_said() -> None:
    began = time.monotonic()
    with (
        dripping(b"HTTP/1.1 200 OK\r\nX-Slow: ") as port,
        pytest.raises(Unreached, match=r"has not answered within 0\.5 s"),
    ):
        tell(f"http://127.0.0.1:{port}/", timeout_s=0.5)
    assert time.monotonic() - began < 10


def test_a_handshake_that_never_ends_is_waited_for_no_longer_than_was_said() -> None:
    began = time.monotonic()
    # A record of 16,384 bytes of a handshake follows.
    with (
        dripping(b"\x16\x03\x03\x40\x00") as port,
        pytest.raises(Unreached, match=r"has not answered within 0\.5 s"),
    ):
        tell(f"https://127.0.0.1:{port}/", timeout_s=0.5)
    with dripping(b"\x16\x03\x03\x40\x00") as port:
        context = ssl.create_default_context()
        with pytest.raises(Unsent, match=r"no trusted TLS connection within 0\.5 s"):
            connected("127.0.0.1", port, timeout_s=0.5, context=context)
    assert time.monotonic() - began < 10


@pytest.mark.parametrize("status", [400, 401, 404, 410, 429, 500])
def test_another_answer_is_said_with_its_status(status: int) -> None:
    words = rf"localhost:\d+ answered .* {status}"
    with (
        listening(Program(status=status)) as program,
        pytest.raises(DeliveryError, match=words) as raised,
    ):
        tell(program.url)
    assert not isinstance(raised.value, Unreached)


@pytest.mark.parametrize("status", [502, 503, 504])
def test_what_stands_before_a_program_may_say_that_it_is_away(status: int) -> None:
    with listening(Program(status=status)) as program, pytest.raises(Unreached, match=str(status)):
        tell(program.url)


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirection_is_not_followed(status: int) -> None:
    with listening() as elsewhere:
        redirecting = Program(status=status, location=elsewhere.url)
        with listening(redirecting), pytest.raises(DeliveryError, match=str(status)):
            tell(redirecting.url)
        assert not elsewhere.heard


def test_who_does_not_answer_is_not_waited_for_for_long() -> None:
    slow = Program(waits_s=2)
    with listening(slow), pytest.raises(Unreached, match=r"has not answered within 0\.2 s"):
        tell(slow.url, timeout_s=0.2)


def test_what_cannot_even_be_connected_to_has_heard_nothing() -> None:
    with contextlib.ExitStack() as open_ones:
        full = open_ones.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(3):  # who comes after these is not let in
            waiting = open_ones.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(full.getsockname())
        with pytest.raises(Unsent, match=r"cannot be reached \(timed out\)"):
            tell(f"http://127.0.0.1:{full.getsockname()[1]}/", timeout_s=0.5)


def test_of_a_url_only_host_and_port_are_said(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    port = free_port()
    with pytest.raises(Unreached) as raised:
        tell(f"http://user:hidden-1@localhost:{port}/hidden-2?token=hidden-3")
    assert str(raised.value) == f"localhost:{port} cannot be reached (Connection refused)"
    with listening(Program(status=500)) as program, pytest.raises(DeliveryError) as answered:
        tell(f"{program.url}?token=hidden-3")
    assert "hidden" not in str(answered.value) + caplog.text


def test_a_name_that_nobody_has_is_said() -> None:
    with pytest.raises(Unreached, match=r"nowhere\.invalid:443 cannot be reached \(.+\)"):
        tell("https://nowhere.invalid/told")


def test_certificates_that_cannot_be_read_are_said(tmp_path: Path) -> None:
    broken = tmp_path / "broken.pem"
    for content in (None, b"no certificate"):
        if content is not None:
            broken.write_bytes(content)
        with pytest.raises(DeliveryError, match=rf"{broken}: cannot be used for TLS"):
            post_signed("https://localhost:1/", SECRET, "msg_1", BODY, timeout_s=1, tls_ca=broken)
