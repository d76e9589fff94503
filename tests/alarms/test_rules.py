"""The other rules: each finds what it is there for, says it in words, and finds nothing else."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from ledgers import HOUR_S, STUDY, Desk

from node.alarm_rules import ALARM_RULES
from node.alarms.destinations import delivery_failing, delivery_given_up
from node.alarms.examining import rule_examinations
from node.alarms.machine import Certificates, clocks_differ, disks_full
from node.alarms.parts import channels_late, parts_ill, starts_again
from node.alarms.studies import studies_held, studies_not_analysed
from node.alarms.watched import Watched
from node.config import RetentionSettings, WebSettings
from node.ledger import (
    Alarming,
    DeliveryState,
    DispatchState,
    HeldBecause,
    Ill,
    OwnPart,
    Role,
    Trouble,
    now,
    schema,
)
from node.ledger.rows import hold
from node.overview.health import Alarm
from node.result import Priority

from .pem import ENDS, OF_THIS_CENTURY
from .rules import PLACE, age, clock, is_well, message, watched

DAY_S = 24 * HOUR_S


def found_by(
    rule: Callable[[Watched], Iterator[Trouble]], desk: Desk, folder: Path = Path("unused")
) -> list[Trouble]:
    return list(rule(watched(desk, folder)))


def test_every_rule_is_examined_and_no_other() -> None:
    assert {one.rule for one in rule_examinations()} == set(ALARM_RULES)


# Destinations


def test_a_destination_that_has_lacked_results_for_long_is_told(desk: Desk) -> None:
    (job,) = desk.analysed()
    desk.deliver(job, DeliveryState.QUEUED, DeliveryState.QUEUED)
    age(desk, 29 * 60, schema.study_version, "finished_at")
    assert found_by(delivery_failing, desk) == []
    age(desk, 120, schema.study_version, "finished_at")
    (found,) = found_by(delivery_failing, desk)
    assert (found.rule, found.subject, found.urgency) == ("delivery-failing", "pacs", Alarm.ACT)
    where = "pacs (PACS at 192.0.2.10:104)"
    assert found.words == f"{where} lacks the results of 1 study: queued by PACS"
    assert found.since == pytest.approx(clock(desk) - 31 * 60, abs=5)


def test_a_destination_that_never_confirms_is_to_be_looked_at(desk: Desk) -> None:
    desk.analysed()
    desk.change(schema.delivery, state=DeliveryState.SENT, sent_at=now() - 3 * HOUR_S)
    (found,) = found_by(delivery_failing, desk)
    assert (found.subject, found.urgency) == ("pacs: confirmation", Alarm.LOOK)
    assert "took results and has not confirmed them" in found.words


def test_a_reading_list_that_acknowledges_nothing_or_refuses_is_told(desk: Desk) -> None:
    desk.receive()
    message(desk, made_at=now() - 31 * 60, error="it broke off")
    (found,) = found_by(delivery_failing, desk)
    where = "ris (192.0.2.20:2575)"
    words = f"{where} has not acknowledged the triage levels of 1 study: it broke off"
    assert (found.subject, found.words) == ("ris", words)
    desk.change(schema.message, state=DispatchState.DEAD, error="ris answered AE")
    assert found_by(delivery_failing, desk) == []
    (given_up,) = found_by(delivery_given_up, desk)
    words = f"{where}: the triage levels of 1 study were given up: ris answered AE"
    assert (given_up.subject, given_up.words) == ("ris", words)


def test_what_is_given_up_is_told_with_the_newest_studies(desk: Desk) -> None:
    for number in range(7):
        (job,) = desk.analysed(f"{STUDY}.{number}", first_report=10 * number)
        desk.deliver(job, DeliveryState.REFUSED, DeliveryState.REFUSED)
    (found,) = found_by(delivery_given_up, desk)
    assert (found.subject, found.urgency) == ("pacs", Alarm.ACT)
    assert "the results of 7 studies were given up: refused by PACS" in found.words
    assert found.study_uids[0] == f"{STUDY}.6"
    assert len(found.study_uids) == 5
    assert "`ai-node retry`" in found.what_to_do


def test_what_was_given_up_when_its_time_was_over_is_so_since_then(desk: Desk) -> None:
    desk.analysed()
    age(desk, 3 * DAY_S, schema.study_version, "finished_at")
    desk.change(schema.dispatch, state=DispatchState.DEAD, deadline_at=now() - 60)
    (found,) = found_by(delivery_given_up, desk)
    assert found.since == pytest.approx(clock(desk) - 60, abs=5)
    age(desk, 31 * DAY_S, schema.study_version, "finished_at")
    assert found_by(delivery_given_up, desk) == []


def test_what_is_refused_late_is_given_up_when_it_is_and_not_when_it_was_ready(desk: Desk) -> None:
    (job,) = desk.analysed()
    age(desk, 600, schema.study_version, "finished_at")
    desk.deliver(job, DeliveryState.REFUSED, DeliveryState.REFUSED)
    (found,) = found_by(delivery_given_up, desk)
    assert found.latest == pytest.approx(clock(desk), abs=5)
    assert found.since == pytest.approx(clock(desk), abs=5)


def test_a_message_is_given_up_when_its_history_says_so(desk: Desk) -> None:
    desk.receive()
    message(desk, state=DispatchState.DEAD, made_at=now() - 600, error="ris answered AE")
    (found,) = found_by(delivery_given_up, desk)
    assert found.latest == pytest.approx(clock(desk) - 600, abs=5)
    event = "ris did not take what it was told (triage level urgent): ris answered AE"
    with desk.ledger.writing() as db:
        db.execute(schema.history.insert().values(at=now() - 5, study_uid=STUDY, event=event))
    (found,) = found_by(delivery_given_up, desk)
    assert found.latest == pytest.approx(clock(desk) - 5, abs=4)


def test_results_that_have_no_destination_are_told(desk: Desk) -> None:
    desk.analysed(destinations=())
    desk.change(schema.study_version, error="nobody gets the results of modality")
    (found,) = found_by(delivery_given_up, desk)
    assert found.words == "the results of 1 study have no destination"
    assert (found.subject, found.study_uids) == ("", (STUDY,))


# Studies


def held(desk: Desk, study: str, **values: Any) -> None:
    desk.receive(f"{study}.1", study=study)
    with desk.ledger.writing() as db:
        hold(db, study, HeldBecause.PIXELS, "an image came twice with other pixels")
        is_it = schema.study.c.study_uid == study
        if values:
            db.execute(schema.study.update().where(is_it).values(values))


def test_a_held_study_is_told_after_five_minutes_with_its_reason(desk: Desk) -> None:
    held(desk, STUDY)
    assert found_by(studies_held, desk) == []
    age(desk, 301, schema.history, "at")
    (found,) = found_by(studies_held, desk)
    assert found.urgency == Alarm.LOOK
    reason = "an image came twice with other pixels"
    assert found.words == f"1 study held: nothing of it is analysed or sent: {reason}"
    assert found.since == pytest.approx(clock(desk) - 301, abs=5)


def test_a_thousand_held_studies_are_one_alarm_that_names_urgent_ones_first(desk: Desk) -> None:
    for number in range(30):
        held(desk, f"{STUDY}.{number}")
    held(desk, f"{STUDY}.99", level=Priority.URGENT)
    age(desk, 400, schema.history, "at")
    held(desk, f"{STUDY}.98")
    with desk.ledger.writing() as db:
        is_it = schema.history.c.study_uid == f"{STUDY}.5"
        db.execute(schema.history.update().where(is_it).values(at=now() - 310))
    (found,) = found_by(studies_held, desk)
    assert found.urgency == Alarm.ACT
    assert found.words.startswith("31 studies held, 1 of them urgent: nothing of them is analysed")
    assert "(5 of 31 studies are named)" in found.words
    assert found.what_to_do.startswith("have what is urgent read now, without the node; ")
    assert found.study_uids[:2] == (f"{STUDY}.99", f"{STUDY}.5")
    assert found.latest == pytest.approx(clock(desk) - 10, abs=5), "when its five minutes were over"


def test_studies_that_cannot_be_analysed_are_told_for_a_week(desk: Desk) -> None:
    desk.receive()
    job = desk.close()
    desk.begin(job)
    desk.processing.cancel_version(job, "breast-area is off now")
    (found,) = found_by(studies_not_analysed, desk)
    assert (found.subject, found.urgency) == ("cancelled", Alarm.ACT)
    assert found.words.endswith("so that there is no result: breast-area is off now")
    age(desk, 8 * DAY_S, schema.study_version, "finished_at")
    assert found_by(studies_not_analysed, desk) == []


def test_a_study_that_was_given_up_is_told_for_a_day_or_until_it_is_read(desk: Desk) -> None:
    desk.analysed()
    desk.change(schema.study_version, crashes=5)
    desk.change(schema.analysis, model="breast-triage")
    assert found_by(studies_not_analysed, desk) == []
    desk.change(schema.analysis, analysed=0)
    (found,) = found_by(studies_not_analysed, desk)
    assert (found.subject, found.study_uids) == ("given up", (STUDY,))
    assert "the analysis ended unexpectedly 5 times" in found.words
    desk.change(schema.study, read_at=now(), read_by="anna")
    assert found_by(studies_not_analysed, desk) == []
    desk.change(schema.study, read_at=None)
    age(desk, DAY_S + 1, schema.analysis, "finished_at")
    assert found_by(studies_not_analysed, desk) == []


# Parts


def test_a_part_that_is_ill_is_told_and_its_node_not_once_more(desk: Desk) -> None:
    is_well(desk)
    assert found_by(parts_ill, desk) == []
    ill = {
        OwnPart.LISTENER: Ill(1000.0, "it has died"),
        OwnPart.DISK: Ill(1000.0, "5 MB free"),
    }
    desk.nodes.record_ill("a", ill)
    (found,) = found_by(parts_ill, desk)
    assert (found.subject, found.urgency, found.since) == ("listener", Alarm.ACT, 1000.0)
    assert found.words == f"listener: {PLACE}: it has died"


def test_a_node_of_several_that_is_silent_is_told(desk: Desk) -> None:
    is_well(desk)
    desk.nodes.register_node("b", "ward-b:/srv/ai-node b", Role.ALL)
    with desk.ledger.writing() as db:
        is_b = schema.node.c.id == "b"
        db.execute(schema.node.update().where(is_b).values(beat_at=now() - HOUR_S))
    (found,) = found_by(parts_ill, desk)
    assert (found.subject, found.urgency) == ("node ward-b:/srv/ai-node", Alarm.LOOK)
    assert "has said nothing for 60 min" in found.words


def test_a_node_that_starts_again_and_again_is_told(desk: Desk) -> None:
    for number in range(4):
        desk.nodes.register_node(f"a{number}", f"{PLACE} a")
    assert found_by(starts_again, desk) == []
    desk.nodes.register_node("a4", f"{PLACE} a")
    (found,) = found_by(starts_again, desk)
    assert found.words == f"{PLACE} has started 5 times within an hour"
    age(desk, HOUR_S, schema.node, "started_at")
    assert found_by(starts_again, desk) == []


def test_a_channel_that_takes_nothing_is_told(desk: Desk) -> None:
    work = Alarming(desk.ledger)
    trouble = Trouble("disk", "store_dir", 1, "words", "do", 1.0)
    work.raise_alarm(trouble, ["mail"], reminder_s=DAY_S, news_s=DAY_S)
    notice = work.claim_notice("mail", 600)
    assert notice is not None
    work.put_off(notice, 60, "mail.example:25 does not take mail (Connection refused)")
    assert found_by(channels_late, desk) == []
    age(desk, 1000, schema.alarm_notice, "made_at")
    assert found_by(channels_late, desk) == [], "it has been removed, and nobody can mend it"
    mail = {"to": ["a@b.example"], "sender": "c@b.example", "host": "mail.example"}
    (found,) = channels_late(watched(desk, alarms={"mail": mail}))
    assert (found.subject, found.urgency) == ("alarms by mail", Alarm.LOOK)
    assert found.words == (
        "1 notice of alarms cannot be told by mail: "
        "mail.example:25 does not take mail (Connection refused)"
    )


# The machine


class _Usage:
    def __init__(self, free: int) -> None:
        self.total, self.used, self.free = 100 << 30, 0, free


def test_a_disk_with_little_room_is_told_before_images_are_refused(
    desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_well(desk)
    node = watched(desk, tmp_path)
    settings = node.config.node.model_copy(update={"min_free_mb": 1024})
    node = Watched(desk.ledger, node.config.model_copy(update={"node": settings}), {}, PLACE)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: _Usage(5 << 30))
    assert list(disks_full(node)) == []
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: _Usage(3 << 30))
    (found,) = disks_full(node)
    assert (found.subject, found.urgency) == ("store_dir", Alarm.LOOK)
    assert found.words.startswith(f"{tmp_path / 'store'}: 3.2 GB of 107.4 GB free")
    desk.nodes.record_ill("a", {OwnPart.DISK: Ill(1000.0, "5 MB free in /srv")})
    (worse,) = disks_full(node)
    assert (worse.subject, worse.urgency, worse.since) == ("store_dir", Alarm.ACT, 1000.0)


def test_a_disk_that_fills_though_it_is_cleaned_is_told_with_what_blocks_it(
    desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_well(desk)
    kept = RetentionSettings(clean_from_percent=80, refuse_from_percent=90)
    node = watched(desk, tmp_path, retention=kept)
    desk.receive()
    desk.receive_again(pixels="other")
    desk.change(schema.instance, size_bytes=3_000_000_000)
    usage = _Usage(16 << 30)
    usage.used = 84 << 30
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage)
    assert list(disks_full(node)) == []
    usage.used, usage.free = 85 << 30, 15 << 30
    (found,) = disks_full(node)
    assert (found.subject, found.urgency) == ("store_dir", Alarm.LOOK)
    assert found.words == (
        f"{tmp_path / 'store'}: 16.1 GB of 107.4 GB free, 85 % in use though it is cleaned from "
        "80 % on; images are refused from 90 % on; not removed: 3.0 GB of 1 study held"
    )
    assert found.what_to_do.startswith("`ai-node studies --state held` says what ends each")


def test_a_disk_for_the_state_alone_is_told_of_its_machine(
    desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "state").mkdir()
    node = watched(desk, tmp_path / "state")
    settings = node.config.node.model_copy(
        update={"min_free_mb": 1024, "store_dir": tmp_path / "elsewhere"}
    )
    node = Watched(desk.ledger, node.config.model_copy(update={"node": settings}), {}, PLACE)
    is_well(desk)
    free = {tmp_path / "elsewhere": 90 << 30, tmp_path / "state": 2 << 30}
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: _Usage(free[folder]))
    assert list(disks_full(node)) == []
    free[tmp_path / "state"] = 1 << 29
    (found,) = disks_full(node)
    assert (found.subject, found.urgency) == (f"{PLACE}: state_dir", Alarm.ACT)


def test_a_clock_that_differs_from_the_databases_is_told(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert found_by(clocks_differ, desk) == []
    there = clock(desk)
    monkeypatch.setattr("node.alarms.machine.time.time", lambda: there + 90)
    (found,) = found_by(clocks_differ, desk)
    assert (found.subject, found.urgency) == (f"{PLACE}: clock", Alarm.LOOK)
    assert found.words == "the clock of ward-a is 90 s ahead of the database's"


def test_a_certificate_that_ends_soon_is_told_and_more_urgently_once_it_has(
    desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "web.pem"
    path.write_text(OF_THIS_CENTURY, "ascii")
    web = WebSettings(tls_certificate=path, tls_key=path)
    node = watched(desk, web=web)
    rule, end = Certificates(), ENDS[OF_THIS_CENTURY]

    def at(days_before: float) -> list[Trouble]:
        monkeypatch.setattr(
            "node.alarms.machine.now", lambda: sa.literal(end - days_before * DAY_S)
        )
        return list(rule.ending(node))

    assert at(22) == []
    (soon,) = at(20)
    assert (soon.subject, soon.urgency) == (f"{PLACE}: [web] tls_certificate", Alarm.LOOK)
    assert soon.words == f"the certificate ends on 2026-11-30: {path} ([web] tls_certificate)"
    (over,) = at(-1)
    assert over.urgency == Alarm.ACT
    assert over.words.startswith("the certificate ended on 2026-11-30")


# Cost

GROWS = re.compile(
    r"SEARCH study USING INDEX ix_study_state"
    r"|SCAN (study|study_version|analysis|dispatch|delivery|instance|history|report|message)\b"
    r"(?!.*(ix_study_held|ix_study_version_stranded))"
)
"""A table that is read whole, or nearly; two indexes have only what is held, or goes nowhere."""


def test_no_examination_costs_more_because_the_ledger_is_large(desk: Desk) -> None:
    """What is asked is answered by indexes: no plan reads a table that grows with every study."""
    is_well(desk)
    with desk.ledger.reading() as db:
        if db.dialect.name != "sqlite":
            pytest.skip("plans are compared on SQLite")
    asked: list[tuple[str, Any]] = []

    def note(connection: Any, cursor: Any, statement: str, parameters: Any, *rest: Any) -> None:
        asked.append((statement, parameters))

    engine = desk.ledger._engine
    sa.event.listen(engine, "before_cursor_execute", note)
    node = watched(desk)
    for one in rule_examinations():
        list(one.examine(node))
    sa.event.remove(engine, "before_cursor_execute", note)
    assert len(asked) > 20
    read = []
    with desk.ledger.reading() as db:
        for statement, parameters in asked:
            if not statement.startswith(("SELECT", "WITH")):
                continue
            plan = db.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)
            read += [f"{row.detail}: {statement}" for row in plan if GROWS.match(row.detail)]
    assert read == []
