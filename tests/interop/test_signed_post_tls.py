"""Signed messages by HTTPS: whose certificate is trusted."""

from __future__ import annotations

from pathlib import Path

import pytest
from standardwebhooks import Webhook
from webhooks import SECRET, listening

from node.errors import Unreached
from node.http.signed_post import post_signed

from .tls import make_certificate

pytestmark = pytest.mark.interop


def test_a_certificate_of_the_site_is_trusted_where_it_is_named(tmp_path: Path) -> None:
    ours, other = make_certificate(tmp_path), make_certificate(tmp_path, "other.example")
    with listening(tls=ours) as program:
        post_signed(program.url, SECRET, "msg_1", b"{}", timeout_s=30, tls_ca=ours[0])
        for trusted in (None, other[0]):
            with pytest.raises(Unreached, match=r"no trusted TLS connection .*self-signed"):
                post_signed(program.url, SECRET, "msg_2", b"{}", timeout_s=30, tls_ca=trusted)
    (heard,) = program.heard
    Webhook(SECRET).verify(heard.body, dict(heard.headers))


def test_a_certificate_of_another_host_is_not_trusted(tmp_path: Path) -> None:
    other = make_certificate(tmp_path, "other.example")
    words = r"no trusted TLS connection .*localhost"
    with listening(tls=other) as program, pytest.raises(Unreached, match=words):
        post_signed(program.url, SECRET, "msg_1", b"{}", timeout_s=30, tls_ca=other[0])
    assert not program.heard


def test_who_speaks_no_tls_is_said_to(tmp_path: Path) -> None:
    with listening() as program:
        url = program.url.replace("http:", "https:")
        with pytest.raises(Unreached, match="no trusted TLS connection"):
            post_signed(url, SECRET, "msg_1", b"{}", timeout_s=30)
