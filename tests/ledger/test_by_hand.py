"""What people do to one study, and that its history says who did it."""

from __future__ import annotations

import threading
import time
from functools import partial

import pytest
import sqlalchemy as sa
from ledgers import EXCLUDED, HOUR_S, KIND, NODE, STUDY, Desk, run_at_once
from told_rows import told

from node.errors import NodeError
from node.ledger import (
    BuiltReport,
    DeliveryState,
    DispatchState,
    Finished,
    Job,
    Patience,
    Seen,
    schema,
)
from node.ledger.rows import lock_study
from node.ledger.states import MessageKind
from node.result import Priority


def nowhere(sender: str) -> dict[str, frozenset[str]]:
    return {}


def test_who_has_read_a_study_is_known_until_it_is_taken_back(desk: Desk) -> None:
    desk.receive()
    desk.by_hand.mark_read(STUDY, "anna")
    study = desk.study()
    assert study["read_by"] == "anna"
    assert study["read_at"] == pytest.approx(study["last_at"], abs=60)
    with pytest.raises(NodeError, match="was marked as read before, by anna"):
        desk.by_hand.mark_read(STUDY, "otto")
    desk.by_hand.mark_unread(STUDY, "otto")
    assert (desk.study()["read_at"], desk.study()["read_by"]) == (None, None)
    assert desk.history()[-2:] == ["marked as read by anna", "no longer marked as read by otto"]
    with pytest.raises(NodeError, match="is not marked as read"):
        desk.by_hand.mark_unread(STUDY, "otto")


def test_what_somebody_has_not_seen_is_not_marked_as_read(desk: Desk) -> None:
    desk.receive()
    seen_until = desk.study()["last_image_at"]
    desk.change(schema.study, last_image_at=seen_until + 1)
    with pytest.raises(NodeError, match="has got more images since this page was made"):
        desk.by_hand.mark_read(STUDY, "anna", seen=Seen(seen_until, None))
    desk.by_hand.mark_read(STUDY, "anna", seen=Seen(seen_until + 1, None))


@pytest.mark.parametrize("seen_level", [None, Priority.ROUTINE, Priority.SOON])
def test_a_study_that_has_risen_since_it_was_seen_is_not_marked_as_read(
    desk: Desk, seen_level: Priority | None
) -> None:
    desk.analysed(level=Priority.URGENT)
    at = desk.study()["last_image_at"]
    with pytest.raises(NodeError, match="has become urgent since this page was made"):
        desk.by_hand.mark_read(STUDY, "anna", seen=Seen(at, seen_level))
    desk.by_hand.mark_read(STUDY, "anna", seen=Seen(at, Priority.URGENT))


@pytest.mark.parametrize(
    ("before", "after"), [(Priority.URGENT, Priority.SOON), (None, Priority.ROUTINE)]
)
def test_a_level_that_does_not_rise_hinders_nobody(
    desk: Desk, before: Priority | None, after: Priority
) -> None:
    desk.analysed(level=after)
    at = desk.study()["last_image_at"]
    desk.by_hand.mark_read(STUDY, "anna", seen=Seen(at, before))
    assert desk.study()["read_by"] == "anna"


def test_a_study_that_is_not_known_is_neither_read_nor_sent_again(desk: Desk) -> None:
    for act in (
        lambda: desk.by_hand.mark_read("1.2.3", "anna"),
        lambda: desk.by_hand.mark_unread("1.2.3", "anna"),
        lambda: desk.by_hand.retry_study("1.2.3", HOUR_S, nowhere),
    ):
        with pytest.raises(NodeError, match=r"study 1\.2\.3 is not known here"):
            act()


def test_the_history_says_who_released_a_study(desk: Desk) -> None:
    desk.receive(why_excluded="no Patient ID")
    desk.close(EXCLUDED)
    desk.by_hand.release_study(STUDY, by="anna (command)")
    assert "released: by hand by anna (command)" in desk.history()


def test_what_was_given_up_of_one_study_is_sent_again_and_no_other(desk: Desk) -> None:
    (job,) = desk.analysed(deliver_within_s=0)
    desk.deliver(job, DeliveryState.SENT, DeliveryState.QUEUED)
    desk.receive("2.25.7", study="2.25.70")
    with pytest.raises(NodeError, match=r"no delivery of study 2\.25\.70 was given up"):
        desk.by_hand.retry_study("2.25.70", HOUR_S, nowhere, by="anna")
    assert desk.dispatch()["state"] == DispatchState.DEAD
    words = desk.by_hand.retry_study(STUDY, HOUR_S, nowhere, by="anna")
    assert words == "sent again to pacs"
    assert desk.dispatch()["state"] == DispatchState.QUEUED
    assert desk.history()[-1] == "sent again to pacs by hand by anna"
    with pytest.raises(NodeError, match="none waits for another attempt"):
        desk.by_hand.retry_study(STUDY, HOUR_S, nowhere, by="anna")


def test_results_of_one_study_that_had_no_destination_go_to_the_one_there_is_now(
    desk: Desk,
) -> None:
    desk.receive()
    job = desk.close()
    desk.begin(job)
    built = (BuiltReport("2.25.9", KIND, "1.2.3", "reports/9.dcm", "digest"),)
    unsent = Finished((), built, {}, HOUR_S, problem="no destination: none is named")
    desk.processing.finish_version(job, unsent, desk.enqueue)
    with pytest.raises(NodeError, match="still go nowhere"):
        desk.by_hand.retry_study(STUDY, HOUR_S, nowhere)
    words = desk.by_hand.retry_study(
        STUDY, HOUR_S, lambda sender: {"pacs": frozenset({KIND})}, by="anna"
    )
    assert words == "its results, which had no destination, are sent now"
    assert desk.history()[-1] == "sent to pacs by hand by anna: 1 of 1 objects"
    assert desk.delivering.begin_dispatch(desk.revived(), NODE).to_send == built


# What waits for another attempt


def busy(desk: Desk, study: str = STUDY, **how: object) -> list[Job]:
    """Have every destination of a study answer that it has no room, so that it waits for long."""
    jobs = desk.analysed(study, **how)  # type: ignore[arg-type]
    for job in jobs:
        desk.deliver(job, DeliveryState.QUEUED, DeliveryState.QUEUED, patience=Patience(600))
    return jobs


def test_what_waits_is_tried_at_once_whatever_it_failed_for(desk: Desk) -> None:
    busy(desk)
    put_off = desk.jobs[-1]
    assert desk.by_hand.hurry_waiting(by="anna") == {"pacs": 1}
    assert desk.history()[-1] == "tried at once at pacs, by hand by anna"
    now = desk.revived()
    assert (now.delay_s, now.attempt) == (0, put_off.attempt + 2)
    assert desk.by_hand.hurry_waiting() == {}
    desk.deliver(now)
    assert desk.dispatch()["state"] == DispatchState.FINISHED


def test_what_waits_for_one_destination_is_tried_and_no_other(desk: Desk) -> None:
    busy(desk, destinations=("pacs", "workstation"))
    busy(desk, "2.25.70", first_report=50, destinations=("pacs", "workstation"))
    assert desk.by_hand.hurry_waiting(destination="pacs") == {"pacs": 2}
    assert desk.by_hand.hurry_waiting() == {"workstation": 2}


def test_what_a_destination_took_and_has_yet_to_confirm_is_left_alone_and_told(desk: Desk) -> None:
    (job,) = desk.analysed()
    report = Patience(600, 600, waits_for="the storage commitment report", has_asked=True)
    desk.deliver(job, patience=report)
    before = desk.everything()
    assert desk.by_hand.hurry_waiting() == {}
    assert desk.by_hand.awaiting_confirmation() == {"pacs": 1}
    assert desk.by_hand.awaiting_confirmation(destination="workstation") == {}
    with pytest.raises(NodeError, match="what a destination took waits for its word"):
        desk.by_hand.retry_study(STUDY, HOUR_S, nowhere)
    assert desk.everything() == before


def test_what_two_people_hurry_at_once_goes_once(desk: Desk) -> None:
    for number in range(5):
        busy(desk, f"2.25.7{number}", first_report=10 * number)
    run_at_once(*[desk.by_hand.hurry_waiting] * 3)
    assert {row["attempt"] for row in desk.rows(schema.dispatch)} == {3}


def test_one_study_is_tried_at_once_where_it_waits_and_sent_again_where_it_was_given_up(
    desk: Desk,
) -> None:
    busy(desk, destinations=("pacs", "workstation"))
    busy(desk, "2.25.70", first_report=50)
    with desk.ledger.writing() as db:
        is_it = schema.dispatch.c.destination == "workstation"
        dead = {"state": DispatchState.DEAD, "next_at": None}
        db.execute(schema.dispatch.update().where(is_it).values(dead))
    words = desk.by_hand.retry_study(STUDY, HOUR_S, nowhere, by="anna")
    assert words == "sent again to workstation; tried now: pacs"
    assert desk.row(schema.dispatch, "2.25.70", 1, "pacs")["next_at"] is not None


def test_where_nothing_of_a_study_goes_is_said_with_where_it_goes(desk: Desk) -> None:
    busy(desk)
    why = "nothing of study .* is for workstation; what goes out of it goes to pacs"
    with pytest.raises(NodeError, match=why):
        desk.by_hand.retry_study(STUDY, HOUR_S, nowhere, destination="workstation")
    assert desk.by_hand.destinations() == ["pacs"]


@pytest.mark.parametrize("table", [schema.message, schema.dispatch])
def test_what_a_newer_one_replaces_meanwhile_is_not_sent_again(desk: Desk, table: sa.Table) -> None:
    busy(desk)
    desk.change(schema.dispatch, state=DispatchState.DEAD)
    told(desk, 1, DispatchState.DEAD)
    if table is schema.message:
        again = partial(desk.by_hand.retry_dead_messages, HOUR_S)
    else:
        again = partial(desk.by_hand.retry_dead, HOUR_S)
    counted: list[int] = []
    other = threading.Thread(target=lambda: counted.append(again()))
    with desk.ledger.writing() as db:
        lock_study(db, STUDY)
        db.execute(table.update().values(state=DispatchState.CANCELLED))
        other.start()
        if db.dialect.name == "postgresql":  # on SQLite it waits before it has looked
            query = sa.text("SELECT count(*) FROM pg_locks WHERE NOT granted")
            while not db.execute(query).scalar_one() and other.is_alive():
                time.sleep(0.01)
    other.join()
    assert counted == [0]
    assert {row["state"] for row in desk.rows(table)} == {DispatchState.CANCELLED}
    assert "by hand" not in " ".join(desk.history())


@pytest.mark.parametrize("study", [STUDY, ""])
def test_a_message_that_was_not_taken_is_sent_again_as_it_was(desk: Desk, study: str) -> None:
    desk.receive()
    row = {
        "control_id": "control-1",
        "destination": "ris",
        "study_uid": STUDY,
        "sequence": 1,
        "number": 1,
        "kind": MessageKind.LEVEL,
        "told": "{}",
        "content": b"MSH",
        "state": DispatchState.DEAD,
        "attempt": 2,
        "deadline_at": 0.0,
        "made_at": 0.0,
    }
    with desk.ledger.writing() as db:
        db.execute(schema.message.insert().values(row))
    if study:
        assert desk.by_hand.retry_study(study, HOUR_S, nowhere) == "sent again to ris"
    else:
        assert desk.by_hand.retry_dead_messages(HOUR_S, destination="pacs") == 0
        assert desk.by_hand.retry_dead_messages(HOUR_S, destination="ris") == 1
    after = desk.row(schema.message, "control-1")
    assert (after["state"], after["attempt"]) == (DispatchState.QUEUED, 3)
    assert after["content"] == b"MSH"
    assert desk.history()[-1] == "told ris again by hand"
