"""urgent-late where a study has several versions, or messages, or none: the time goes on."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa
from ledgers import HOUR_S, MODEL, STUDY, Desk

from node.alarms.lateness import urgent_late
from node.ledger import (
    Alarming,
    DeliveryState,
    DispatchState,
    HeldBecause,
    NoticeEvent,
    Role,
    Trouble,
    now,
    schema,
)
from node.ledger.rows import hold
from node.ledger.states import MessageKind
from node.overview.health import Alarm
from node.result import Priority

from .rules import PLACE, age, clock, is_well, message, watched

URGENT, ROUTINE = Priority.URGENT, Priority.ROUTINE
DAY_S = 24 * HOUR_S

UNTOLD = "ris: not told"


def late(desk: Desk, **how: Any) -> list[Trouble]:
    return list(urgent_late(watched(desk, list_models=(MODEL.name,), **how)))


def late_at(desk: Desk, subject: str, **how: Any) -> Trouble | None:
    return next((one for one in late(desk, **how) if one.subject == subject), None)


def older(desk: Desk, seconds: float = 400) -> None:
    """Let all that has happened have happened so much earlier."""
    age(desk, seconds, schema.study, "last_image_at")
    age(desk, seconds, schema.study_version, "closed_at", "finished_at")
    age(desk, seconds, schema.analysis, "finished_at")
    age(desk, seconds, schema.dispatch, "deadline_at")
    age(desk, seconds, schema.message, "made_at")
    age(desk, seconds, schema.history, "at")
    age(desk, seconds, schema.node, "started_at")
    age(desk, seconds, schema.alarm, "began_at", "seen_at", "reminded_at")


def delivered(desk: Desk, study: str = STUDY, **how: Any) -> None:
    """Let a study be analysed and be where it should be."""
    for job in desk.analysed(study, **how):
        desk.deliver(job, DeliveryState.CONFIRMED, DeliveryState.CONFIRMED)


def told(desk: Desk, number: int = 1, **values: Any) -> None:
    done = {"state": DispatchState.FINISHED, "made_at": now()}
    message(desk, **({"control_id": str(number), "sequence": number} | done | values))


def reported(desk: Desk, trouble: Trouble) -> NoticeEvent | None:
    work = Alarming(desk.ledger)
    return work.raise_alarm(trouble, ["mail"], reminder_s=DAY_S, news_s=900)


# When something new is late


def test_a_study_found_just_before_the_alarm_was_told_is_news_when_it_becomes_late(
    desk: Desk,
) -> None:
    desk.analysed(f"{STUDY}.1", level=URGENT)
    older(desk, 200)
    desk.analysed(f"{STUDY}.2", level=URGENT, first_report=10)
    older(desk, 110)
    first = late_at(desk, "pacs")
    assert first is not None
    assert first.study_uids == (f"{STUDY}.1",)
    assert first.latest == pytest.approx(clock(desk) - 10, abs=5)
    assert reported(desk, first) == NoticeEvent.BEGUN
    older(desk, 1000)
    both = late_at(desk, "pacs")
    assert both is not None
    assert both.latest == pytest.approx(clock(desk) - 810, abs=5), "200 s after it was told"
    assert reported(desk, both) == NoticeEvent.REMINDER
    assert reported(desk, both) is None


def test_an_unbuilt_report_is_news_when_it_becomes_late(desk: Desk) -> None:
    desk.receive()
    desk.begin(desk.close())
    desk.change(schema.study_version, level=URGENT)
    desk.change(schema.study, level=URGENT)
    desk.change(schema.analysis, level=URGENT, finished_at=now() - 310)
    found = late_at(desk, "report")
    assert found is not None
    assert found.latest == pytest.approx(clock(desk) - 10, abs=5)


# Several versions


def superseded(desk: Desk) -> None:
    """Let an urgent study that nobody has be closed anew, and its second version wait."""
    desk.analysed(level=URGENT)
    older(desk, 400)
    desk.receive(f"{STUDY}.2", view="L MLO")
    desk.close()


def test_an_urgent_study_is_late_whose_undelivered_version_is_superseded(desk: Desk) -> None:
    superseded(desk)
    (found,) = (one for one in late(desk) if not one.subject.startswith("ris"))
    assert (found.subject, found.urgency, found.study_uids) == ("report", Alarm.ACT, (STUDY,))
    assert found.since == pytest.approx(clock(desk) - 400, abs=5)


def test_its_time_goes_on_with_the_next_version_until_that_is_delivered(desk: Desk) -> None:
    superseded(desk)
    job = desk.jobs[-1]
    desk.begin(job)
    (sending,) = desk.finish(job, level=URGENT, first_report=10)
    found = late_at(desk, "pacs")
    assert found is not None
    assert found.since == pytest.approx(clock(desk) - 400, abs=5)
    desk.deliver(sending, DeliveryState.CONFIRMED, DeliveryState.CONFIRMED)
    assert late_at(desk, "pacs") is late_at(desk, "report") is None


def test_what_has_been_delivered_as_urgent_once_has_its_time_anew(desk: Desk) -> None:
    delivered(desk, level=URGENT)
    older(desk, 400)
    desk.receive(f"{STUDY}.2", view="L MLO")
    job = desk.close()
    assert late_at(desk, "report") is None
    desk.begin(job)
    desk.finish(job, level=URGENT, first_report=10)
    assert late_at(desk, "pacs") is None
    older(desk, 310)
    found = late_at(desk, "pacs")
    assert found is not None
    assert found.since == pytest.approx(clock(desk) - 310, abs=5)


def test_a_version_that_is_not_urgent_any_more_ends_it(desk: Desk) -> None:
    superseded(desk)
    job = desk.jobs[-1]
    desk.begin(job)
    desk.finish(job, level=ROUTINE, first_report=10)
    assert late(desk) == []


def test_an_urgent_study_whose_next_version_cannot_be_analysed_is_late(desk: Desk) -> None:
    superseded(desk)
    job = desk.jobs[-1]
    desk.begin(job)
    desk.processing.cancel_version(job, "breast-area is off now")
    found = late_at(desk, "report")
    assert found is not None
    assert found.study_uids == (STUDY,)


def test_a_study_whose_results_were_stopped_by_a_withdrawn_image_is_late(desk: Desk) -> None:
    desk.receive(f"{STUDY}.2", view="L MLO")
    (sending,) = desk.analysed(level=URGENT)
    older(desk, 400)
    desk.withdraw(f"{STUDY}.2")
    with pytest.raises(Exception, match="made before its images changed"):
        desk.delivering.begin_dispatch(sending, "node-1")
    found = late_at(desk, "report")
    assert found is not None
    assert found.since == pytest.approx(clock(desk) - 400, abs=5)


def test_the_time_that_a_study_was_held_counts_for_no_version(desk: Desk) -> None:
    desk.analysed(level=URGENT)
    with desk.ledger.writing() as db:
        hold(db, STUDY, HeldBecause.PIXELS, "an image came twice with other pixels")
    older(desk, HOUR_S)
    desk.by_hand.release_study(STUDY, by="anna")
    desk.receive(f"{STUDY}.2", view="L MLO")
    job = desk.close()
    assert late(desk) == []
    desk.begin(job)
    desk.finish(job, level=URGENT, first_report=10)
    assert late(desk) == []
    older(desk, 310)
    assert late_at(desk, "pacs") is not None
    assert late_at(desk, UNTOLD) is not None


# Reading lists


def test_a_list_that_was_told_nothing_of_an_urgent_study_is_late(desk: Desk) -> None:
    delivered(desk, level=URGENT)
    older(desk, 290)
    assert late(desk) == []
    older(desk, 20)
    (found,) = late(desk)
    assert (found.subject, found.urgency, found.study_uids) == (UNTOLD, Alarm.ACT, (STUDY,))
    words = "ris (192.0.2.20:2575) was not told the triage level of 1 urgent study"
    assert found.words == words
    assert found.what_to_do.endswith("the study's history on the page says it")
    assert found.since == pytest.approx(clock(desk) - 310, abs=5)
    assert found.latest == pytest.approx(clock(desk) - 10, abs=5)


def test_a_list_that_was_told_it_is_not_late(desk: Desk) -> None:
    delivered(desk, level=URGENT)
    told(desk)
    older(desk)
    assert late(desk) == []


@pytest.mark.parametrize(
    "last",
    [
        {"kind": MessageKind.WRONG},
        {"kind": MessageKind.WITHDRAWN},
        {"level": ROUTINE},
        {"state": DispatchState.CANCELLED},
    ],
)
def test_a_list_is_late_if_the_level_does_not_stand_there_any_more(
    desk: Desk, last: dict[str, Any]
) -> None:
    delivered(desk, level=URGENT)
    if "state" in last:
        told(desk, **last)
    else:
        told(desk)
        told(desk, 2, **last)
    older(desk)
    (found,) = late(desk)
    assert found.subject == UNTOLD
    assert "was not told the triage level of 1 urgent study" in found.words


def test_what_was_taken_back_just_now_has_its_time(desk: Desk) -> None:
    delivered(desk, level=URGENT)
    told(desk)
    older(desk, HOUR_S)
    told(desk, 2, kind=MessageKind.WRONG)
    assert late(desk) == []


@pytest.mark.parametrize("how", ["read", "held", "other model", "other sender", "old", "routine"])
def test_a_list_is_not_late_with_what_it_is_not_to_be_told(desk: Desk, how: str) -> None:
    delivered(desk, level=ROUTINE if how == "routine" else URGENT)
    older(desk)
    settings: dict[str, Any] = {}
    if how == "read":
        desk.change(schema.study, read_at=now(), read_by="anna")
    elif how == "held":
        with desk.ledger.writing() as db:
            hold(db, STUDY, HeldBecause.PIXELS, "an image came twice with other pixels")
    elif how == "other model":
        desk.change(schema.analysis, model="another")
    elif how == "other sender":
        settings["list_senders"] = ("pacs",)
    elif how == "old":
        older(desk, 8 * DAY_S)
    assert late(desk, **settings) == []


def test_a_list_that_is_new_is_not_late_with_what_was_found_before(desk: Desk) -> None:
    is_well(desk)
    delivered(desk, f"{STUDY}.1", level=URGENT)
    desk.delete(schema.study_to_tell)
    older(desk, HOUR_S)
    desk.nodes.retire_node("a")
    desk.nodes.register_node("b", f"{PLACE} a", Role.ALL)  # with the new list
    assert late(desk) == []
    delivered(desk, f"{STUDY}.2", level=URGENT, first_report=10)
    older(desk)
    (found,) = late(desk)
    assert found.study_uids == (f"{STUDY}.2",)


@pytest.mark.parametrize("by", ["a message before", "asked for", "its history"])
def test_a_restart_ends_nothing_for_a_list_that_was_there_before(desk: Desk, by: str) -> None:
    is_well(desk)
    if by == "a message before":
        told(desk, study_uid="1.2.3")
        older(desk, 10)
    delivered(desk, level=URGENT)
    if by != "asked for":
        desk.delete(schema.study_to_tell)
    if by == "its history":
        with desk.ledger.writing() as db:
            event = "ris is told nothing: its images have no Accession Number"
            db.execute(schema.history.insert().values(at=now(), study_uid=STUDY, event=event))
    older(desk, HOUR_S)
    desk.nodes.register_node("b", f"{PLACE} a", Role.ALL)
    (found,) = late(desk)
    assert found.subject == UNTOLD
    if by == "its history":
        assert found.words.endswith(" of 1 urgent study: its images have no Accession Number")


def test_a_message_written_anew_has_the_time_of_the_first_that_was_not_taken(desk: Desk) -> None:
    delivered(desk, level=URGENT)
    told(desk, state=DispatchState.CANCELLED)
    older(desk, 400)
    told(desk, 2, state=DispatchState.QUEUED)
    (found,) = late(desk)
    assert found.since == pytest.approx(clock(desk) - 400, abs=5)
    desk.change(schema.message, state=DispatchState.FINISHED)
    told(desk, 3, state=DispatchState.QUEUED)
    assert late(desk) == []


@pytest.mark.parametrize("kind", [MessageKind.WRONG, MessageKind.WITHDRAWN])
def test_an_urgent_level_that_is_not_taken_back_is_late(desk: Desk, kind: MessageKind) -> None:
    delivered(desk, level=ROUTINE)
    told(desk)
    told(desk, 2, kind=kind, state=DispatchState.QUEUED, error="no answer")
    with desk.ledger.writing() as db:  # in doubt, which is why it is taken back
        hold(db, STUDY, HeldBecause.IDENTITY, "it is of two patients")
    older(desk)
    (found,) = late(desk)
    assert (found.subject, found.urgency) == ("ris", Alarm.ACT)
    assert found.words == (
        "ris (192.0.2.20:2575) has not acknowledged that the triage level of 1 urgent study "
        "is taken back: no answer"
    )
    assert found.what_to_do.startswith("tell who reads that list that the level does not hold")


def test_what_a_list_was_not_told_is_an_alarm_beside_all_else_that_is_amiss_at_it(
    desk: Desk,
) -> None:
    for number in range(3):
        delivered(desk, f"{STUDY}.{number}", level=URGENT, first_report=10 * number)
    told(desk, 1, study_uid=f"{STUDY}.1", state=DispatchState.DEAD, error="AE")
    told(desk, 2, study_uid=f"{STUDY}.2", sequence=1)
    told(desk, 3, study_uid=f"{STUDY}.2", sequence=2, kind=MessageKind.WRONG, state="queued")
    older(desk)
    found = {one.subject: one.words for one in late(desk)}
    ris = "ris (192.0.2.20:2575)"
    assert found == {
        "ris": f"{ris} has not acknowledged the triage level of 1 urgent study, of which some were "
        "given up: AE; has not acknowledged that the triage level of 1 urgent study is taken back",
        UNTOLD: f"{ris} was not told the triage level of 2 urgent studies",
    }


# Cost


def test_what_is_told_to_whom_is_found_by_indexes(desk: Desk) -> None:
    """However many urgent studies there were, only those of a week are looked at."""
    with desk.ledger.reading() as db:
        if db.dialect.name != "sqlite":
            pytest.skip("plans are compared on SQLite")
    superseded(desk)
    told(desk, 1, state=DispatchState.CANCELLED)
    asked: list[tuple[str, Any]] = []

    def note(connection: Any, cursor: Any, statement: str, parameters: Any, *rest: Any) -> None:
        asked.append((statement, parameters))

    engine = desk.ledger._engine
    sa.event.listen(engine, "before_cursor_execute", note)
    assert late(desk)
    sa.event.remove(engine, "before_cursor_execute", note)
    read = []
    with desk.ledger.reading() as db:
        for statement, parameters in asked:
            if statement.startswith("SELECT"):
                plan = db.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)
                read += [f"{row.detail}: {statement}" for row in plan if "SCAN" in row.detail]
    assert [one for one in read if "CONSTANT" not in one and "SCAN node" not in one] == []
