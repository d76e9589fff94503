"""What people and programs are told: what, where, since when, what to do, and not whose."""

from __future__ import annotations

import json
import socket
from datetime import datetime
from typing import Literal
from zoneinfo import ZoneInfo

import pytest
from mailboxes import words_in

from node import __version__
from node.alarms.telling import AlarmEvent, AlarmTelling, json_of, mail_of, telling_of_test
from node.config import AlarmMail, AlarmSettings, Config
from node.config import Node as NodeSettings
from node.ledger import AlarmedStudy
from node.overview.health import Alarm

MAIL = AlarmMail(to=("a@b.example",), sender="ai-node@b.example", host="mail.b.example")
ZONE = ZoneInfo("Europe/Berlin")
NIGHT = datetime(2026, 11, 29, 3, 1, 12, tzinfo=ZONE).timestamp()
STUDY = AlarmedStudy("1.2.3", "A-1", "P-1", "DOE^JANE")


def config(shows: Literal["nothing", "accession", "patient"] = "nothing") -> Config:
    node = NodeSettings.model_validate(
        {"ae_title": "AINODE", "state_dir": "unused", "timezone": "Europe/Berlin"}
    )
    return Config(node=node, alarms=AlarmSettings(mail=MAIL, shows=shows))


def told(
    event: AlarmEvent = "begun", words: str = "pacs (PACS at h:104) lacks 1 result"
) -> AlarmTelling:
    return AlarmTelling(
        id="an-id",
        event=event,
        rule="urgent-late",
        subject="pacs",
        urgency=Alarm.ACT,
        words=words,
        what_to_do="see to it",
        since=NIGHT,
        began_at=NIGHT + 300,
        ended_at=NIGHT + 3900 if event == "ended" else None,
        studies=(STUDY,),
        alarm_id=7,
    )


def test_a_mail_says_what_where_since_when_and_what_to_do() -> None:
    mail = mail_of(told(), config(), MAIL, NIGHT + 360)
    assert mail["Subject"] == "AINODE: ACT: pacs (PACS at h:104) lacks 1 result"
    assert mail["Importance"] == "high"
    assert words_in(mail).splitlines() == [
        "What        pacs (PACS at h:104) lacks 1 result",
        "Study       1.2.3",
        f"Where       AI node AINODE, told by {socket.gethostname()}",
        "Since       2026-11-29 03:01:12 CET (6 min ago)",
        "Noticed     2026-11-29 03:06:12 CET",
        "What to do  see to it",
        "Rule        urgent-late, alarm 7",
        "",
        "You are told again after 24 h while it lasts, and once when it is over.",
        "`ai-node status` says how the node is, `ai-node alarm list` what is raised.",
    ]


def test_a_mail_that_something_is_over_says_when_and_asks_for_nothing() -> None:
    mail = mail_of(told("ended"), config(), MAIL, NIGHT + 4000)
    assert mail["Subject"] == "AINODE: over: pacs (PACS at h:104) lacks 1 result"
    assert "Importance" not in mail
    text = words_in(mail)
    assert "Over        2026-11-29 04:06:12 CET, after 65 min" in text
    assert "see to it" not in text


def test_a_reminder_says_that_it_is_still_so() -> None:
    mail = mail_of(told("reminder"), config(), MAIL, NIGHT + 90_000)
    assert mail["Subject"].startswith("AINODE: still ACT: pacs")


@pytest.mark.parametrize(
    ("shows", "known"),
    [
        ("nothing", {"study_uid": "1.2.3"}),
        ("accession", {"study_uid": "1.2.3", "accession_number": "A-1"}),
        (
            "patient",
            {"study_uid": "1.2.3", "accession_number": "A-1"}
            | {"patient_id": "P-1", "patient_name": "DOE^JANE"},
        ),
    ],
)
def test_no_more_of_whose_study_it_is_is_told_than_the_site_says(
    shows: Literal["nothing", "accession", "patient"], known: dict[str, str]
) -> None:
    body = json_of(told(), config(shows))
    assert json.loads(body)["data"]["studies"] == [known]
    text = words_in(mail_of(told(), config(shows), MAIL, NIGHT))
    for value in ("A-1", "P-1", "DOE"):
        assert (value in text) == any(value in one for one in known.values())
        assert (value.encode() in body) == any(value in one for one in known.values())


def test_json_is_as_standard_webhooks_recommends_and_says_all_of_it() -> None:
    assert json.loads(json_of(told("ended"), config())) == {
        "type": "alarm.ended",
        "timestamp": "2026-11-29T03:06:12.000Z",
        "data": {
            "alarm": 7,
            "rule": "urgent-late",
            "subject": "pacs",
            "urgency": "act",
            "words": "pacs (PACS at h:104) lacks 1 result",
            "what_to_do": "see to it",
            "since": "2026-11-29T02:01:12.000Z",
            "began_at": "2026-11-29T02:06:12.000Z",
            "ended_at": "2026-11-29T03:06:12.000Z",
            "studies": [{"study_uid": "1.2.3"}],
            "node": {
                "ae_title": "AINODE",
                "machine": socket.gethostname(),
                "version": __version__,
            },
        },
    }
    assert json.loads(json_of(told(), config()))["data"]["ended_at"] is None
    assert json.loads(json_of(telling_of_test("x", NIGHT), config()))["type"] == "alarm.test"


def test_what_another_system_says_cannot_change_a_mail() -> None:
    hostile = "pacs: no\r\nBcc: everybody@evil.example\r\n\r\nDear Sir \u202e \u00e4" + "x" * 300
    mail = mail_of(told(words=hostile), config(), MAIL, NIGHT)
    assert mail["Bcc"] is None
    assert "\n" not in mail["Subject"]
    assert words_in(mail).splitlines()[0].startswith("What        pacs: no Bcc: everybody@evil")
    assert len(mail["Subject"]) < 140
    wire = mail.as_bytes()
    assert b"\r\nBcc" not in wire
    assert wire.partition(b"\n\n")[0].count(b"Bcc:") <= 1  # within the subject
