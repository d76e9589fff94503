"""Each object is sent until the destination has it, and found to be kept before that counts."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import replace

import pytest
from ledgers import (
    HOUR_S,
    KIND,
    NODE,
    OTHER_KIND,
    PATIENCE,
    SOMEBODY_ELSE,
    STUDY,
    Desk,
    run_at_once,
)

from node.errors import Superseded
from node.ledger import DeliveryState, DispatchState, HeldBecause, Job, Patience, Shipment, schema

TRANSACTION = "2.25.500"
FIRST, SECOND = "2.25.10", "2.25.11"
"""The two objects of the first version."""

REPORT = "the storage commitment report of pacs"
WAITING = Patience(60, 600, waits_for=REPORT, has_asked=True)
NOT_KEPT = {FIRST: "no such object instance"}


def send(desk: Desk, job: Job, *states: DeliveryState) -> Shipment:
    """Begin an attempt and send; return what is left to do."""
    shipment = desk.delivering.begin_dispatch(job, NODE)
    states = states or (DeliveryState.SENT,) * len(shipment.to_send)
    pairs = zip(shipment.to_send, states, strict=True)
    return desk.delivering.record_sent(
        job, [desk.outcome(report, state) for report, state in pairs]
    )


def wait_for_report(
    desk: Desk,
    job: Job,
    *states: DeliveryState,
    transaction: str = TRANSACTION,
    patience: Patience = WAITING,
) -> None:
    """Make an attempt that ends with the destination asked to answer for what it accepted."""
    send(desk, job, *states)
    desk.delivering.ask_commitment(job, transaction)
    desk.delivering.finish_dispatch(job, (), patience, desk.enqueue)


def report(
    desk: Desk,
    committed: Iterable[str] = (),
    failed: dict[str, str] | None = None,
    transaction: str = TRANSACTION,
) -> bool:
    """Let the destination report."""
    return desk.delivering.record_commitment(
        transaction, frozenset(committed), failed or {}, lambda attempt: 60.0 * attempt
    )


# Sending


def test_a_report_set_is_sent_in_its_order(desk: Desk) -> None:
    (job,) = desk.analysed(reports=4)
    shipment = desk.delivering.begin_dispatch(job, NODE)
    assert [one.path for one in shipment.to_send] == [f"reports/{n}.dcm" for n in range(4)]
    assert (shipment.to_confirm, shipment.asks) == ((), 0)


def test_when_all_is_sent_where_nobody_confirms_the_delivery_is_finished_unconfirmed(
    desk: Desk,
) -> None:
    (job,) = desk.analysed()
    desk.deliver(job)
    dispatch = desk.dispatch()
    assert (dispatch["state"], dispatch["error"], dispatch["owner"]) == (
        DispatchState.FINISHED,
        None,
        None,
    )
    assert all(row["sent_at"] for row in desk.rows(schema.delivery))
    assert desk.objects() == [DeliveryState.SENT, DeliveryState.SENT]
    assert desk.history()[-1] == "accepted by pacs, unconfirmed"
    assert desk.sweeping.unfinished() == []


def test_what_was_not_taken_is_tried_again_later_and_nothing_else(desk: Desk) -> None:
    (job,) = desk.analysed()
    before = time.time()
    desk.deliver(job, DeliveryState.SENT, DeliveryState.QUEUED, patience=Patience(60))
    assert desk.jobs[-1] == replace(job, attempt=2, delay_s=60)
    dispatch = desk.dispatch()
    assert (dispatch["state"], dispatch["attempt"]) == (DispatchState.QUEUED, 2)
    assert dispatch["error"] == "queued by PACS"
    assert before + 59 < dispatch["next_at"] < time.time() + 61
    shipment = desk.delivering.begin_dispatch(desk.jobs[-1], NODE)
    assert [one.sop_uid for one in shipment.to_send] == [SECOND]
    assert [one.sop_uid for one in shipment.to_confirm] == [FIRST]


def test_what_was_sent_is_recorded_at_once_and_a_crash_after_it_sends_nothing_twice(
    desk: Desk,
) -> None:
    (job,) = desk.analysed()
    left = send(desk, job, DeliveryState.SENT, DeliveryState.QUEUED)
    assert ([one.sop_uid for one in left.to_send], len(left.to_confirm)) == ([SECOND], 1)
    again = desk.delivering.begin_dispatch(desk.revived(), "node-2")
    assert again == left


def test_a_refusal_is_final_and_the_rest_is_tried_on(desk: Desk) -> None:
    (job,) = desk.analysed()
    desk.deliver(job, DeliveryState.REFUSED, DeliveryState.QUEUED)
    desk.deliver(desk.jobs[-1], DeliveryState.SENT)
    dispatch = desk.dispatch()
    assert (dispatch["state"], dispatch["error"]) == (DispatchState.DEAD, "refused by PACS")
    assert desk.history()[-1] == "given up sending to pacs: refused by PACS"


def test_past_the_deadline_a_delivery_is_given_up(desk: Desk) -> None:
    (job,) = desk.analysed(deliver_within_s=30)
    desk.deliver(job, DeliveryState.QUEUED, DeliveryState.SENT, patience=Patience(60))
    dispatch = desk.dispatch()
    assert (dispatch["state"], dispatch["error"]) == (DispatchState.DEAD, "queued by PACS")
    assert desk.jobs[-1] == job
    assert desk.sweeping.unfinished() == []


def test_a_stale_delivery_changes_nothing(desk: Desk) -> None:
    (stale,) = desk.analysed()
    outcome = desk.outcome(
        desk.delivering.begin_dispatch(stale, NODE).to_send[0], DeliveryState.SENT
    )
    desk.sweeping.revive(stale, desk.enqueue)
    desk.delivering.begin_dispatch(desk.jobs[-1], "node-2")
    before = desk.everything()
    late_calls: tuple[Callable[[], object], ...] = (
        lambda: desk.delivering.begin_dispatch(stale, NODE),
        lambda: desk.delivering.require_current(stale),
        lambda: desk.delivering.record_sent(stale, [outcome]),
        lambda: desk.delivering.ask_commitment(stale, TRANSACTION),
        lambda: desk.delivering.forget_commitment(stale, TRANSACTION),
        lambda: desk.delivering.finish_dispatch(stale, [outcome], Patience(1), desk.enqueue),
        lambda: desk.delivering.hold_dispatch(stale, "another patient"),
    )
    for late in late_calls:
        with pytest.raises(Superseded, match="attempt 2 is running"):
            late()
    assert desk.everything() == before


def test_what_a_destination_took_before_the_study_was_held_is_remembered(desk: Desk) -> None:
    (job,) = desk.analysed()
    shipment = desk.delivering.begin_dispatch(job, NODE)
    desk.receive("2.25.77", identity=SOMEBODY_ELSE)
    outcomes = [desk.outcome(shipment.to_send[0], DeliveryState.SENT)]
    with pytest.raises(Superseded, match="disagree"):
        desk.delivering.record_sent(job, outcomes)
    assert desk.objects() == [DeliveryState.SENT, DeliveryState.QUEUED]
    assert desk.dispatch()["state"] == DispatchState.CANCELLED
    words = "nothing more is sent to pacs: the objects of the study disagree about Patient ID"
    assert desk.history()[-1] == words


def test_a_delivery_under_way_is_told_as_soon_as_its_images_are_corrected(desk: Desk) -> None:
    (job,) = desk.analysed()
    desk.delivering.begin_dispatch(job, NODE)
    desk.delivering.require_current(job)
    desk.receive_again()
    with pytest.raises(Superseded, match="corrected headers"):
        desk.delivering.require_current(job)
    assert desk.dispatch()["state"] == DispatchState.RUNNING  # it only looked: who sends, records


def test_what_a_destination_knows_as_somebody_elses_is_said_once(desk: Desk) -> None:
    (job,) = desk.analysed()
    desk.delivering.begin_dispatch(job, NODE)
    desk.delivering.hold_dispatch(job, "pacs has it under another patient ID")
    assert desk.dispatch()["state"] == DispatchState.CANCELLED
    assert desk.study()["held_because"] == HeldBecause.DESTINATION
    assert desk.history()[-1] == "held: pacs has it under another patient ID"
    assert desk.objects() == [DeliveryState.QUEUED, DeliveryState.QUEUED]


# Asking for confirmation


def test_a_request_is_written_down_before_it_is_sent(desk: Desk) -> None:
    (job,) = desk.analysed()
    send(desk, job, DeliveryState.SENT, DeliveryState.QUEUED)
    desk.delivering.ask_commitment(job, TRANSACTION)
    asked = desk.row(schema.commitment, TRANSACTION)
    assert (asked["study_uid"], asked["number"], asked["destination"]) == (STUDY, 1, "pacs")
    assert asked["answered_at"] is None
    by_object = {row["sop_uid"]: row["transaction_uid"] for row in desk.rows(schema.delivery)}
    assert by_object == {FIRST: TRANSACTION, SECOND: None}  # only what it has accepted


def test_what_is_accepted_waits_for_its_confirmation(desk: Desk) -> None:
    (job,) = desk.analysed()
    wait_for_report(desk, job)
    dispatch = desk.dispatch()
    assert (dispatch["state"], dispatch["error"]) == (DispatchState.QUEUED, REPORT)
    assert desk.jobs[-1] == replace(job, attempt=2, delay_s=600)


def test_each_request_that_comes_to_nothing_counts(desk: Desk) -> None:
    (job,) = desk.analysed()
    wait_for_report(desk, job, transaction="2.25.501")
    shipment = desk.delivering.begin_dispatch(desk.jobs[-1], NODE)
    assert (len(shipment.to_send), len(shipment.to_confirm), shipment.asks) == (0, 2, 1)
    looked_up = Patience(60, 60, waits_for="pacs to list all of them", has_asked=True)
    desk.delivering.finish_dispatch(desk.jobs[-1], (), looked_up, desk.enqueue)
    assert desk.delivering.begin_dispatch(desk.jobs[-1], NODE).asks == 2


def test_a_request_that_is_not_understood_is_taken_back(desk: Desk) -> None:
    (job,) = desk.analysed()
    send(desk, job)
    before = desk.everything()
    desk.delivering.ask_commitment(job, TRANSACTION)
    desk.delivering.forget_commitment(job, TRANSACTION)
    assert desk.everything() == before
    assert not report(desk, [FIRST, SECOND])


def test_what_is_found_at_the_destination_is_confirmed(desk: Desk) -> None:
    (job,) = desk.analysed()
    left = send(desk, job)
    outcomes = [desk.outcome(one, DeliveryState.CONFIRMED) for one in left.to_confirm]
    desk.delivering.finish_dispatch(job, outcomes, Patience(60), desk.enqueue)
    assert desk.dispatch()["state"] == DispatchState.FINISHED
    assert {row["confirmed_by"] for row in desk.rows(schema.delivery)} == {"find"}
    assert all(row["confirmed_at"] for row in desk.rows(schema.delivery))
    assert desk.history()[-1] == "delivered to pacs, confirmed"


def test_what_is_not_found_is_waited_for_until_it_is_given_up(desk: Desk) -> None:
    (job,) = desk.analysed()
    left = send(desk, job)
    outcomes = [desk.outcome(left.to_confirm[0], DeliveryState.CONFIRMED)]
    words = "pacs accepted it, but was asked 3 times and never confirmed it"
    desk.delivering.finish_dispatch(job, outcomes, Patience(60, gives_up=words), desk.enqueue)
    dispatch = desk.dispatch()
    assert (dispatch["state"], dispatch["error"]) == (DispatchState.DEAD, words)
    assert desk.objects() == [DeliveryState.CONFIRMED, DeliveryState.SENT]


def test_what_is_never_confirmed_is_given_up_at_the_deadline(desk: Desk) -> None:
    (job,) = desk.analysed(deliver_within_s=300)
    wait_for_report(desk, job)
    dispatch = desk.dispatch()
    words = f"accepted, but never confirmed: {REPORT}"
    assert (dispatch["state"], dispatch["error"]) == (DispatchState.DEAD, words)
    assert desk.history()[-1] == f"given up sending to pacs: {words}"
    assert desk.sweeping.unfinished() == []


def test_what_was_refused_stays_refused_when_the_rest_is_confirmed(desk: Desk) -> None:
    (job,) = desk.analysed()
    wait_for_report(desk, job, DeliveryState.REFUSED, DeliveryState.SENT)
    assert desk.dispatch()["state"] == DispatchState.QUEUED
    assert report(desk, [FIRST, SECOND])  # an archive that says so of what it refused is wrong
    assert desk.objects() == [DeliveryState.REFUSED, DeliveryState.CONFIRMED]
    left = desk.delivering.begin_dispatch(desk.revived(), NODE)
    assert (left.to_send, left.to_confirm) == ((), ())
    desk.delivering.finish_dispatch(desk.jobs[-1], (), Patience(60), desk.enqueue)
    dispatch = desk.dispatch()
    assert (dispatch["state"], dispatch["error"]) == (DispatchState.DEAD, "refused by PACS")


# Reports of storage commitment


def test_a_report_on_all_of_them_finishes_the_delivery(desk: Desk) -> None:
    (job,) = desk.analysed()
    wait_for_report(desk, job)
    assert report(desk, [FIRST, SECOND])
    dispatch = desk.dispatch()
    assert (dispatch["state"], dispatch["error"], dispatch["asks"]) == (
        DispatchState.FINISHED,
        None,
        0,
    )
    assert {row["confirmed_by"] for row in desk.rows(schema.delivery)} == {"commitment"}
    assert desk.row(schema.commitment, TRANSACTION)["answered_at"]
    assert desk.history()[-1] == "delivered to pacs, confirmed"
    assert desk.sweeping.unfinished() == []
    with pytest.raises(Superseded, match="finished"):
        desk.delivering.begin_dispatch(
            desk.jobs[-1], NODE
        )  # the attempt that would have asked again


def test_a_report_on_some_leaves_the_others_waiting(desk: Desk) -> None:
    (job,) = desk.analysed()
    wait_for_report(desk, job)
    assert report(desk, [FIRST])
    assert desk.objects() == [DeliveryState.CONFIRMED, DeliveryState.SENT]
    (unfinished,) = desk.sweeping.unfinished()
    assert unfinished.attempt == 2
    assert 595 < unfinished.delay_s <= 600
    left = desk.delivering.begin_dispatch(desk.jobs[-1], NODE)
    assert [one.sop_uid for one in left.to_confirm] == [SECOND]
    assert left.asks == 0


def test_what_is_not_kept_is_sent_again_after_the_usual_wait(
    desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    (job,) = desk.analysed()
    wait_for_report(desk, job)
    assert report(desk, [SECOND], NOT_KEPT)
    words = "that it accepted; they go again"
    assert f"pacs does not answer for 1 objects of study {STUDY} {words}" in caplog.text
    error = "pacs accepted it, but does not answer for it: no such object instance"
    dispatch = desk.dispatch()
    assert (dispatch["state"], dispatch["attempt"], dispatch["error"]) == (
        DispatchState.QUEUED,
        3,
        error,
    )
    following = desk.revived()
    assert 115 < following.delay_s <= 120
    left = desk.delivering.begin_dispatch(following, NODE)
    assert [one.sop_uid for one in left.to_send] == [FIRST]
    assert left.to_confirm == ()
    with pytest.raises(Superseded):
        desk.delivering.begin_dispatch(replace(job, attempt=2), NODE)  # that would have asked again


def test_what_is_named_both_kept_and_not_kept_is_not_kept(desk: Desk) -> None:
    (job,) = desk.analysed()
    wait_for_report(desk, job)
    report(desk, [FIRST, SECOND], NOT_KEPT)
    assert desk.objects() == [DeliveryState.QUEUED, DeliveryState.CONFIRMED]


def test_a_report_that_names_none_of_the_objects_is_a_request_that_came_to_nothing(
    desk: Desk,
) -> None:
    (job,) = desk.analysed()
    wait_for_report(desk, job)
    assert report(desk, ["1.2.3.4"], {"1.2.3.5": "no such object instance"})
    assert desk.objects() == [DeliveryState.SENT, DeliveryState.SENT]
    assert desk.delivering.begin_dispatch(desk.jobs[-1], NODE).asks == 1


@pytest.mark.parametrize("failed", [{}, NOT_KEPT])
def test_a_report_that_comes_twice_changes_nothing(desk: Desk, failed: dict[str, str]) -> None:
    (job,) = desk.analysed()
    wait_for_report(desk, job)
    report(desk, [FIRST, SECOND], failed)
    before = desk.everything()
    assert report(desk, [FIRST, SECOND], failed)
    assert desk.everything() == before


def test_a_repeated_report_does_not_send_again_what_has_been_sent_since(desk: Desk) -> None:
    (job,) = desk.analysed()
    wait_for_report(desk, job)
    report(desk, [SECOND], NOT_KEPT)
    send(desk, desk.revived())
    report(desk, [SECOND], NOT_KEPT)
    assert desk.objects() == [DeliveryState.SENT, DeliveryState.CONFIRMED]


def test_a_report_on_an_unknown_transaction_is_told_so_and_changes_nothing(desk: Desk) -> None:
    (job,) = desk.analysed()
    wait_for_report(desk, job)
    before = desk.everything()
    assert not report(desk, [FIRST, SECOND], transaction="2.25.999")
    assert desk.everything() == before


def test_reports_that_are_always_later_than_the_next_request_still_confirm(desk: Desk) -> None:
    (job,) = desk.analysed()
    wait_for_report(desk, job, transaction="2.25.501")
    wait_for_report(desk, desk.jobs[-1], transaction="2.25.502")
    assert report(desk, [FIRST, SECOND], transaction="2.25.501")
    assert desk.dispatch()["state"] == DispatchState.FINISHED


def test_an_older_request_that_failed_says_nothing_of_what_is_asked_for_now(desk: Desk) -> None:
    (job,) = desk.analysed()
    wait_for_report(desk, job, transaction="2.25.501")
    wait_for_report(desk, desk.jobs[-1], transaction="2.25.502")
    assert report(desk, [], NOT_KEPT, transaction="2.25.501")
    assert desk.objects() == [DeliveryState.SENT, DeliveryState.SENT]


@pytest.mark.parametrize("committed", [[FIRST, SECOND], [FIRST]])
def test_a_report_that_comes_while_an_attempt_runs_is_seen_when_it_ends(
    desk: Desk, committed: list[str]
) -> None:
    """An archive may report on the association it was asked over, or beside it."""
    (job,) = desk.analysed()
    send(desk, job)
    desk.delivering.ask_commitment(job, TRANSACTION)
    assert report(desk, committed, {SECOND: "busy"} if SECOND not in committed else {})
    assert desk.dispatch()["state"] == DispatchState.RUNNING
    desk.delivering.finish_dispatch(job, (), WAITING, desk.enqueue)
    dispatch = desk.dispatch()
    if SECOND in committed:
        assert dispatch["state"] == DispatchState.FINISHED
    else:
        error = "pacs accepted it, but does not answer for it: busy"
        assert (dispatch["state"], dispatch["error"]) == (DispatchState.QUEUED, error)
        assert desk.jobs[-1] == replace(job, attempt=2, delay_s=60)


def test_a_report_that_comes_after_the_delivery_was_given_up_finishes_it(desk: Desk) -> None:
    (job,) = desk.analysed(deliver_within_s=300)
    wait_for_report(desk, job)
    assert desk.dispatch()["state"] == DispatchState.DEAD
    assert report(desk, [FIRST, SECOND])
    dispatch = desk.dispatch()
    assert (dispatch["state"], dispatch["error"]) == (DispatchState.FINISHED, None)
    assert desk.by_hand.retry_dead(HOUR_S) == 0


def test_what_was_given_up_and_is_not_kept_is_sent_again_only_by_hand(desk: Desk) -> None:
    (job,) = desk.analysed(deliver_within_s=300)
    wait_for_report(desk, job)
    report(desk, [SECOND], NOT_KEPT)
    assert desk.dispatch()["state"] == DispatchState.DEAD
    assert desk.sweeping.unfinished() == []
    desk.by_hand.retry_dead(HOUR_S)
    left = desk.delivering.begin_dispatch(desk.revived(), NODE)
    assert [one.sop_uid for one in left.to_send] == [FIRST]


def test_what_is_sent_again_by_hand_is_an_attempt_of_its_own_and_no_mishap(desk: Desk) -> None:
    (job,) = desk.analysed(deliver_within_s=300)
    wait_for_report(desk, job)
    report(desk, [SECOND], NOT_KEPT)
    before = desk.dispatch()["attempt"]
    desk.by_hand.retry_dead(HOUR_S)
    (again,) = desk.sweeping.unfinished()
    assert again.attempt > before, "the one before has ended, and its job is known to have"
    assert again.delay_s == 0
    desk.sweeping.revive(again, desk.enqueue)
    assert not [event for event in desk.history() if "could not say" in event]


def test_what_turns_out_not_to_be_kept_after_the_delivery_was_finished_is_sent_again(
    desk: Desk,
) -> None:
    (job,) = desk.analysed()
    wait_for_report(desk, job)
    desk.deliver(desk.jobs[-1])  # with a configuration that no longer asks
    assert desk.dispatch()["state"] == DispatchState.FINISHED
    assert report(desk, [SECOND], NOT_KEPT)
    assert desk.dispatch()["state"] == DispatchState.QUEUED
    desk.deliver(desk.revived())
    assert desk.dispatch()["state"] == DispatchState.FINISHED
    assert desk.objects() == [DeliveryState.SENT, DeliveryState.CONFIRMED]


def test_a_report_on_an_older_version_sends_nothing_of_it_again(desk: Desk) -> None:
    (job,) = desk.analysed()
    wait_for_report(desk, job)
    desk.receive(f"{STUDY}.2")
    desk.close()
    assert desk.dispatch()["state"] == DispatchState.CANCELLED
    assert report(desk, [SECOND], NOT_KEPT)
    assert desk.dispatch()["state"] == DispatchState.CANCELLED
    assert desk.objects() == [DeliveryState.QUEUED, DeliveryState.CONFIRMED]
    assert [unfinished.kind for unfinished in desk.sweeping.unfinished()] == ["process"]


def test_a_report_on_a_held_study_is_kept_and_what_it_asks_for_waits(desk: Desk) -> None:
    (job,) = desk.analysed()
    wait_for_report(desk, job)
    desk.receive_again(pixels="other")
    report(desk, [SECOND], NOT_KEPT)
    with pytest.raises(Superseded, match="came twice"):
        desk.delivering.begin_dispatch(desk.revived(), NODE)
    desk.by_hand.release_study(STUDY)
    left = desk.delivering.begin_dispatch(desk.revived(), NODE)
    assert [one.sop_uid for one in left.to_send] == [FIRST]


def test_a_confirmed_object_stays_confirmed_whatever_is_said_of_it_later(desk: Desk) -> None:
    (job,) = desk.analysed()
    send(desk, job)
    desk.delivering.ask_commitment(job, TRANSACTION)
    shipment = desk.delivering.begin_dispatch(job, NODE)
    report(desk, [FIRST])
    again = [desk.outcome(one, DeliveryState.QUEUED) for one in shipment.to_confirm]
    desk.delivering.finish_dispatch(job, again, Patience(60), desk.enqueue)
    assert desk.objects() == [DeliveryState.CONFIRMED, DeliveryState.QUEUED]
    report(desk, [], NOT_KEPT)
    assert desk.objects() == [DeliveryState.CONFIRMED, DeliveryState.QUEUED]


def test_each_destination_is_confirmed_on_its_own(desk: Desk) -> None:
    pacs, _ = desk.analysed(destinations=("pacs", "workstation"))
    wait_for_report(desk, pacs)
    report(desk, [FIRST, SECOND])
    assert desk.dispatch()["state"] == DispatchState.FINISHED
    assert desk.dispatch(1, "workstation")["state"] == DispatchState.QUEUED
    assert desk.objects().count(DeliveryState.CONFIRMED) == 2


def test_two_reports_at_once_finish_a_delivery_once(desk: Desk) -> None:
    (job,) = desk.analysed()
    wait_for_report(desk, job)
    run_at_once(*[lambda: report(desk, [FIRST, SECOND])] * 3)
    assert desk.dispatch()["state"] == DispatchState.FINISHED
    assert desk.history().count("delivered to pacs, confirmed") == 1


# What goes in place of what is refused

INSTEAD = {KIND: OTHER_KIND}


def refuse(desk: Desk, job: Job, shipment: Shipment) -> Shipment:
    """Let the destination refuse all that is due; return what is due then."""
    outcomes = [desk.outcome(one, DeliveryState.REFUSED) for one in shipment.to_send]
    return desk.delivering.record_sent(job, outcomes, INSTEAD)


def test_a_delivery_is_over_when_the_substitute_is_confirmed(desk: Desk) -> None:
    (job,) = desk.analysed(reports=1, substitutes=1)
    (substitute,) = refuse(desk, job, desk.delivering.begin_dispatch(job, NODE)).to_send
    assert substitute.kind == OTHER_KIND
    desk.delivering.record_sent(job, [desk.outcome(substitute, DeliveryState.SENT)], INSTEAD)
    desk.delivering.ask_commitment(job, TRANSACTION)
    desk.delivering.finish_dispatch(job, (), WAITING, desk.enqueue)
    assert report(desk, [substitute.sop_uid])
    assert desk.dispatch()["state"] == DispatchState.FINISHED


def test_where_the_substitute_is_refused_too_both_are_told_and_the_first_is_tried_again_by_hand(
    desk: Desk,
) -> None:
    (job,) = desk.analysed(reports=1, substitutes=1)
    due = refuse(desk, job, desk.delivering.begin_dispatch(job, NODE))
    assert refuse(desk, job, due).to_send == ()
    desk.delivering.finish_dispatch(job, (), PATIENCE, desk.enqueue)
    assert (desk.dispatch()["state"], desk.dispatch()["error"]) == ("dead", "refused by PACS")
    desk.by_hand.retry_dead(HOUR_S, INSTEAD.values())
    again = desk.delivering.begin_dispatch(desk.revived(), NODE)
    assert [one.sop_uid for one in again.to_send] == [FIRST]


def test_what_nothing_can_replace_is_refused(desk: Desk) -> None:
    (job,) = desk.analysed(reports=1)
    assert refuse(desk, job, desk.delivering.begin_dispatch(job, NODE)).to_send == ()
    desk.delivering.finish_dispatch(job, (), PATIENCE, desk.enqueue)
    assert desk.dispatch()["state"] == DispatchState.DEAD
