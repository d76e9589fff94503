"""The watch of several nodes over one ledger: raised once, over once, and told whatever happens."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
import sqlalchemy as sa
from ledgers import HOUR_S, Desk, run_at_once

from node.alarms.channels import AlarmChannel
from node.alarms.examining import Examiner, RuleExamination
from node.alarms.post import AlarmPost
from node.alarms.raising import AWAY_S, SETTLES_S, AlarmWatch
from node.alarms.telling import AlarmTelling
from node.alarms.watched import Watched
from node.ledger import Alarming, Role, Trouble, schema
from node.overview.health import Alarm

from .rules import PLACE, age, clock, watched

LATE = Trouble("urgent-late", "pacs", 2, "pacs lacks 1 result", "see to it", 1000.0)


class Clock:
    """A monotonic clock that tests move."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Post(AlarmPost):
    """Remembers what is told without the ledger."""

    def __init__(self, desk: Desk, *channels: str) -> None:
        named: Mapping[str, AlarmChannel] = dict.fromkeys(channels or ("mail",))  # type: ignore[assignment]
        super().__init__(Alarming(desk.ledger), named)
        self.told: list[AlarmTelling] = []

    def tell_without_ledger(self, told: AlarmTelling) -> None:
        self.told.append(told)


class Node:
    """One of the nodes on the ledger, and what its rules find."""

    def __init__(self, desk: Desk, place: str = PLACE, *, asked: Any = None, **how: Any) -> None:
        self.desk, self.clock, self.post = desk, Clock(), Post(desk)
        self.troubles: list[Trouble] = []
        self.error: Exception | None = None
        watched_node = replace(watched(desk, **how), place=place)
        rules = asked or (
            RuleExamination("urgent-late", self._find),
            RuleExamination("part-ill", lambda _: iter(()), begins_after_s=120),
        )
        examiner = Examiner(watched_node, rules, self.clock)
        self.watch = AlarmWatch(watched_node, self.post, examiner, self.clock)

    def _find(self, node: Watched) -> Iterator[Trouble]:
        if self.error is not None:
            raise self.error
        yield from self.troubles

    def look(self) -> None:
        self.watch.look()

    def pass_s(self, seconds: float) -> None:
        """Let time pass, here and in the database, and look every ten seconds."""
        for _ in range(round(seconds / 10)):
            self.clock.now += 10
            let_pass(self.desk, 10)
            self.look_in_time()

    def look_in_time(self) -> None:
        last = self.watch._looked
        if last is not None:  # the database's clock has gone on as ours
            self.watch._looked = self.clock.now - 10, clock(self.desk) - 10
        self.look()

    def settle(self) -> None:
        self.look()
        self.pass_s(SETTLES_S)


def let_pass(desk: Desk, seconds: float) -> None:
    age(desk, seconds, schema.alarm, "began_at", "seen_at", "reminded_at", "ended_at")


def lasting(desk: Desk) -> list[str]:
    return [f"{one.rule} {one.subject}" for one in Alarming(desk.ledger).raised()]


def events(desk: Desk) -> list[str]:
    rows = sorted(desk.rows(schema.alarm_notice), key=lambda row: row["made_at"])
    return [str(row["event"]) for row in rows]


@contextmanager
def away(desk: Desk) -> Iterator[None]:
    """Let the database not answer."""

    def fail(connection: sa.Connection) -> None:
        raise sa.exc.OperationalError("", None, sqlite3.OperationalError("disk I/O error"))

    engine = desk.ledger._engine
    sa.event.listen(engine, "begin", fail)
    yield
    sa.event.remove(engine, "begin", fail)


def test_an_alarm_is_told_as_of_when_it_was_looked_for(desk: Desk) -> None:
    """What happens between that and the telling is not in its words, and is news."""
    held = replace(LATE, rule="study-held")
    asked = (RuleExamination("study-held", lambda _: iter([held]), every_s=60),)
    node = Node(desk, asked=asked)
    node.settle()
    node.pass_s(20)
    desk.change(schema.alarm, ended_at=clock(desk))  # by another node
    node.pass_s(10)
    (alarm,) = Alarming(desk.ledger).raised()
    assert alarm.told_at == pytest.approx(clock(desk) - 30, abs=5)


def test_what_is_found_is_raised_and_told_once_and_once_when_it_is_over(
    desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "node.alarms")
    node = Node(desk)
    node.settle()
    node.troubles = [LATE]
    node.pass_s(600)
    assert (lasting(desk), events(desk)) == (["urgent-late pacs"], ["begun"])
    node.troubles = []
    node.pass_s(230)  # that it was found is written down once a minute
    assert lasting(desk) == ["urgent-late pacs"]
    node.pass_s(120)
    assert (lasting(desk), events(desk)) == ([], ["begun", "ended"])
    assert [record.getMessage() for record in caplog.records] == [
        "Alarm (urgent-late): pacs lacks 1 result",
        "Alarm (urgent-late) is over: pacs lacks 1 result",
    ]
    assert caplog.records[0].levelname == "ERROR"


def test_several_nodes_raise_it_once_and_end_it_once(desk: Desk) -> None:
    nodes = [Node(desk, f"ward-{name}:/srv") for name in "abc"]
    for node in nodes:
        node.settle()
        node.troubles = [LATE]
    run_at_once(*[node.look_in_time for node in nodes])
    assert events(desk) == ["begun"]
    for node in nodes:
        node.troubles = []
        node.pass_s(310)
    run_at_once(*[node.look_in_time for node in nodes])
    assert events(desk) == ["begun", "ended"]


def test_what_another_node_still_finds_lasts(desk: Desk) -> None:
    """As where one has another configuration, or has not looked yet."""
    one, other = Node(desk), Node(desk, "ward-b:/srv")
    for node in (one, other):
        node.settle()
    one.troubles = [LATE]
    for _ in range(10):
        one.pass_s(60)
        other.look_in_time()
        other.pass_s(60)
    assert events(desk) == ["begun"]


def test_after_a_start_nothing_is_raised_before_what_had_to_wait_could_be_sent(
    desk: Desk,
) -> None:
    node = Node(desk)
    node.troubles = [LATE]
    node.look()
    node.pass_s(SETTLES_S - 10)
    assert lasting(desk) == []
    node.pass_s(10)
    assert lasting(desk) == ["urgent-late pacs"]


def test_while_nothing_can_be_judged_what_lasted_is_taken_to_last(desk: Desk) -> None:
    former = Node(desk)
    former.troubles = [LATE]
    former.settle()
    let_pass(desk, 400)  # nobody looks
    (alarm,) = Alarming(desk.ledger).raised()
    assert not alarm.is_found(clock(desk))
    node = Node(desk)
    node.look()
    (alarm,) = Alarming(desk.ledger).raised()
    assert alarm.is_found(clock(desk))
    node.settle()
    node.pass_s(400)
    assert lasting(desk) == []


def test_after_a_restart_what_lasts_is_not_told_again_and_what_is_over_is(desk: Desk) -> None:
    former = Node(desk)
    former.settle()
    former.troubles = [LATE, replace(LATE, subject="ris")]
    former.pass_s(10)
    let_pass(desk, HOUR_S)  # nobody ran
    node = Node(desk)
    node.troubles = [LATE]
    node.look()
    node.pass_s(SETTLES_S + 200)
    assert sorted(lasting(desk)) == ["urgent-late pacs", "urgent-late ris"]
    node.pass_s(300)
    assert lasting(desk) == ["urgent-late pacs"]
    assert events(desk) == ["begun", "begun", "ended"]


def test_a_node_that_keeps_starting_is_told_without_waiting(desk: Desk) -> None:
    for number in range(5):
        desk.nodes.register_node(f"a{number}", f"{PLACE} a", Role.ALL)
    watch = AlarmWatch(watched(desk), Post(desk))
    watch.look()
    assert lasting(desk) == [f"part-ill starts of {PLACE}"]


def test_what_must_last_before_it_is_an_alarm_is_none_if_it_comes_and_goes(desk: Desk) -> None:
    ill = replace(LATE, rule="part-ill", subject="worker")
    node = Node(
        desk, asked=[RuleExamination("part-ill", lambda _: iter(node.troubles), begins_after_s=120)]
    )
    node.settle()
    for _ in range(3):
        node.troubles = [ill]
        node.pass_s(110)
        node.troubles = []
        node.pass_s(10)
    assert lasting(desk) == []
    node.troubles = [ill]
    node.pass_s(140)
    assert lasting(desk) == ["part-ill worker"]
    node.troubles = []
    node.pass_s(100)
    node.troubles = [ill]  # it lasts, though it has not been found for long now
    node.pass_s(290)
    assert events(desk) == ["begun"]


def test_an_alarm_whose_rule_is_switched_off_ends(desk: Desk) -> None:
    node = Node(desk)
    node.settle()
    node.troubles = [LATE]
    node.pass_s(10)
    other = Node(desk, alarms={"off": ["urgent-late"]})
    other.troubles = [LATE]
    other.look()
    other.pass_s(SETTLES_S + 320)
    assert lasting(desk) == []


def test_what_only_one_machine_can_judge_another_does_not_end(desk: Desk) -> None:
    state = replace(LATE, rule="disk", subject="ward-b:/srv: state_dir")
    desk.nodes.register_node("b", "ward-b:/srv b", Role.ALL)
    Alarming(desk.ledger).raise_alarm(state, ["mail"], reminder_s=1e6, news_s=1e6)
    node = Node(desk)
    node.settle()
    node.pass_s(400)
    assert lasting(desk) == ["disk ward-b:/srv: state_dir"]
    itself = Node(desk, "ward-b:/srv")
    itself.settle()
    itself.pass_s(400)
    assert lasting(desk) == []


def test_a_process_that_knows_no_models_does_not_say_that_they_judge_again(desk: Desk) -> None:
    none = replace(LATE, rule="no-triage", subject="breast-triage")
    Alarming(desk.ledger).raise_alarm(none, ["mail"], reminder_s=1e6, news_s=1e6)
    page = Node(desk)  # it has no models, and the configuration names one
    page.settle()
    page.pass_s(700)
    assert lasting(desk) == ["no-triage breast-triage"]


def test_what_a_machine_said_that_is_gone_for_good_ends(desk: Desk) -> None:
    state = replace(LATE, rule="disk", subject="ward-b:/srv: state_dir")
    Alarming(desk.ledger).raise_alarm(state, ["mail"], reminder_s=1e6, news_s=1e6)
    node = Node(desk)
    node.settle()
    node.pass_s(400)
    assert lasting(desk) == []


def test_a_rule_that_fails_silences_no_other_and_ends_nothing(
    desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    node = Node(desk)
    node.watch._examiner = Examiner(
        watched(desk),
        (
            RuleExamination("urgent-late", node._find),
            RuleExamination("disk", lambda _: iter([replace(LATE, rule="disk")])),
        ),
        node.clock,
    )
    node.settle()
    node.troubles = [LATE]
    node.pass_s(10)
    node.error = ValueError("a defect")
    node.pass_s(600)
    assert sorted(lasting(desk)) == ["disk pacs", "urgent-late pacs"]
    assert node.watch.trouble == "not examined, as the log says: urgent-late"
    logged = [record for record in caplog.records if "cannot be examined" in record.getMessage()]
    assert 1 < len(logged) < 10
    node.error, node.troubles = None, []
    node.pass_s(400)
    assert lasting(desk) == ["disk pacs"]
    assert node.watch.trouble == ""


def test_a_defect_in_what_raises_them_is_said_and_stops_no_node(
    desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    node = Node(desk)
    node.settle()
    node.troubles = [replace(LATE, words=None)]  # type: ignore[arg-type]
    node.look_in_time()
    assert node.watch.trouble == "alarms cannot be raised (IntegrityError), as the log says"
    assert "Alarms cannot be raised" in caplog.text
    node.troubles = []
    node.look_in_time()
    assert node.watch.trouble == ""


def test_a_database_that_is_away_is_told_from_memory_once_and_once_when_it_is_back(
    desk: Desk,
) -> None:
    node = Node(desk)
    node.settle()
    with away(desk):
        for _ in range(round(AWAY_S / 10) + 5):
            with pytest.raises(sa.exc.OperationalError):
                node.look()
            node.clock.now += 10
    (told,) = node.post.told
    assert (told.event, told.rule, told.urgency) == ("begun", "part-ill", Alarm.ACT)
    assert told.words.startswith('database: "sqlite://')
    assert "does not answer" in told.words
    node.look()
    assert [one.event for one in node.post.told] == ["begun", "ended"]
    node.troubles = [LATE]
    node.look_in_time()
    assert lasting(desk) == [], "what had to wait meanwhile is sent first"
    node.pass_s(SETTLES_S)
    assert lasting(desk) == ["urgent-late pacs"]


def test_a_short_outage_is_told_to_nobody(desk: Desk) -> None:
    node = Node(desk)
    node.settle()
    with away(desk), pytest.raises(sa.exc.OperationalError):
        node.look()
    node.look()
    assert node.post.told == []


def test_a_clock_that_jumps_raises_nothing_by_itself(
    desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    node = Node(desk)
    node.settle()
    node.troubles = [LATE]
    at_ours, at_theirs = node.watch._looked or (0.0, 0.0)
    node.watch._looked = at_ours, at_theirs - HOUR_S  # the database's has been put forward
    node.look()
    assert lasting(desk) == []
    assert "The clock of the database has jumped by 3600 s" in caplog.text
    node.pass_s(SETTLES_S)
    assert lasting(desk) == ["urgent-late pacs"]


def test_a_channel_that_is_down_is_not_told_that_it_is(desk: Desk) -> None:
    node = Node(desk)
    node.watch.post = Post(desk, "mail", "webhook")
    node.settle()
    node.troubles = [replace(LATE, subject="alarms by mail")]
    node.pass_s(10)
    assert [row["channel"] for row in desk.rows(schema.alarm_notice)] == ["webhook"]


def test_what_is_known_is_not_written_down_at_every_look(desk: Desk) -> None:
    node = Node(desk)
    node.settle()
    node.troubles = [LATE]
    node.pass_s(10)
    written: list[str] = []

    def note(connection: Any, cursor: Any, statement: str, *rest: Any) -> None:
        if not statement.startswith("SELECT") and statement != "BEGIN":
            written.append(statement)

    sa.event.listen(desk.ledger._engine, "before_cursor_execute", note)
    for _ in range(5):
        node.look_in_time()
    assert written == []
