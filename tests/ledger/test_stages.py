"""A study version in two stages: who may rank it looks first, and its report waits for its turn."""

from __future__ import annotations

from dataclasses import replace

import pytest
from ledgers import HOUR_S, MODEL, NODE, PATIENCE, PLAN, SOMEBODY, SOMEBODY_ELSE, STUDY, Desk

from node.errors import Superseded
from node.ledger import (
    DeliveryState,
    DispatchState,
    Job,
    Mode,
    PlannedAnalysis,
    Stage,
    Triaged,
    VersionState,
    schema,
)
from node.ledger.order import SenderPriority, wait_s
from node.ledger.records import Closing
from node.overview import study_overview
from node.result import Priority, Result, Triage
from node.triage import FoundBefore

URGENT, SOON, ROUTINE = Priority.URGENT, Priority.SOON, Priority.ROUTINE
NOT_ASSESSED = Priority.NOT_ASSESSED
OTHER = "1.2.826.2"
BESIDE = PlannedAnalysis("beside", "1.0.0", "1" * 64, Mode.DELIVER)


def closing(sender: SenderPriority = "normal") -> Closing:
    return Closing("4/4 views", (*PLAN, BESIDE), stage=Stage.TRIAGE, sender_priority=sender)


def closed(desk: Desk, study: str = STUDY, *, image: int = 1) -> Job:
    desk.receive(f"{study}.{image}", study=study)
    return desk.close(closing(), study=study)


def triaged(level: Priority | None) -> Triaged:
    if level is None:
        return Triaged((), None)
    result = Result(MODEL, (f"{STUDY}.1",), triage=Triage(level, f"the score is {level}"))
    return Triaged((result,), result, {MODEL.name: f"it is {level}"})


def end_triage(desk: Desk, job: Job, level: Priority | None = ROUTINE) -> bool:
    desk.begin(job)
    return desk.processing.end_triage(job, triaged(level), desk.enqueue)


def waits(desk: Desk, job: Job) -> float:
    """Return how long a job of a study may wait, rounded."""
    assert job.due_at is not None
    assert job.due_at == desk.version(job.number, study=job.study_uid)["due_at"]
    at: float = desk.version(job.number, study=job.study_uid)["closed_at"]
    return round((job.due_at - at) / 60) * 60.0


def of_results(desk: Desk) -> dict[str, str | None]:
    rows = desk.rows(schema.analysis)
    return {row["model"]: row["brief"] for row in rows if row["study_uid"] == STUDY}


def test_a_version_waits_for_triage_by_its_sender_and_by_what_is_known_of_it(desk: Desk) -> None:
    senders: tuple[SenderPriority, ...] = ("high", "normal", "low")
    for sender in senders:
        uid = f"{STUDY}.{sender == 'high'}{sender == 'low'}"
        desk.receive(f"{uid}.1", study=uid)
        desk.close(closing(sender), study=uid)
        assert waits(desk, desk.jobs[-1]) == wait_s(Stage.TRIAGE, None, sender)
    desk.analysed(level=URGENT)
    closed(desk, image=2)
    assert waits(desk, desk.jobs[-1]) == 0


def test_if_nothing_is_due_before_the_attempt_goes_on_with_the_report(desk: Desk) -> None:
    job = closed(desk)
    before = len(desk.jobs)
    assert end_triage(desk, job, SOON)
    version = desk.version()
    assert (version["stage"], version["state"], version["attempt"]) == ("report", "running", 1)
    assert desk.jobs[before:] == []
    when = desk.row(schema.analysis, STUDY, 1, MODEL.name)["finished_at"]
    desk.change(schema.analysis, finished_at=when - 60)
    desk.finish(job, level=SOON)
    assert desk.row(schema.analysis, STUDY, 1, MODEL.name)["finished_at"] == when - 60
    assert desk.version()["state"] == "finished"
    assert not [event for event in desk.history() if "triaged" in event]


def test_an_attempt_that_runs_twice_goes_on_twice_and_ends_once(desk: Desk) -> None:
    job = closed(desk)
    assert end_triage(desk, job, SOON)
    closed(desk, OTHER)
    assert desk.processing.end_triage(job, triaged(SOON), desk.enqueue)
    desk.finish(job, level=SOON)
    with pytest.raises(Superseded):
        desk.finish(job, level=SOON)


def test_what_triage_found_is_known_at_once(desk: Desk) -> None:
    job = closed(desk)
    closed(desk, OTHER)
    desk.change(schema.study_to_tell, asked_at=0.0)
    assert not end_triage(desk, job, URGENT)
    assert desk.study()["level"] is URGENT
    assert desk.version()["level"] is URGENT
    assert desk.row(schema.analysis, STUDY, 1, MODEL.name)["level"] is URGENT
    assert of_results(desk) == {MODEL.name: "it is urgent", "beside": None}
    assert STUDY in {row["study_uid"] for row in desk.rows(schema.study_to_tell)}


def test_a_report_waits_for_what_is_due_before_it_as_the_next_attempt(desk: Desk) -> None:
    job = closed(desk)
    closed(desk, OTHER)
    assert not end_triage(desk, job, ROUTINE)
    version = desk.version()
    assert (version["stage"], version["state"], version["owner"]) == ("report", "queued", None)
    following = desk.jobs[-1]
    assert following == replace(job, attempt=2)
    assert waits(desk, following) == wait_s(Stage.REPORT, ROUTINE)
    with pytest.raises(Superseded):
        desk.begin(job)
    work = desk.begin(following)
    assert (work.stage, work.failures, work.found_before) == (
        Stage.REPORT,
        0,
        FoundBefore(ROUTINE, MODEL.name),
    )
    desk.finish(following, level=ROUTINE)
    assert not [event for event in desk.history() if "attempt" in event], "nothing went wrong"
    assert "triaged: routine; its report waits for its turn" in desk.history()
    assert desk.version()["state"] == "finished"


def test_the_report_of_an_urgent_study_is_due_before_those_of_others_that_wait(desk: Desk) -> None:
    jobs = {uid: closed(desk, uid) for uid in (STUDY, f"{STUDY}.5", f"{STUDY}.6")}
    levels = dict(zip(jobs, (ROUTINE, NOT_ASSESSED, URGENT), strict=True))
    is_next = [end_triage(desk, job, levels[uid]) for uid, job in jobs.items()]
    assert is_next == [False, False, True], "the last has found nothing before it"
    due = {uid: desk.version(study=uid)["due_at"] for uid in jobs}
    assert sorted(due, key=lambda uid: due[uid]) == [f"{STUDY}.6", f"{STUDY}.5", STUDY]


def test_the_level_that_a_study_has_counts_until_there_is_a_report(desk: Desk) -> None:
    desk.analysed(level=URGENT)
    job = closed(desk, image=2)
    closed(desk, OTHER)
    assert not end_triage(desk, job, ROUTINE)
    assert desk.study()["level"] is URGENT
    assert waits(desk, desk.jobs[-1]) == wait_s(Stage.REPORT, URGENT)
    seen = study_overview(desk.ledger, STUDY)
    assert seen is not None
    assert (seen.level, seen.levels) == ("urgent", ((1, "urgent"),))
    assert seen.level_words == "routine in version 2, once its report is there"
    following = desk.jobs[-1]
    desk.begin(following)
    desk.finish(following, level=ROUTINE)
    assert desk.study()["level"] is ROUTINE
    seen = study_overview(desk.ledger, STUDY)
    assert seen is not None
    assert seen.level_words == "urgent in version 1, now routine"
    (words,) = [event for event in desk.history() if "level of version 2" in event]
    assert "urgent in version 1, now routine" in words


def test_what_waits_of_a_former_release_is_before_all(desk: Desk) -> None:
    closed(desk, OTHER)
    desk.change(schema.study_version, due_at=None, stage=Stage.REPORT)
    job = closed(desk)
    assert not end_triage(desk, job, URGENT)
    assert desk.begin(Job("process", OTHER, 1, 1)).stage == Stage.REPORT


def test_a_study_that_runs_alone_holds_nobody_up_and_goes_on(desk: Desk) -> None:
    job = closed(desk)
    closed(desk, OTHER)
    desk.change(schema.study_version, crashes=2)
    assert end_triage(desk, job, ROUTINE)


@pytest.mark.parametrize("is_next", [True, False])
def test_a_crash_between_the_stages_repeats_the_second_alone(desk: Desk, is_next: bool) -> None:
    job = closed(desk)
    if not is_next:
        closed(desk, OTHER)
    assert end_triage(desk, job, SOON) == is_next
    if not is_next:
        job = desk.jobs[-1]
        desk.begin(job)
    desk.sweeping.revive(job, desk.enqueue, live_nodes=())
    version = desk.version()
    assert (version["stage"], version["crashes"]) == ("report", 1)
    again = desk.jobs[-1]
    assert again.due_at == version["due_at"]
    work = desk.begin(again)
    assert (work.stage, work.found_before) == (Stage.REPORT, FoundBefore(SOON, MODEL.name))


def test_a_crash_before_triage_is_over_repeats_it(desk: Desk) -> None:
    job = closed(desk)
    desk.begin(job)
    desk.sweeping.revive(job, desk.enqueue, live_nodes=())
    assert desk.begin(desk.jobs[-1]).stage == Stage.TRIAGE
    assert desk.jobs[-1].due_at == desk.version()["due_at"]
    with pytest.raises(Superseded):
        desk.processing.end_triage(job, triaged(URGENT), desk.enqueue)
    assert desk.study()["level"] is None, "of an attempt that is not the current one"


def test_failures_count_over_both_stages_and_each_keeps_its_place(desk: Desk) -> None:
    job = closed(desk)
    due = desk.version()["due_at"]
    desk.begin(job)
    desk.processing.fail_version(job, "out of memory", 0, desk.enqueue, is_its_fault=True)
    assert desk.jobs[-1].due_at == due
    job = desk.jobs[-1]
    assert desk.begin(job).stage == Stage.TRIAGE
    desk.processing.end_triage(job, triaged(SOON), desk.enqueue)
    desk.processing.fail_version(job, "no picture", 0, desk.enqueue, is_its_fault=True)
    assert desk.jobs[-1].due_at == desk.version()["due_at"] != due
    work = desk.begin(desk.jobs[-1])
    assert (work.stage, work.failures) == (Stage.REPORT, 2)
    assert [event for event in desk.history() if "failed" in event] == [
        "attempt 1 failed: out of memory",
        "attempt 2 failed: no picture",
    ]


def test_who_takes_over_after_a_failure_is_said_and_not_who_reports_after_triage(
    desk: Desk,
) -> None:
    desk.nodes.register_node("other", "host:/state 1")
    job = closed(desk)
    closed(desk, OTHER)
    end_triage(desk, job, SOON)
    second = desk.jobs[-1]
    desk.begin(second, "other")
    desk.sweeping.revive(second, desk.enqueue, live_nodes=())
    desk.begin(desk.jobs[-1], "other")
    assert [event for event in desk.history() if "runs on" in event] == [
        "process: attempt 3 runs on host:/state"
    ]


def test_a_clean_stop_between_the_stages_loses_nothing(desk: Desk) -> None:
    desk.nodes.register_node(NODE)
    job = closed(desk)
    assert end_triage(desk, job, SOON)
    desk.nodes.retire_node(NODE)
    again = desk.revived()
    version = desk.version()
    assert (version["stage"], version["crashes"], version["failures"]) == ("report", 0, 0)
    desk.begin(again)
    desk.finish(again, level=SOON)
    assert desk.study()["level"] is SOON


def test_a_study_that_is_held_between_the_stages_keeps_its_level_and_begins_anew(
    desk: Desk,
) -> None:
    job = closed(desk)
    closed(desk, OTHER)
    end_triage(desk, job, URGENT)
    desk.receive(f"{STUDY}.2", identity=SOMEBODY_ELSE)
    with pytest.raises(Superseded):
        desk.begin(desk.jobs[-1])
    assert desk.version()["state"] == VersionState.CANCELLED
    assert desk.study()["level"] is URGENT
    desk.receive_again(f"{STUDY}.2", identity=SOMEBODY)
    again = desk.close(closing())
    assert waits(desk, desk.jobs[-1]) == 0, "it is known as urgent"
    work = desk.begin(again)
    assert work.stage == Stage.TRIAGE
    desk.processing.end_triage(again, triaged(ROUTINE), desk.enqueue)
    assert desk.study()["level"] is URGENT
    again = replace(again, attempt=desk.version(2)["attempt"])
    desk.begin(again)
    desk.finish(again, level=ROUTINE)
    (words,) = [event for event in desk.history() if "level of version" in event]
    assert "urgent in version 1, now routine" in words, "though that version has no report"


def test_a_study_that_is_held_while_it_is_triaged_says_nothing_of_it(desk: Desk) -> None:
    job = closed(desk)
    desk.begin(job)
    desk.receive(f"{STUDY}.2", identity=SOMEBODY_ELSE)
    with pytest.raises(Superseded):
        desk.processing.end_triage(job, triaged(URGENT), desk.enqueue)
    assert desk.version()["state"] == VersionState.CANCELLED
    assert desk.study()["level"] is None
    assert of_results(desk) == {MODEL.name: None, "beside": None}


def test_a_late_image_between_the_stages_makes_a_version_that_is_triaged_first(desk: Desk) -> None:
    job = closed(desk)
    closed(desk, OTHER)
    end_triage(desk, job, SOON)
    closed(desk, image=2)
    assert desk.version()["state"] == VersionState.CANCELLED
    assert waits(desk, desk.jobs[-1]) == 0
    assert desk.version(2)["stage"] == "triage"


def test_a_correction_between_the_stages_ends_the_version(desk: Desk) -> None:
    job = closed(desk)
    closed(desk, OTHER)
    end_triage(desk, job, SOON)
    desk.receive_again(f"{STUDY}.1")
    with pytest.raises(Superseded):
        desk.begin(desk.jobs[-1])
    assert desk.version()["state"] == VersionState.CANCELLED


@pytest.mark.parametrize(
    ("first", "then", "words"),
    [
        (NOT_ASSESSED, ROUTINE, "not assessed found first, now routine: the score is routine"),
        (ROUTINE, None, "routine found first, now none: no model gives one any more"),
        (NOT_ASSESSED, None, "not assessed found first, now none: no model gives one any more"),
    ],
)
def test_a_level_that_is_less_in_the_report_than_by_triage_is_said(
    desk: Desk, first: Priority, then: Priority | None, words: str
) -> None:
    job = closed(desk)
    end_triage(desk, job, first)
    desk.finish(job, level=then)
    assert desk.study()["level"] is then
    assert f"triage level of version 1: {words}" in desk.history()


@pytest.mark.parametrize("then", [ROUTINE, None])
def test_what_triage_found_urgent_stays_so_whatever_the_report_says(
    desk: Desk, then: Priority | None
) -> None:
    job = closed(desk)
    end_triage(desk, job, URGENT)
    desk.finish(job, level=then)
    assert desk.study()["level"] is URGENT
    assert desk.dispatch()["due_at"] - desk.dispatch()["deadline_at"] == pytest.approx(
        wait_s(Stage.REPORT, URGENT) - HOUR_S, abs=5
    )


def test_if_no_model_may_rank_it_any_more_its_report_is_due_without_a_level(desk: Desk) -> None:
    job = closed(desk)
    closed(desk, OTHER)
    assert not end_triage(desk, job, None)
    assert waits(desk, desk.jobs[-1]) == wait_s(Stage.REPORT, None)
    assert desk.study()["level"] is None


# Deliveries


@pytest.mark.parametrize("level", [URGENT, ROUTINE, None])
def test_a_delivery_waits_for_its_turn_by_the_level_at_each_attempt_anew(
    desk: Desk, level: Priority | None
) -> None:
    (job,) = desk.analysed(level=level)
    wait = wait_s(Stage.REPORT, level)
    made_at = desk.dispatch()["deadline_at"] - HOUR_S
    assert job.due_at == desk.dispatch()["due_at"] == pytest.approx(made_at + wait, abs=1)
    desk.change(schema.dispatch, due_at=1.0)
    desk.deliver(job, *[DeliveryState.QUEUED] * 2)
    dispatch = desk.dispatch()
    assert desk.jobs[-1].due_at == dispatch["due_at"]
    assert dispatch["due_at"] == pytest.approx(dispatch["next_at"] + wait, abs=1)
    (lost,) = desk.sweeping.unfinished()
    assert lost.due_at == dispatch["due_at"]
    desk.sweeping.revive(lost, desk.enqueue)
    assert desk.jobs[-1].due_at == dispatch["due_at"], "a clean stop costs it nothing"


def test_what_is_sent_again_by_hand_waits_as_what_has_just_come(desk: Desk) -> None:
    (job,) = desk.analysed(level=SOON, deliver_within_s=0)
    desk.deliver(job, *[DeliveryState.QUEUED] * 2, patience=PATIENCE)
    assert desk.dispatch()["state"] == DispatchState.DEAD
    desk.change(schema.dispatch, due_at=1.0)
    desk.by_hand.retry_dead(HOUR_S)
    wait = wait_s(Stage.REPORT, SOON)
    made_at = desk.dispatch()["deadline_at"] - HOUR_S
    assert desk.dispatch()["due_at"] == pytest.approx(made_at + wait, abs=1)
