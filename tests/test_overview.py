"""What people are told of a study is where it really stands."""

from __future__ import annotations

import pytest
from ledgers import NODE, SOMEBODY_ELSE, STUDY, Desk

from node.ledger import Job, Outcome
from node.overview import StudyOverview, study_overviews


def overview(desk: Desk) -> StudyOverview:
    (only,) = study_overviews(desk.ledger)
    return only


def answer(desk: Desk, job: Job, state: str) -> None:
    reports = desk.ledger.begin_dispatch(job, NODE)
    error = None if state == "sent" else "PACS answered 0xA700"
    outcomes = [Outcome(report.sop_uid, state, error) for report in reports]  # type: ignore[arg-type]
    desk.ledger.finish_dispatch(job, outcomes, 60, desk.enqueue)


def test_a_study_is_followed_from_its_first_image_to_its_last_result(desk: Desk) -> None:
    desk.receive(f"{STUDY}.1", view="R MLO")
    desk.receive(f"{STUDY}.2", view="L CC")
    seen = overview(desk)
    assert (seen.state, seen.version, seen.images) == ("receiving", 0, 2)
    assert seen.views == ("L CC", "R MLO")
    assert (seen.reason, seen.closed_at, seen.done_at, seen.error) == ("", None, None, None)
    last_at = seen.last_at

    job = desk.close()
    seen = overview(desk)
    assert (seen.state, seen.reason) == ("queued", "4/4 views")
    assert seen.closed_at
    assert seen.models[0].outcome == "pending"

    desk.begin(job)
    assert overview(desk).state == "running"

    (delivery,) = desk.finish(job)
    seen = overview(desk)
    assert seen.state == "delivering"
    assert seen.models[0].outcome == "1 of 1 images analysed"
    assert seen.models[0].priority == "not assessed"
    assert [d.state for d in seen.deliveries] == ["queued", "queued"]

    answer(desk, delivery, "sent")
    seen = overview(desk)
    assert seen.state == "done"
    assert seen.done_at == max(d.sent_at for d in seen.deliveries if d.sent_at)
    assert seen.last_at == last_at
    assert [event for _, event in seen.history] == [
        "version 1 closed: 4/4 views",
        "version 1 finished",
        "delivered to pacs",
    ]


def test_a_destination_that_takes_nothing_is_named_with_its_words(desk: Desk) -> None:
    (job,) = desk.analysed()
    answer(desk, job, "queued")
    seen = overview(desk)
    assert (seen.state, seen.error) == ("delivering", "pacs: PACS answered 0xA700")
    assert seen.done_at is None


def test_what_was_given_up_is_undelivered(desk: Desk) -> None:
    (job,) = desk.analysed(deliver_within_s=0)
    answer(desk, job, "queued")
    seen = overview(desk)
    assert (seen.state, seen.error) == ("undelivered", "pacs: PACS answered 0xA700")


def test_a_held_study_says_why(desk: Desk) -> None:
    desk.receive(f"{STUDY}.1")
    desk.receive(f"{STUDY}.2", identity=SOMEBODY_ELSE)
    seen = overview(desk)
    assert seen.state == "held"
    assert seen.error
    assert "patient ID" in seen.error


def test_a_failure_is_shown_until_it_is_overcome(desk: Desk) -> None:
    desk.receive()
    job = desk.close()
    desk.begin(job)
    desk.ledger.fail_version(job, "out of memory", 5, desk.enqueue, is_its_fault=True)
    assert overview(desk).error == "out of memory"
    again = desk.jobs[-1]
    desk.begin(again)
    desk.finish(again)
    assert overview(desk).error is None


def test_a_late_image_shows_the_study_as_being_received_again(desk: Desk) -> None:
    (job,) = desk.analysed()
    answer(desk, job, "sent")
    desk.receive(f"{STUDY}.2")
    seen = overview(desk)
    assert (seen.state, seen.version, seen.images) == ("receiving", 1, 2)


@pytest.mark.parametrize("modality", ["CT", "US"])
def test_a_study_that_concerns_no_model_is_listed(desk: Desk, modality: str) -> None:
    desk.receive(modality=modality, view=None)
    desk.close(plan=())
    seen = overview(desk)
    assert (seen.state, seen.images, seen.models) == ("out of scope", 1, ())


def test_our_own_objects_are_no_images_of_the_study(desk: Desk) -> None:
    desk.receive()
    desk.receive("2.25.1", is_own=True, modality="SR", view=None)
    assert overview(desk).images == 1


def test_the_newest_study_comes_first(desk: Desk) -> None:
    desk.receive("1.1.1", study="1.1")
    desk.let_pass(60)
    desk.receive("1.2.1", study="1.2")
    assert [seen.study_uid for seen in study_overviews(desk.ledger)] == ["1.2", "1.1"]
