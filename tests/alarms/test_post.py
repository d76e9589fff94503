"""Notices reach channels that are somebody else's programs: once, in the end, and in time."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace

from ledgers import Desk
from mailboxes import Mailbox, mail_server, words_in
from ports import free_port
from standardwebhooks import Webhook
from webhooks import SECRET, Program, listening

from node.alarms.channels import AlarmChannel, alarm_channels
from node.alarms.post import AlarmPost
from node.alarms.telling import AlarmTelling
from node.config import AlarmMail, AlarmSettings, AlarmWebhook
from node.errors import DeliveryError
from node.ledger import Alarming, NoticeState, Trouble, schema
from node.overview.health import Alarm

from .rules import age, watched

LATE = Trouble("urgent-late", "pacs", 2, "pacs lacks 1 result", "see to it", 1000.0)
AWAY = AlarmTelling(
    "id", "begun", "part-ill", "database", Alarm.ACT, "database: away", "see to it", 1.0, 1.0
)


def until(is_so: Callable[[], bool], within_s: float = 30) -> bool:
    give_up_at = time.monotonic() + within_s
    while not (is_it := is_so()) and time.monotonic() < give_up_at:
        time.sleep(0.01)
    return is_it


class Recorded:
    """A channel that remembers, and may refuse or take its time."""

    where = "nobody"

    def __init__(self) -> None:
        self.told: list[AlarmTelling] = []
        self.tried: list[str] = []
        self.refuses = False
        self.go_on = threading.Event()
        self.go_on.set()

    def reach(self) -> None:
        """It is here."""

    def tell(self, told: AlarmTelling) -> str:
        self.tried.append(told.id)
        self.go_on.wait(30)
        if self.refuses:
            raise DeliveryError("it is full")
        self.told.append(told)
        return ""


@contextmanager
def posting(desk: Desk, channels: Mapping[str, AlarmChannel]) -> Iterator[AlarmPost]:
    post = AlarmPost(Alarming(desk.ledger), channels, looks_every_s=0.05, waits_first_s=0.05)
    post.start()
    yield post
    post.stop()


def raised(desk: Desk, *channels: str, trouble: Trouble = LATE) -> Alarming:
    work = Alarming(desk.ledger)
    work.raise_alarm(trouble, channels, reminder_s=1e6, news_s=1e6)
    return work


def ended(desk: Desk, *channels: str) -> None:
    age(desk, 400, schema.alarm, "began_at", "seen_at")
    work = Alarming(desk.ledger)
    for alarm in work.open_alarms()[1]:
        assert work.end_alarm(alarm, channels, 300)


def states(desk: Desk) -> set[str]:
    return {row["state"] for row in desk.rows(schema.alarm_notice)}


def test_what_is_raised_reaches_people_by_mail_and_a_program_by_a_signed_message(
    desk: Desk,
) -> None:
    with mail_server() as box, listening() as program:
        alarms = AlarmSettings(
            mail=AlarmMail(
                to=("a@b.example",),
                sender="n@b.example",
                host="127.0.0.1",
                port=box.port,
                security="none",
            ),
            webhook=AlarmWebhook(url=program.url, secret=SECRET),
        )
        channels = alarm_channels(watched(desk, alarms=alarms).config)
        raised(desk, *channels)
        with posting(desk, channels):
            assert until(lambda: states(desk) == {NoticeState.SENT})
            ended(desk, *channels)
            assert until(lambda: len(box.mails) == len(program.heard) == 2)
            assert until(lambda: states(desk) == {NoticeState.SENT})
    assert [mail["Subject"] for mail in box.mails] == [
        "AINODE: ACT: pacs lacks 1 result",
        "AINODE: over: pacs lacks 1 result",
    ]
    assert "see to it" in words_in(box.mails[0])
    said = [Webhook(SECRET).verify(one.body, dict(one.headers)) for one in program.heard]
    assert [one["type"] for one in said] == ["alarm.begun", "alarm.ended"]
    ids = {row["id"] for row in desk.rows(schema.alarm_notice) if row["channel"] == "webhook"}
    assert {one.headers["webhook-id"] for one in program.heard} == ids


def test_a_program_that_fails_is_told_again_under_the_same_id(desk: Desk) -> None:
    program = Program(status=503)
    with listening(program):
        alarms = AlarmSettings(webhook=AlarmWebhook(url=program.url, secret=SECRET))
        channels = alarm_channels(watched(desk, alarms=alarms).config)
        raised(desk, "webhook")
        with posting(desk, channels):
            assert until(lambda: len(program.heard) >= 2)
            assert states(desk) == {NoticeState.QUEUED}
            program.status = 204
            assert until(lambda: states(desk) == {NoticeState.SENT})
    assert len({one.headers["webhook-id"] for one in program.heard}) == 1
    assert len({one.body for one in program.heard}) == 1
    assert json.loads(program.heard[0].body)["data"]["words"] == "pacs lacks 1 result"


def test_a_mail_server_that_is_away_gets_it_once_it_is_back(desk: Desk) -> None:
    port = free_port()
    mail = AlarmMail(
        to=("a@b.example",), sender="n@b.example", host="127.0.0.1", port=port, security="none"
    )
    channels = alarm_channels(watched(desk, alarms=AlarmSettings(mail=mail)).config)
    raised(desk, "mail")
    with posting(desk, channels):
        assert until(lambda: bool(desk.rows(schema.alarm_notice)[0]["error"]))
        with mail_server(Mailbox(port)) as box:
            assert until(lambda: states(desk) == {NoticeState.SENT})
    assert len(box.mails) == 1


def test_a_channel_that_takes_its_time_delays_no_other(desk: Desk) -> None:
    slow, quick = Recorded(), Recorded()
    slow.go_on.clear()
    raised(desk, "slow", "quick")
    with posting(desk, {"slow": slow, "quick": quick}):
        assert until(lambda: len(quick.told) == 1 and len(slow.tried) == 1)
        assert slow.told == []
        slow.go_on.set()
        assert until(lambda: len(slow.told) == 1)


def test_of_several_nodes_one_tells_each_notice(desk: Desk) -> None:
    channel = Recorded()
    with (
        posting(desk, {"mail": channel}),
        posting(desk, {"mail": channel}),
        posting(desk, {"mail": channel}),
    ):
        for number in range(20):
            raised(desk, "mail", trouble=replace(LATE, subject=f"pacs-{number}"))
        assert until(lambda: states(desk) == {NoticeState.SENT})
    assert len(channel.told) == 20
    assert len({one.subject for one in channel.told}) == 20


def test_a_channel_that_is_down_is_tried_with_one_notice_and_then_gets_all(desk: Desk) -> None:
    channel = Recorded()
    channel.refuses = True
    for number in range(5):
        raised(desk, "mail", trouble=replace(LATE, subject=f"pacs-{number}"))
    post = AlarmPost(
        Alarming(desk.ledger), {"mail": channel}, looks_every_s=0.01, waits_first_s=1.0
    )
    post.start()
    assert until(lambda: len(channel.tried) == 1)
    post.wake()
    assert not until(lambda: len(channel.tried) > 1, within_s=0.3), "it is left alone for a while"
    channel.refuses = False
    assert until(lambda: len(channel.told) == 5)
    post.stop()


def test_what_was_over_before_it_could_be_told_is_told_once(desk: Desk) -> None:
    channel = Recorded()
    raised(desk, "mail")
    ended(desk, "mail")
    with posting(desk, {"mail": channel}):
        assert until(lambda: len(channel.told) == 1)
        assert until(lambda: states(desk) == {NoticeState.SENT})
    (told,) = channel.told
    assert told.event == "ended"
    assert told.ended_at is not None
    assert told.since == LATE.since


def test_what_cannot_be_written_down_is_told_from_memory(desk: Desk) -> None:
    channel = Recorded()
    channel.refuses = True
    with posting(desk, {"mail": channel}) as post:
        post.tell_without_ledger(AWAY)
        assert until(lambda: len(channel.tried) >= 2)
        channel.refuses = False
        assert until(lambda: len(channel.told) == 1)
        post.tell_without_ledger(replace(AWAY, event="ended", ended_at=2.0))
        assert until(lambda: len(channel.told) == 2)
    assert [one.event for one in channel.told] == ["begun", "ended"]


def test_what_nobody_heard_begin_is_not_told_to_be_over(desk: Desk) -> None:
    channel = Recorded()
    channel.refuses = True
    with posting(desk, {"mail": channel}) as post:
        post.tell_without_ledger(AWAY)
        assert until(lambda: len(channel.tried) >= 1)
        post.tell_without_ledger(replace(AWAY, id="2", event="ended", ended_at=2.0))
        channel.refuses = False
        raised(desk, "mail")
        assert until(lambda: states(desk) == {NoticeState.SENT})
    assert [one.rule for one in channel.told] == ["urgent-late"]


def test_a_defect_of_a_channel_is_logged_and_silences_no_other(desk: Desk) -> None:
    class Defect(Recorded):
        def tell(self, told: AlarmTelling) -> str:
            raise ValueError("a defect")

    channel = Recorded()
    raised(desk, "mail", "webhook")
    with posting(desk, {"mail": Defect(), "webhook": channel}):
        assert until(lambda: len(channel.told) == 1)


def test_a_channel_that_hangs_holds_up_no_end(desk: Desk) -> None:
    channel = Recorded()
    channel.go_on.clear()
    raised(desk, "mail")
    post = AlarmPost(Alarming(desk.ledger), {"mail": channel}, looks_every_s=0.05)
    post.start()
    assert until(lambda: len(channel.tried) == 1)
    began_at = time.monotonic()
    post.stop()
    assert time.monotonic() - began_at < 5
    channel.go_on.set()
    assert until(lambda: states(desk) == {NoticeState.SENT})
