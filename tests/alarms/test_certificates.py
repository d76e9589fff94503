"""When certificates end: read out of what openssl made."""

from __future__ import annotations

import socket
import ssl
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.alarms import certificates
from node.alarms.certificates import CertificateEnd, ReceiverCertificates, end_of, ends_in_file
from node.config import AlarmMail, AlarmSettings, Config
from node.config import Node as NodeSettings

from .pem import ENDS, OF_A_LATER_ONE, OF_THIS_CENTURY

MAIL = {"to": ["a@b.example"], "sender": "c@b.example", "host": "127.0.0.1", "security": "tls"}
DER = ssl.PEM_cert_to_DER_cert(OF_THIS_CENTURY)


@pytest.mark.parametrize("pem", ENDS)
def test_a_certificate_says_when_it_ends(pem: str) -> None:
    assert end_of(ssl.PEM_cert_to_DER_cert(pem)) == ENDS[pem]


def test_of_a_file_with_its_chain_the_first_that_ends_counts(tmp_path: Path) -> None:
    path = tmp_path / "chain.pem"
    path.write_text(f"Bag Attributes\n{OF_A_LATER_ONE}\n{OF_THIS_CENTURY}", "ascii")
    found = ends_in_file(path)
    assert found is not None
    assert found.ends_at == ENDS[OF_THIS_CENTURY]


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", OF_THIS_CENTURY[:200].encode()])
def test_a_file_without_a_certificate_ends_at_no_time(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "empty.pem"
    path.write_bytes(content)
    assert ends_in_file(path) is None
    assert ends_in_file(tmp_path / "none.pem") is None


@given(st.integers(0, len(DER) - 1), st.integers(0, 255), st.integers(0, len(DER)))
def test_what_is_no_certificate_is_refused_and_nothing_else_happens(
    place: int, byte: int, length: int
) -> None:
    broken = DER[:place] + bytes([byte]) + DER[place + 1 :]
    for data in (broken, DER[:length]):
        try:
            end_of(data)
        except ValueError:
            continue


def test_what_is_cut_off_is_refused() -> None:
    for length in range(100):
        with pytest.raises(ValueError):
            end_of(DER[:length])


# Those of others, whom threads ask


def listening_to(port: int) -> Config:
    settings = AlarmSettings(mail=AlarmMail.model_validate(MAIL | {"port": port}))
    node = NodeSettings.model_validate({"ae_title": "AINODE", "state_dir": "unused"})
    return Config(node=node, alarms=settings)


def test_a_server_that_says_nothing_keeps_nobody_waiting() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        receivers = ReceiverCertificates()
        config = listening_to(silent.getsockname()[1])
        assert list(receivers.ends(config)) == []
        connection, _ = silent.accept()  # it is being asked, and ends says so at once
        assert list(receivers.ends(config)) == []
        connection.close()
    receivers.wait(10)
    assert list(receivers.ends(config)) == []


def test_a_server_that_is_away_has_the_certificate_that_it_had(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    receivers = ReceiverCertificates(looks_every_s=0, asks_again_s=0)
    config = listening_to(1)
    end = CertificateEnd(1000.0)
    monkeypatch.setattr(certificates, "_shown_by", lambda host, port: end)
    assert list(receivers.ends(config)) == []
    receivers.wait(10)
    monkeypatch.setattr(certificates, "_shown_by", lambda host, port: None)
    for _ in range(3):
        assert list(receivers.ends(config)) == [("[alarms.mail]", end)]
        receivers.wait(10)


def test_who_could_not_be_asked_is_asked_again_sooner(monkeypatch: pytest.MonkeyPatch) -> None:
    receivers = ReceiverCertificates(looks_every_s=1e9, asks_again_s=0)
    config, asked = listening_to(1), []

    def show(host: str, port: int) -> CertificateEnd | None:
        asked.append(port)
        return CertificateEnd(1000.0) if len(asked) == 2 else None

    monkeypatch.setattr(certificates, "_shown_by", show)
    for _ in range(5):
        list(receivers.ends(config))
        receivers.wait(10)
    assert asked == [1, 1]
