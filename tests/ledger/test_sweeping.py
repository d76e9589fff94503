"""What is taken up again: after a crash, a lost job, or by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest
from ledgers import HOUR_S, KIND, NODE, OTHER_KIND, STUDY, Desk

from node.ledger import (
    DELAY_PER_CRASH_S,
    GIVE_UP_AFTER,
    QUARANTINE_AFTER,
    BuiltReport,
    DeliveryState,
    DispatchState,
    Finished,
    HeldBecause,
    Job,
    Patience,
    VersionState,
    schema,
)
from node.ledger.rows import DELAY_MAX_S

UNCONFIRMED = Patience(60, gives_up="PACS accepted it, but never confirmed it")


def crash(desk: Desk, job: Job) -> Job:
    """Let a process die with a job, and return the job's next attempt."""
    desk.begin(job)
    desk.sweeping.revive(job, desk.enqueue)
    return desk.jobs[-1]


def test_a_process_that_dies_with_a_study_counts_as_a_crash(desk: Desk) -> None:
    desk.receive()
    following = crash(desk, desk.close())
    assert following == Job("process", STUDY, 1, 2, delay_s=DELAY_PER_CRASH_S)
    assert desk.version()["crashes"] == 1
    assert "process: attempt 1 died with its node; attempt 2 follows" in desk.history()


def test_a_job_that_was_lost_before_it_ran_is_no_crash(desk: Desk) -> None:
    desk.receive()
    desk.sweeping.revive(desk.close(), desk.enqueue)
    assert desk.jobs[-1].attempt == 2
    assert desk.version()["crashes"] == 0


def test_a_clean_stop_is_no_crash_however_often(desk: Desk) -> None:
    desk.receive()
    job = desk.close()
    for n in range(GIVE_UP_AFTER + 1):
        desk.nodes.register_node(f"node {n}")
        desk.begin(job, f"node {n}")
        desk.nodes.retire_node(f"node {n}")
        desk.sweeping.revive(job, desk.enqueue)
        job = desk.jobs[-1]
        assert not job.is_quarantined
    assert not desk.begin(job).is_given_up
    assert desk.version()["crashes"] == 0


def test_after_two_crashes_a_study_runs_alone(desk: Desk) -> None:
    desk.receive()
    job = desk.close()
    for _ in range(QUARANTINE_AFTER):
        assert not job.is_quarantined
        job = crash(desk, job)
    assert job.is_quarantined


def test_a_study_that_runs_alone_still_does_after_a_failure(desk: Desk) -> None:
    desk.receive()
    job = desk.close()
    for _ in range(QUARANTINE_AFTER):
        job = crash(desk, job)
    desk.begin(job)
    as_the_engine_has_it = Job("process", STUDY, 1, job.attempt)
    desk.processing.fail_version(
        as_the_engine_has_it, "out of memory", 5, desk.enqueue, is_its_fault=True
    )
    assert desk.jobs[-1].is_quarantined


def test_after_five_crashes_a_study_is_given_up(desk: Desk) -> None:
    desk.receive()
    job = desk.close()
    for _ in range(GIVE_UP_AFTER):
        assert not desk.version()["crashes"] >= GIVE_UP_AFTER
        job = crash(desk, job)
    assert desk.begin(job).is_given_up


def test_an_owner_that_lives_has_not_crashed_however_often_it_lets_a_study_go(desk: Desk) -> None:
    """Its database was locked when an attempt ended, and when it was to say so."""
    desk.receive()
    job = desk.close()
    delays = []
    for _ in range(2 * GIVE_UP_AFTER):
        desk.begin(job)
        desk.sweeping.revive(job, desk.enqueue, {NODE})
        job = desk.jobs[-1]
        delays.append(job.delay_s)
    assert delays[:4] == [2.0, 4.0, 8.0, 16.0]
    assert delays[-1] == DELAY_MAX_S
    version = desk.version()
    assert (version["crashes"], version["failures"]) == (0, 0)
    assert version["troubles"] == 2 * GIVE_UP_AFTER
    assert not desk.begin(job).is_given_up
    words = "process: attempt 1 could not say how it ended; attempt 2 follows"
    assert words in desk.history()


def test_a_study_that_nobody_could_even_take_waits_longer_each_time(desk: Desk) -> None:
    """The database was locked when an attempt was to begin, and when it was to say so."""
    desk.receive()
    job = desk.close()
    delays = []
    for _ in range(3):
        desk.sweeping.revive(job, desk.enqueue, {NODE}, has_ended=True)
        job = desk.jobs[-1]
        delays.append(job.delay_s)
    assert delays == [2.0, 4.0, 8.0]
    version = desk.version()
    assert (version["crashes"], version["failures"], version["troubles"]) == (0, 0, 3)


@pytest.mark.parametrize("has_begun", [True, False])
def test_an_exception_that_nobody_caught_counts_as_a_failure(desk: Desk, has_begun: bool) -> None:
    desk.receive()
    job = desk.close()
    for _ in range(GIVE_UP_AFTER):
        if has_begun:
            desk.begin(job)
        desk.sweeping.revive(job, desk.enqueue, {NODE}, has_failed=True)
        job = desk.jobs[-1]
    version = desk.version()
    assert (version["crashes"], version["failures"], version["troubles"]) == (0, GIVE_UP_AFTER, 0)
    assert desk.begin(job).is_given_up


@pytest.mark.parametrize("how", ["crash", "exception", "failure", "failure before it began"])
def test_of_what_was_given_up_not_even_the_answer_is_tried_for_ever(desk: Desk, how: str) -> None:
    desk.receive()
    job = desk.close()
    desk.change(schema.study_version, crashes=GIVE_UP_AFTER)
    has_begun = how != "failure before it began"
    if has_begun:
        desk.begin(job)
    if how.startswith("failure"):
        desk.processing.fail_version(
            job, "KeyError", 5, desk.enqueue, is_its_fault=True, has_begun=has_begun
        )
    else:
        alive = {NODE} if how == "exception" else ()
        desk.sweeping.revive(job, desk.enqueue, alive, has_failed=how == "exception")
    assert desk.version()["state"] == VersionState.CANCELLED
    study = desk.study()
    assert study["held_because"] == HeldBecause.REPORT
    assert study["held_reason"].startswith("its report could not be built (")
    assert len(desk.jobs) == 1  # none followed
    assert desk.sweeping.unfinished() == []


def test_a_delivery_whose_end_could_not_be_said_waits_longer_each_time(desk: Desk) -> None:
    (job,) = desk.analysed()
    for attempt in range(1, 4):
        desk.delivering.begin_dispatch(job, NODE)
        desk.sweeping.revive(job, desk.enqueue, {NODE})
        job = desk.jobs[-1]
        assert job.delay_s == attempt * DELAY_PER_CRASH_S


def test_a_delivery_that_always_ends_with_an_exception_is_given_up_in_its_time(desk: Desk) -> None:
    (job,) = desk.analysed()
    desk.delivering.begin_dispatch(job, NODE)
    desk.sweeping.revive(job, desk.enqueue, {NODE}, has_failed=True)
    assert desk.dispatch()["state"] == DispatchState.QUEUED
    desk.change(schema.dispatch, deadline_at=0.0)
    desk.sweeping.revive(desk.jobs[-1], desk.enqueue, {NODE}, has_failed=True)
    assert desk.dispatch()["state"] == DispatchState.DEAD
    assert desk.history()[-1] == "deliver: attempt 2 ended unexpectedly"
    assert desk.by_hand.retry_dead(HOUR_S) == 1


def test_what_is_not_final_is_unfinished(desk: Desk) -> None:
    desk.receive()
    job = desk.close()
    assert desk.sweeping.unfinished() == [job]
    desk.begin(job)
    assert desk.sweeping.unfinished() == [job]
    deliveries = desk.finish(job, destinations=("pacs", "workstation"))
    assert desk.sweeping.unfinished() == deliveries


def test_a_lost_delivery_keeps_its_waiting_time(desk: Desk) -> None:
    (job,) = desk.analysed()
    desk.deliver(job, DeliveryState.QUEUED, DeliveryState.QUEUED, patience=Patience(600))
    assert desk.revived().attempt == 3
    assert 590 < desk.jobs[-1].delay_s <= 600


@pytest.mark.parametrize("state", [DeliveryState.QUEUED, DeliveryState.REFUSED])
def test_what_was_given_up_can_be_sent_again_by_hand(desk: Desk, state: DeliveryState) -> None:
    (job,) = desk.analysed(deliver_within_s=0)
    desk.deliver(job, DeliveryState.SENT, state)
    assert desk.by_hand.retry_dead(HOUR_S) == 1
    assert desk.by_hand.retry_dead(HOUR_S) == 0
    assert desk.revived() == replace(job, attempt=3), "the second is to be sent, and nobody has it"
    desk.deliver(desk.jobs[-1], DeliveryState.SENT)
    assert desk.dispatch()["state"] == DispatchState.FINISHED
    assert "sent again to pacs by hand" in desk.history()


def test_results_that_had_no_destination_go_to_the_one_there_is_now(desk: Desk) -> None:
    desk.receive()
    job = desk.close()
    desk.begin(job)
    built = tuple(
        BuiltReport(f"2.25.{n}", kind, "1.2.3", f"reports/{n}.dcm", "digest")
        for n, kind in enumerate((KIND, OTHER_KIND))
    )
    nowhere = Finished((), built, {}, HOUR_S, problem="no destination: none is named")
    desk.processing.finish_version(job, nowhere, desk.enqueue)
    assert desk.by_hand.retry_undirected(lambda sender: {}, HOUR_S) == (0, 1)
    not_built = {"workstation": frozenset({"key-images"})}
    assert desk.by_hand.retry_undirected(lambda sender: not_built, HOUR_S) == (0, 1)
    assert desk.version()["error"] == "no destination: none is named"
    senders = []

    def directions(sender: str) -> dict[str, frozenset[str]]:
        senders.append(sender)
        return {"pacs": frozenset({KIND})}

    assert desk.by_hand.retry_undirected(directions, HOUR_S) == (1, 0)
    assert set(senders) == {"modality"}
    assert desk.by_hand.retry_undirected(directions, HOUR_S) == (0, 0)
    delivery = desk.revived()
    assert [one.sop_uid for one in desk.delivering.begin_dispatch(delivery, NODE).to_send] == [
        "2.25.0"
    ]
    assert desk.version()["error"] is None
    assert "sent to pacs by hand: 1 of 2 objects" in desk.history()


def test_sending_again_gives_the_whole_time_anew(desk: Desk) -> None:
    (job,) = desk.analysed(deliver_within_s=0)
    desk.deliver(job, DeliveryState.QUEUED, DeliveryState.QUEUED)
    desk.by_hand.retry_dead(HOUR_S)
    desk.deliver(desk.sweeping.unfinished()[0], DeliveryState.QUEUED, DeliveryState.QUEUED)
    assert desk.dispatch()["state"] == DispatchState.QUEUED


def test_what_was_never_confirmed_is_asked_for_anew_by_hand_and_not_sent_again(
    desk: Desk,
) -> None:
    (job,) = desk.analysed()
    desk.deliver(job, patience=UNCONFIRMED)
    assert desk.dispatch()["state"] == DispatchState.DEAD
    desk.by_hand.retry_dead(HOUR_S)
    shipment = desk.delivering.begin_dispatch(desk.revived(), "node-1")
    assert (len(shipment.to_send), len(shipment.to_confirm), shipment.asks) == (0, 2, 0)


def test_jobs_have_ids_of_their_own() -> None:
    jobs = [
        Job("process", STUDY, 1, 1),
        Job("process", STUDY, 1, 2),
        Job("process", STUDY, 2, 1),
        Job("deliver", STUDY, 1, 1, "pacs"),
        Job("deliver", STUDY, 1, 1, "pacs2"),
    ]
    assert len({job.id for job in jobs}) == len(jobs)
    assert replace(jobs[0], delay_s=5, is_quarantined=True).id == jobs[0].id
