"""A version is closed once, of exactly what is there, and an older one goes nowhere any more."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import pytest
from ledgers import (
    CLOSING,
    EXCLUDED,
    HOUR_S,
    KIND,
    NODE,
    OUT_OF_SCOPE,
    SOMEBODY_ELSE,
    STUDY,
    Desk,
    apart,
    run_at_once,
    views,
)

from node.domains.mammography.sop_classes import MG_FOR_PRESENTATION
from node.errors import Superseded
from node.ledger import Closing, DeliveryState, DispatchState, Job, StudyState, VersionState, schema
from node.study import FormerReport, Shown


def test_closing_makes_a_version_with_its_reason_and_its_work(desk: Desk) -> None:
    desk.receive()
    job = desk.close()
    assert job == desk.jobs[-1] == Job("process", STUDY, 1, 1)
    version = desk.version()
    assert (version["state"], version["reason"], version["error"]) == (
        VersionState.QUEUED,
        "4/4 views",
        None,
    )
    assert desk.row(schema.analysis, STUDY, 1, "breast-area")["mode"] == "deliver"
    assert desk.history() == ["version 1 closed: 4/4 views"]
    assert desk.arrivals() == []


def test_closing_loses_against_an_image_that_came_meanwhile(desk: Desk) -> None:
    desk.receive(f"{STUDY}.1")
    (arrival,) = desk.arrivals()
    time.sleep(0.005)
    desk.receive(f"{STUDY}.2")
    assert not desk.settling.close_version(arrival, CLOSING, desk.enqueue)
    assert desk.jobs == []
    assert desk.rows(schema.study_version) == []
    assert desk.study()["state"] == StudyState.RECEIVING


def test_closing_loses_against_a_correction_that_came_meanwhile(desk: Desk) -> None:
    desk.receive()
    (arrival,) = desk.arrivals()
    time.sleep(0.005)
    desk.receive_again()
    assert not desk.settling.close_version(arrival, CLOSING, desk.enqueue)


def test_closing_loses_against_a_hold_that_came_meanwhile(desk: Desk) -> None:
    desk.receive()
    (arrival,) = desk.arrivals()
    desk.receive_again(pixels="other")
    assert not desk.settling.close_version(arrival, CLOSING, desk.enqueue)
    assert desk.rows(schema.study_version) == []


def test_closing_loses_against_a_rejection_that_came_meanwhile(desk: Desk) -> None:
    desk.receive()
    (arrival,) = desk.arrivals()
    time.sleep(0.005)
    desk.withdraw(f"{STUDY}.1")
    assert not desk.settling.close_version(arrival, CLOSING, desk.enqueue)


def test_of_two_who_close_a_study_at_once_one_does(desk: Desk) -> None:
    desk.receive()
    (arrival,) = desk.arrivals()
    closed: list[bool] = []

    def close() -> None:
        closed.append(desk.settling.close_version(arrival, CLOSING, desk.enqueue))

    run_at_once(close, close, close)
    assert sorted(closed) == [False, False, True]
    assert len(desk.jobs) == 1


@pytest.mark.parametrize(
    "closing",
    [OUT_OF_SCOPE, EXCLUDED, replace(OUT_OF_SCOPE, state=VersionState.WITHDRAWN)],
    ids=lambda c: c.state,
)
def test_a_study_that_is_not_analysed_is_kept_with_the_reason_and_nothing_else(
    desk: Desk, closing: Closing
) -> None:
    desk.receive()
    desk.close(closing)
    assert desk.jobs == []
    version = desk.version()
    assert (version["state"], version["error"]) == (closing.state, closing.why_not)
    assert desk.history() == [f"version 1 closed: {closing.reason}; {closing.why_not}"]
    assert desk.sweeping.unfinished() == []
    assert desk.rows(schema.analysis) == []


# A late image


def test_a_late_image_makes_the_next_version_of_all_images(desk: Desk) -> None:
    desk.receive(f"{STUDY}.1")
    first = desk.begin(desk.close())
    desk.finish(Job("process", STUDY, 1, 1))
    desk.receive(f"{STUDY}.2")
    job = desk.close()
    assert job.number == 2
    work = desk.begin(job)
    assert [i.sop_uid for i in work.version.instances] == [f"{STUDY}.1", f"{STUDY}.2"]
    assert first.version.replaces is None
    assert work.version.replaces == first.version.decided_at
    assert work.version.predecessors == tuple(
        FormerReport(KIND, desk.store.path(f"reports/{n}.dcm"), "1.2.3", f"2.25.1{n}")
        for n in range(2)
    )


def test_an_image_of_the_next_version_is_no_part_of_this_one(desk: Desk) -> None:
    desk.receive(f"{STUDY}.1")
    job = desk.close()
    desk.receive(f"{STUDY}.2")
    assert [i.sop_uid for i in desk.begin(job).version.instances] == [f"{STUDY}.1"]


def test_a_late_image_restarts_the_final_limit(desk: Desk) -> None:
    desk.receive(f"{STUDY}.1")
    desk.let_pass(HOUR_S)
    desk.close()
    desk.receive(f"{STUDY}.2")
    assert desk.arrivals()[0].age_s < 5


def test_an_image_that_comes_while_receiving_does_not_restart_the_final_limit(desk: Desk) -> None:
    desk.receive(f"{STUDY}.1")
    desk.let_pass(HOUR_S)
    desk.receive(f"{STUDY}.2")
    assert desk.arrivals()[0].age_s > HOUR_S - 5
    assert desk.arrivals()[0].quiet_s < 5


def test_an_older_version_still_queued_is_cancelled(desk: Desk) -> None:
    desk.receive(f"{STUDY}.1")
    first = desk.close()
    desk.receive(f"{STUDY}.2")
    desk.close()
    assert desk.version(1)["state"] == VersionState.CANCELLED
    assert desk.version(1)["error"] == "a newer version exists"
    with pytest.raises(Superseded):
        desk.begin(first)


def test_deliveries_of_an_older_version_still_queued_are_cancelled(desk: Desk) -> None:
    (delivery,) = desk.analysed()
    desk.receive(f"{STUDY}.2")
    desk.close()
    assert desk.dispatch()["state"] == DispatchState.CANCELLED
    with pytest.raises(Superseded):
        desk.delivering.begin_dispatch(delivery, NODE)


def test_an_older_version_that_runs_may_finish_and_delivers_nothing(desk: Desk) -> None:
    desk.receive(f"{STUDY}.1")
    job = desk.close()
    desk.begin(job)
    desk.receive(f"{STUDY}.2")
    desk.close()
    assert desk.finish(job) == []
    assert desk.version(1)["state"] == VersionState.CANCELLED
    assert desk.rows(schema.report) == []


def test_an_older_version_whose_process_died_is_not_processed_again(desk: Desk) -> None:
    desk.receive(f"{STUDY}.1")
    job = desk.close()
    desk.begin(job)
    desk.receive(f"{STUDY}.2")
    desk.close()
    desk.sweeping.revive(job, desk.enqueue)
    with pytest.raises(Superseded, match="a newer version exists"):
        desk.begin(desk.jobs[-1])
    assert desk.version(1)["state"] == VersionState.CANCELLED


def test_an_older_version_goes_out_until_the_newer_is_closed_and_never_after(desk: Desk) -> None:
    first, second = desk.analysed(destinations=("pacs", "workstation"))
    desk.receive(f"{STUDY}.2")
    desk.deliver(first)
    shipment = desk.delivering.begin_dispatch(second, NODE)
    assert len(shipment.to_send) == 2
    desk.delivering.require_current(second)
    desk.close()
    with pytest.raises(Superseded, match="a newer version exists"):
        desk.delivering.require_current(second)
    with pytest.raises(Superseded, match="a newer version exists"):
        desk.delivering.record_sent(second, [])
    assert desk.dispatch(1, "workstation")["state"] == DispatchState.CANCELLED


def test_what_was_given_up_of_an_older_version_is_not_sent_again_by_hand(desk: Desk) -> None:
    (job,) = desk.analysed(deliver_within_s=0)
    desk.deliver(job, DeliveryState.QUEUED, DeliveryState.QUEUED)
    desk.receive(f"{STUDY}.2")
    desk.begin(desk.close())
    desk.by_hand.retry_dead(HOUR_S)
    (again,) = (one for one in desk.sweeping.unfinished() if one.kind == "deliver")
    desk.sweeping.revive(again, desk.enqueue)
    with pytest.raises(Superseded, match="a newer version exists"):
        desk.delivering.begin_dispatch(desk.jobs[-1], NODE)


# What an arrival tells


def test_a_view_counts_only_in_an_object_that_can_stand_for_it(desk: Desk) -> None:
    desk.receive(f"{STUDY}.1", view="R MLO", sop_class="1.2.840.10008.5.1.4.1.1.1.2.1")
    desk.receive(f"{STUDY}.2", view="L MLO", is_standard=False)
    desk.receive(f"{STUDY}.3", view="R CC")
    (arrival,) = desk.arrivals()
    assert views(arrival) == ["R CC"]


def test_a_withdrawn_image_stands_for_no_view_and_the_reason_is_told(desk: Desk) -> None:
    desk.receive(f"{STUDY}.1", view="R CC")
    desk.receive(f"{STUDY}.2", view="L CC")
    desk.withdraw(f"{STUDY}.2")
    (arrival,) = desk.arrivals()
    assert views(arrival) == ["R CC"]
    assert arrival.why_withdrawn == "Rejected for Quality Reasons"
    assert arrival.revision_reason is None  # no version has been closed yet


def test_one_image_with_a_reason_does_not_silence_its_study(desk: Desk) -> None:
    desk.receive(f"{STUDY}.1")
    desk.receive(f"{STUDY}.2", why_excluded="phantom or quality control, not a patient")
    assert apart(desk.arrivals()[0]) is None


def test_images_that_all_have_a_reason_set_their_study_apart_and_a_person_overrules_it(
    desk: Desk,
) -> None:
    desk.receive(f"{STUDY}.1", why_excluded="no Patient ID")
    desk.receive(f"{STUDY}.2", why_excluded="no Patient ID")
    assert apart(desk.arrivals()[0]) == "no Patient ID"
    desk.close(EXCLUDED)
    desk.by_hand.release_study(STUDY)
    assert apart(desk.arrivals()[0]) is None
    desk.begin(desk.close())
    desk.receive(f"{STUDY}.3", why_excluded="no Patient ID")
    assert apart(desk.arrivals()[0]) is None


def test_a_correction_takes_back_the_reason_that_excluded_its_study(desk: Desk) -> None:
    desk.receive(why_excluded="no Patient ID")
    desk.close(EXCLUDED)
    desk.receive_again(why_excluded=None)
    (arrival,) = desk.arrivals()
    assert (apart(arrival), arrival.revision_reason) == (None, "corrected headers")


def test_what_has_changed_since_the_last_version_is_told_until_the_next(desk: Desk) -> None:
    desk.receive()
    assert desk.arrivals()[0].revision_reason is None
    desk.close()
    desk.receive(f"{STUDY}.2")
    assert desk.arrivals()[0].revision_reason is None
    desk.receive_again()
    assert desk.arrivals()[0].revision_reason == "corrected headers"
    desk.close()
    desk.receive(f"{STUDY}.3")
    assert desk.arrivals()[0].revision_reason is None


def test_a_held_study_does_not_arrive(desk: Desk) -> None:
    desk.receive(f"{STUDY}.1")
    desk.receive(f"{STUDY}.2", identity=SOMEBODY_ELSE)
    assert desk.arrivals() == []


def test_a_study_arrives_only_once_it_has_been_quiet_or_has_lasted_long(desk: Desk) -> None:
    def arrives(*, quiet_s: float, age_s: float) -> bool:
        return bool(desk.settling.arriving(quiet_s=quiet_s, age_s=age_s))

    desk.receive(f"{STUDY}.1")
    desk.let_pass(HOUR_S)
    assert arrives(quiet_s=HOUR_S, age_s=2 * HOUR_S)
    assert not arrives(quiet_s=2 * HOUR_S, age_s=2 * HOUR_S)
    desk.receive(f"{STUDY}.2")
    assert not arrives(quiet_s=HOUR_S, age_s=2 * HOUR_S)
    assert arrives(quiet_s=HOUR_S, age_s=HOUR_S)


def test_what_is_alike_is_told_once_and_the_first_that_came_comes_first(desk: Desk) -> None:
    desk.receive(f"{STUDY}.1", view="R CC")
    desk.receive(f"{STUDY}.2", view="L CC")
    desk.receive(f"{STUDY}.3", view="R CC")
    (arrival,) = desk.arrivals()
    assert [str(part.shown.view) for part in arrival.parts] == ["R CC", "L CC"]


def test_of_several_reasons_that_set_a_study_apart_the_first_is_told(desk: Desk) -> None:
    for number, reason in enumerate(("z", "a", "z")):
        desk.receive(f"{STUDY}.{number}", why_excluded=reason)
    assert apart(desk.arrivals()[0]) == "z"


def test_what_each_object_shows_in_detail_is_of_those_in_use_in_the_order_they_came(
    desk: Desk,
) -> None:
    mr: dict[str, Any] = {"modality": "MR", "view": None, "body_part": "CHEST"}
    for number, details in enumerate(("first", "", "third", "fourth")):
        desk.receive(f"{STUDY}.{number}", details=details, **mr)
    desk.receive("1.2.99.1", study="1.2.99", details="of another", **mr)
    desk.withdraw(f"{STUDY}.2")
    shown = desk.settling.shown_in_detail(STUDY)
    assert [one.details for one in shown] == ["first", "", "fourth", ""]
    assert [one.modality for one in shown] == ["MR", "MR", "MR", "KO"]
    assert shown[0] == Shown("MR", MG_FOR_PRESENTATION, "CHEST", details="first")
    assert desk.settling.shown_in_detail("1.2.98") == ()


def test_a_study_of_thousands_is_alike_in_all_but_its_details(desk: Desk) -> None:
    for number in range(5):
        desk.receive(f"{STUDY}.{number}", modality="MR", view=None, details=f"of {number}")
    (arrival,) = desk.arrivals()
    assert len(arrival.parts) == 1
    assert arrival.shown[0].details == ""


def test_details_are_those_of_the_object_as_it_was_corrected(desk: Desk) -> None:
    desk.receive(modality="MR", view=None, details="before")
    before = desk.arrivals()[0].revision
    desk.receive_again(modality="MR", view=None, details="after")
    assert [one.details for one in desk.settling.shown_in_detail(STUDY)] == ["after"]
    assert desk.arrivals()[0].revision == before + 1
