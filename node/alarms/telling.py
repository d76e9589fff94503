"""What is told of an alarm: the words of a mail, and the JSON of a webhook.

Whose study it is stands in neither, but for what `[alarms] shows` lets out.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from email.message import EmailMessage
from email.utils import format_datetime
from typing import Any, Literal

from node import __version__
from node.config import AlarmMail, Config
from node.ledger import AlarmedStudy, AlarmNotice
from node.overview.health import Alarm, in_round_units
from node.site import local_zone

AlarmEvent = Literal["begun", "reminder", "ended", "test"]

_HEADLINE = 110
"""Characters of a mail's subject that are about what is wrong."""
_WIDTH = 12


@dataclass(frozen=True, slots=True)
class AlarmTelling:
    """What a channel is to tell. Times are epoch seconds, UTC."""

    id: str
    """The same at each attempt, so that who hears it twice knows."""
    event: AlarmEvent
    rule: str
    subject: str
    urgency: Alarm
    words: str
    what_to_do: str
    since: float
    """When what it tells of began."""
    began_at: float
    """When that was noticed."""
    ended_at: float | None = None
    studies: tuple[AlarmedStudy, ...] = ()
    alarm_id: int | None = None
    """Its number in `ai-node alarm list`; None of what does not stand there."""


def telling_of(notice: AlarmNotice) -> AlarmTelling:
    """Return what a notice says."""
    alarm = notice.alarm
    event: AlarmEvent = notice.event.value
    return AlarmTelling(
        id=notice.id,
        event=event,
        rule=alarm.rule,
        subject=alarm.subject,
        urgency=Alarm(alarm.urgency),
        words=alarm.words,
        what_to_do=alarm.what_to_do,
        since=alarm.since,
        began_at=alarm.began_at,
        ended_at=alarm.ended_at if event == "ended" else None,
        studies=notice.studies,
        alarm_id=alarm.id,
    )


def telling_of_test(message_id: str, at: float) -> AlarmTelling:
    """Return what `ai-node alarm test` tells."""
    return AlarmTelling(
        id=message_id,
        event="test",
        rule="test",
        subject="",
        urgency=Alarm.NONE,
        words="this is a test, as `ai-node alarm test` sends it: nothing is wrong",
        what_to_do="nothing; who reads this is told of alarms",
        since=at,
        began_at=at,
    )


# Mail -----------------------------------------------------------------------------------------


def mail_of(told: AlarmTelling, config: Config, mail: AlarmMail, at: float) -> EmailMessage:
    """Return the mail that tells something, at a time (epoch seconds, UTC)."""
    message = EmailMessage()
    message["Subject"] = f"{config.node.ae_title}: {_headline(told)}"
    message["From"] = mail.sender
    message["To"] = ", ".join(mail.to)
    message["Date"] = format_datetime(datetime.fromtimestamp(at, UTC))
    message["Message-ID"] = f"<{told.id}@{mail.sender.rpartition('@')[2]}>"
    message["Auto-Submitted"] = "auto-generated"  # RFC 3834: no out-of-office answers
    if told.urgency == Alarm.ACT and told.event != "ended":
        message["Importance"] = "high"
    message.set_content("\n".join(_lines(told, config, at)) + "\n")
    return message


def _headline(told: AlarmTelling) -> str:
    words = _shortened(told.words)
    if told.event == "test":
        return "test of alarms"
    urgency = _URGENCY[told.urgency].upper()
    before = {"begun": urgency, "reminder": f"still {urgency}", "ended": "over"}[told.event]
    return f"{before}: {words}"


_CALLED = {
    "study_uid": "",
    "accession_number": "accession number ",
    "patient_id": "patient ",
    "patient_name": "",
}


def _one_line(words: str) -> str:
    """Return what may be another system's words as one line, in which all can be seen."""
    return "".join(c if c.isprintable() else " " for c in " ".join(words.split()))


def _shortened(words: str) -> str:
    words = _one_line(words)
    return words if len(words) <= _HEADLINE else f"{words[: _HEADLINE - 3].rstrip()}..."


def _lines(told: AlarmTelling, config: Config, at: float) -> Iterator[str]:
    for name, words in _said(told, config, at):
        yield f"{name:<{_WIDTH}}{words}"
    yield ""
    if told.event in ("begun", "reminder"):
        hours = f"{config.alarms.reminder_hours:g}"
        yield f"You are told again after {hours} h while it lasts, and once when it is over."
    yield "`ai-node status` says how the node is, `ai-node alarm list` what is raised."


def _said(told: AlarmTelling, config: Config, at: float) -> Iterator[tuple[str, str]]:
    yield "What", _one_line(told.words)
    for study in told.studies:
        known = _known(study, config)
        yield "Study", ", ".join(f"{_CALLED[key]}{value}" for key, value in known.items())
    yield "Where", f"AI node {config.node.ae_title}, told by {socket.gethostname()}"
    if told.event != "test":
        lasted = "" if told.ended_at is not None else f" ({in_round_units(at - told.since)} ago)"
        yield "Since", f"{_moment(told.since, config)}{lasted}"
        if told.began_at - told.since >= 1:
            yield "Noticed", _moment(told.began_at, config)
    if told.ended_at is not None:
        took = in_round_units(told.ended_at - told.since)
        yield "Over", f"{_moment(told.ended_at, config)}, after {took}"
    else:
        yield "What to do", _one_line(told.what_to_do)
    number = "" if told.alarm_id is None else f", alarm {told.alarm_id}"
    yield "Rule", f"{told.rule}{number}"


def _moment(at: float, config: Config) -> str:
    return datetime.fromtimestamp(at, local_zone(config)).strftime("%Y-%m-%d %H:%M:%S %Z")


# JSON -----------------------------------------------------------------------------------------

_URGENCY = {Alarm.NONE: "none", Alarm.LOOK: "look", Alarm.ACT: "act"}


def json_of(told: AlarmTelling, config: Config) -> bytes:
    """Return the body of a webhook: in the form that Standard Webhooks recommends."""
    said: dict[str, Any] = {
        "type": f"alarm.{told.event}",
        "timestamp": _iso(told.began_at if told.ended_at is None else told.ended_at),
        "data": {
            "alarm": told.alarm_id,
            "rule": told.rule,
            "subject": told.subject,
            "urgency": _URGENCY[told.urgency],
            "words": told.words,
            "what_to_do": told.what_to_do,
            "since": _iso(told.since),
            "began_at": _iso(told.began_at),
            "ended_at": None if told.ended_at is None else _iso(told.ended_at),
            "studies": [_known(study, config) for study in told.studies],
            "node": {
                "ae_title": config.node.ae_title,
                "machine": socket.gethostname(),
                "version": __version__,
            },
        },
    }
    return json.dumps(said, ensure_ascii=False).encode()


def _iso(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _known(study: AlarmedStudy, config: Config) -> dict[str, str]:
    """Return what may be told of whose study it is."""
    shows = config.alarms.shows
    found = {"study_uid": study.study_uid}
    if shows != "nothing":
        found["accession_number"] = study.accession_number
    if shows == "patient":
        found |= {"patient_id": study.patient_id, "patient_name": study.patient_name}
    return {key: value for key, value in found.items() if value}
