"""Mails to a mail server that is somebody else's program; within TLS in tests/interop."""

from __future__ import annotations

import pytest
from dripping import dripping
from mailboxes import Mailbox, mail_server, words_in
from ports import free_port

from node.alarms.channels import MailChannel
from node.alarms.telling import telling_of_test
from node.config import AlarmMail, AlarmSettings, Config
from node.config import Node as NodeSettings
from node.errors import DeliveryError

ADDRESSES = ("pacs@hospital.example", "night@hospital.example")
TEST = telling_of_test("an-id", 1_764_000_000.0)


def channel(port: int, **mail: object) -> MailChannel:
    settings = AlarmMail.model_validate(
        {
            "to": ADDRESSES,
            "sender": "ai-node@hospital.example",
            "host": "127.0.0.1",
            "port": port,
            "security": "none",
            "timeout_s": 10,
        }
        | mail
    )
    node = NodeSettings.model_validate({"ae_title": "AINODE", "state_dir": "unused"})
    return MailChannel(Config(node=node, alarms=AlarmSettings(mail=settings)), settings)


def test_a_mail_reaches_everybody_and_says_what_it_is() -> None:
    with mail_server() as box:
        assert channel(box.port).tell(TEST) == ""
    (mail,) = box.mails
    assert box.envelopes == [("ai-node@hospital.example", ADDRESSES)]
    assert mail["To"] == ", ".join(ADDRESSES)
    assert mail["Message-ID"] == "<an-id@hospital.example>"
    assert mail["Auto-Submitted"] == "auto-generated"
    assert mail["Subject"] == "AINODE: test of alarms"
    assert "nothing is wrong" in words_in(mail)


def test_a_mail_that_was_taken_is_told_whatever_is_said_at_parting() -> None:
    with mail_server(Mailbox(free_port(), farewell="421 4.3.2 going down")) as box:
        assert channel(box.port).tell(TEST) == ""
    assert len(box.mails) == 1


def test_who_is_refused_is_said_and_the_others_get_it() -> None:
    with mail_server(Mailbox(free_port(), refuses=ADDRESSES[1:])) as box:
        amiss = channel(box.port).tell(TEST)
    assert amiss.endswith("refuses night@hospital.example (550 5.1.1 nobody is called so)")
    assert box.envelopes[0][1] == ADDRESSES[:1]


@pytest.mark.parametrize(
    ("box", "settings", "words"),
    [
        (
            {"refuses": ADDRESSES},
            {},
            "refuses pacs@hospital.example (550 5.1.1 nobody is called so); night@hospital.example"
            " (550 5.1.1 nobody is called so)",
        ),
        ({"answer": "451 4.7.1 greylisted"}, {}, "answers 451 4.7.1 greylisted"),
        (
            {},
            {"security": "starttls"},
            'offers no STARTTLS; security = "tls" is for a port that begins with TLS',
        ),
        ({}, {"security": "tls"}, "does not take mail ("),
        (
            {},
            {"tls_ca": "/nowhere/ca.pem", "security": "tls"},
            "ca.pem: cannot be used for TLS",
        ),
        ({}, {"host": "." * 70}, "cannot be looked up ("),
    ],
)
def test_why_nobody_gets_a_mail_is_said_in_words(
    box: dict[str, object], settings: dict[str, object], words: str
) -> None:
    made = Mailbox(free_port(), **box)  # type: ignore[arg-type]
    with mail_server(made), pytest.raises(DeliveryError) as caught:
        channel(made.port, **settings).tell(TEST)
    assert words in str(caught.value)
    assert made.mails == []


def test_a_server_that_is_away_is_said() -> None:
    port = free_port()
    with pytest.raises(DeliveryError) as caught:
        channel(port).tell(TEST)
    assert str(caught.value) == f"127.0.0.1:{port} does not take mail (Connection refused)"


def test_a_server_that_never_ends_its_answer_is_waited_for_so_long() -> None:
    with dripping(b"220-") as port, pytest.raises(DeliveryError) as caught:
        channel(port, timeout_s=0.3).tell(TEST)
    assert str(caught.value) == f"127.0.0.1:{port} has not answered within 0.6 s"
