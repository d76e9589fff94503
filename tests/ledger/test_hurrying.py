"""What waits for a destination that is away goes once that is back, and nothing else does."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from costs import counted
from ledgers import NODE, STUDY, Desk, run_at_once

from node.errors import Superseded
from node.ledger import (
    PROBE_AFTER_S,
    DeliveryState,
    DispatchState,
    Job,
    MessageEnd,
    Messages,
    Outcome,
    Patience,
    schema,
)
from node.ledger.hurrying import HURRIED_AT_ONCE
from node.ledger.states import MessageKind
from node.result import Priority

AWAY = Patience(600, is_unreached=True)


def study_uid(number: int) -> str:
    return f"{STUDY}.{number:03}"


def jobs_of(desk: Desk, count: int, **how: object) -> list[Job]:
    """Take so many studies up to their deliveries; return the job of each."""
    found = []
    for number in range(count):
        jobs = desk.analysed(study_uid(number), first_report=10 * number, **how)  # type: ignore[arg-type]
        found += jobs
    return found


def fail(desk: Desk, job: Job, patience: Patience = AWAY) -> None:
    """Make an attempt that ends with a destination that cannot be reached."""
    shipment = desk.delivering.begin_dispatch(job, NODE)
    why = f"{job.destination} cannot be reached"
    outcomes = [Outcome(one.sop_uid, DeliveryState.QUEUED, why) for one in shipment.to_send]
    desk.delivering.finish_dispatch(job, outcomes, patience, desk.enqueue)


def waiting(desk: Desk, count: int, **how: object) -> list[Job]:
    """Have so many studies wait for `pacs`, which is away, the first of them the longest."""
    jobs = jobs_of(desk, count, **how)
    for job in jobs:
        fail(desk, job)
    return jobs


def hurried(desk: Desk, do: Callable[[], object]) -> list[Job]:
    before = len(desk.jobs)
    do()
    return desk.jobs[before:]


def hurry(desk: Desk, destination: str = "pacs") -> list[Job]:
    return hurried(desk, lambda: desk.hurrying.hurry(destination, desk.enqueue))


def probe(desk: Desk) -> list[Job]:
    return hurried(desk, lambda: desk.hurrying.probe(desk.enqueue))


def failed_ago(desk: Desk, seconds: float) -> None:
    """Let the last failure of every destination be so long ago."""
    with desk.ledger.writing() as db:
        peer = schema.peer
        db.execute(peer.update().values(failed_at=peer.c.failed_at - seconds))


def test_what_waits_for_a_destination_goes_at_once_each_as_an_attempt_of_its_own(
    desk: Desk,
) -> None:
    jobs = waiting(desk, 3)
    assert [job.attempt for job in hurry(desk)] == [2 + 1] * 3
    assert {job.study_uid for job in desk.jobs[-3:]} == {job.study_uid for job in jobs}
    assert all(job.delay_s == 0 for job in desk.jobs[-3:])
    assert [row["next_at"] for row in desk.rows(schema.dispatch)] == [None] * 3
    assert hurry(desk) == []


def test_the_attempt_that_was_due_later_finds_another_in_its_place(desk: Desk) -> None:
    waiting(desk, 1)
    put_off = desk.jobs[-1]
    (now,) = hurry(desk)
    with pytest.raises(Superseded, match="attempt 3 is queued"):
        desk.delivering.begin_dispatch(put_off, NODE)
    desk.deliver(now)
    assert desk.rows(schema.dispatch)[0]["state"] == DispatchState.FINISHED
    with pytest.raises(Superseded, match="attempt 3 is finished"):
        desk.delivering.begin_dispatch(put_off, NODE)


def test_what_did_not_fail_for_want_of_the_destination_keeps_its_wait(desk: Desk) -> None:
    full, asked, other = jobs_of(desk, 3)
    desk.deliver(full, DeliveryState.SENT, DeliveryState.QUEUED, patience=Patience(600))
    report = Patience(600, 600, waits_for="the storage commitment report", has_asked=True)
    desk.deliver(asked, patience=report)
    fail(desk, other, Patience(600))
    assert {row["is_unreached"] for row in desk.rows(schema.dispatch)} == {False}
    before = desk.everything()
    assert hurry(desk) == []
    assert desk.everything() == before


def test_what_could_not_even_be_asked_about_is_hurried_too(desk: Desk) -> None:
    (job,) = jobs_of(desk, 1)
    desk.deliver(job, patience=Patience(600, 600, waits_for="pacs to list it"))
    away = Patience(600, 600, waits_for="PACS cannot be reached", is_unreached=True)
    failed_ago(desk, 0)
    desk.change(schema.peer, sent_at=0.0)  # long ago
    desk.delivering.begin_dispatch(desk.jobs[-1], NODE)
    desk.delivering.finish_dispatch(desk.jobs[-1], (), away, desk.enqueue)
    assert desk.row(schema.peer, "pacs")["failure"] == "PACS cannot be reached"
    assert len(hurry(desk)) == 1


def test_what_waits_for_another_destination_keeps_its_wait(desk: Desk) -> None:
    waiting(desk, 1, destinations=("pacs", "workstation"))
    assert [job.destination for job in hurry(desk)] == ["pacs"]


def test_the_first_to_fail_of_an_outage_is_hurried_although_others_were_just_taken(
    desk: Desk,
) -> None:
    good, first = jobs_of(desk, 2)
    desk.deliver(good)
    fail(desk, first)
    assert [job.study_uid for job in hurry(desk)] == [first.study_uid]


def test_one_that_fails_again_where_others_were_taken_meanwhile_is_its_own_fault(
    desk: Desk,
) -> None:
    """As when a query for this study is never answered: else each success would try it again."""
    bad, good, other = jobs_of(desk, 3)
    fail(desk, bad)
    desk.deliver(good)
    (again,) = hurry(desk)
    fail(desk, again)
    assert not desk.row(schema.dispatch, bad.study_uid, 1, "pacs")["is_unreached"]
    desk.deliver(other)
    assert hurry(desk) == []
    fail(desk, desk.jobs[-1])  # it was not hurried: the destination may well be away now
    assert desk.row(schema.dispatch, bad.study_uid, 1, "pacs")["is_unreached"]


def test_what_waited_for_its_destination_has_not_failed_before(desk: Desk) -> None:
    waiting(desk, 1)
    (now,) = hurry(desk)
    assert desk.delivering.begin_dispatch(now, NODE).waited_for_it
    desk.delivering.finish_dispatch(now, (), Patience(30), desk.enqueue)
    assert not desk.delivering.begin_dispatch(desk.jobs[-1], NODE).waited_for_it


def test_of_many_the_most_urgent_go_then_the_oldest_and_the_rest_with_the_next_success(
    desk: Desk,
) -> None:
    jobs = waiting(desk, HURRIED_AT_ONCE + 3)
    levels = {jobs[-1].study_uid: Priority.URGENT, jobs[-2].study_uid: Priority.NOT_ASSESSED}
    with desk.ledger.writing() as db:
        for study, level in levels.items():
            is_it = schema.study.c.study_uid == study
            db.execute(schema.study.update().where(is_it).values(level=level))
    in_order = [jobs[-1], jobs[-2], *jobs[:-2]]
    first = sorted(hurry(desk), key=lambda job: job.due_at or 0.0)
    assert {job.study_uid for job in first} == {j.study_uid for j in in_order[:HURRIED_AT_ONCE]}
    assert [job.study_uid for job in first[:2]] == [job.study_uid for job in in_order[:2]]
    left = hurry(desk)
    assert {job.study_uid for job in left} == {j.study_uid for j in in_order[HURRIED_AT_ONCE:]}
    assert hurry(desk) == []


def test_what_is_hurried_takes_its_place_as_if_it_began_to_wait_now(desk: Desk) -> None:
    waiting(desk, 1)
    put_off = desk.jobs[-1]
    (now,) = hurry(desk)
    assert put_off.due_at is not None
    assert now.due_at == pytest.approx(put_off.due_at - put_off.delay_s, abs=60)
    assert desk.rows(schema.dispatch)[0]["due_at"] == now.due_at


def test_what_two_nodes_hurry_at_once_goes_once(desk: Desk) -> None:
    waiting(desk, 10)
    before = len(desk.jobs)
    run_at_once(*[lambda: desk.hurrying.hurry("pacs", desk.enqueue)] * 4)
    assert len(desk.jobs) - before == 10
    assert len({job.id for job in desk.jobs}) == len(desk.jobs)


def test_what_is_held_or_given_up_is_not_hurried(desk: Desk) -> None:
    held, dead = waiting(desk, 2)
    desk.receive("2.25.77", study=held.study_uid, identity="another - - - -")
    with pytest.raises(Superseded):
        desk.delivering.begin_dispatch(Job("deliver", held.study_uid, 1, 2, "pacs"), NODE)
    desk.change(schema.dispatch, deadline_at=0.0)
    fail(desk, Job("deliver", dead.study_uid, 1, 2, "pacs"))
    states = {row["study_uid"]: row["state"] for row in desk.rows(schema.dispatch)}
    assert states == {
        held.study_uid: DispatchState.CANCELLED,
        dead.study_uid: DispatchState.DEAD,
    }
    assert {row["is_unreached"] for row in desk.rows(schema.dispatch)} == {False}
    assert hurry(desk) == []


def test_where_nothing_waits_it_is_a_look_into_an_index(desk: Desk) -> None:
    with counted() as none:
        hurry(desk)
        probe(desk)
    for job in jobs_of(desk, 100):
        desk.deliver(job)
    with counted() as many:
        hurry(desk)
        probe(desk)
    assert len(many.statements) == len(none.statements)
    assert all(statement.lstrip().startswith("SELECT") for statement in many.statements)
    assert many.steps <= 1.1 * none.steps


def message(desk: Desk, study: str, **values: object) -> Job:
    """Have a message about a study wait for `ris`."""
    desk.receive(f"{study}.1", study=study)
    row = {
        "control_id": f"about {study}",
        "destination": "ris",
        "study_uid": study,
        "sequence": 4,
        "number": 1,
        "kind": MessageKind.WITHDRAWN,
        "told": "{}",
        "content": b"MSH",
        "state": DispatchState.QUEUED,
        "attempt": 7,
        "deadline_at": 4e9,
        "made_at": 0.0,
    }
    with desk.ledger.writing() as db:
        db.execute(schema.message.insert().values(row | values))
        db.execute(schema.study_to_tell.delete())
    return Job("message", study, 4, 7, "ris")


def test_messages_wait_in_the_same_lane_and_are_hurried_too(desk: Desk) -> None:
    message(desk, STUDY, is_unreached=True, next_at=3e9)
    (job,) = hurry(desk, "ris")
    after = desk.row(schema.message, f"about {STUDY}")
    assert job == Job("message", STUDY, 4, 8, "ris", due_at=after["due_at"])
    assert (after["attempt"], after["next_at"]) == (8, None)


def test_a_message_that_is_not_answered_where_others_are_keeps_its_wait(desk: Desk) -> None:
    messages, silence = Messages(desk.ledger), MessageEnd("failed", "no answer", 600.0, True)
    stuck, answered = message(desk, "2.25.2"), message(desk, "2.25.1")
    for job, end in ((stuck, silence), (answered, MessageEnd("acknowledged"))):
        messages.begin_message(job, NODE, desk.enqueue)
        messages.finish_message(job, end, desk.enqueue)
    (again,) = hurry(desk, "ris")  # it may have been the first to fail of an outage
    messages.begin_message(again, NODE, desk.enqueue)
    messages.finish_message(again, silence, desk.enqueue)
    assert hurry(desk, "ris") == []


def test_what_was_cancelled_meanwhile_keeps_nobody_from_looking(desk: Desk) -> None:
    message(desk, "2.25.1", is_unreached=True, state=DispatchState.CANCELLED)
    message(desk, "2.25.2", is_unreached=True, next_at=3e9)
    assert [job.study_uid for job in probe(desk)] == ["2.25.2"]


# While nothing succeeds


def test_where_nothing_was_tried_for_a_minute_the_first_that_waits_is(desk: Desk) -> None:
    waiting(desk, 3)
    assert probe(desk) == []
    failed_ago(desk, PROBE_AFTER_S)
    assert len(probe(desk)) == 1
    assert probe(desk) == []  # one is under way
    fail(desk, desk.jobs[-1])
    assert probe(desk) == []  # it has just been tried
    failed_ago(desk, PROBE_AFTER_S)
    assert len(probe(desk)) == 1


def test_each_destination_that_is_away_is_tried(desk: Desk) -> None:
    waiting(desk, 2, destinations=("pacs", "workstation"))
    failed_ago(desk, PROBE_AFTER_S)
    assert sorted(job.destination for job in probe(desk)) == ["pacs", "workstation"]


def test_where_an_attempt_is_due_by_itself_no_other_is_made(desk: Desk) -> None:
    waiting(desk, 2)
    failed_ago(desk, PROBE_AFTER_S)
    with desk.ledger.writing() as db:
        is_first = schema.dispatch.c.study_uid == study_uid(0)
        db.execute(schema.dispatch.update().where(is_first).values(next_at=1.0))
    assert probe(desk) == []


def test_where_nothing_waits_nothing_is_tried(desk: Desk) -> None:
    for job in jobs_of(desk, 2):
        desk.deliver(job, DeliveryState.SENT, DeliveryState.QUEUED)
    failed_ago(desk, PROBE_AFTER_S)
    assert probe(desk) == []
