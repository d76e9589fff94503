"""An attempt at a study version: only the current one counts, and it commits all or nothing."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta

import pytest
from factories import unit_score
from ledgers import HOUR_S, KIND, MODEL, NODE, OTHER_KIND, PLAN, STUDY, Desk

from node.errors import Superseded
from node.ledger import GIVE_UP_AFTER, BuiltReport, Finished, HeldBecause, Job, VersionState, schema
from node.ledger.rows import DELAY_MAX_S
from node.result import (
    PERCENT,
    Code,
    Evaluation,
    HeatMap,
    Mark,
    Measurement,
    Priority,
    Refusal,
    Result,
    Triage,
    deciding_score,
)


def test_the_work_names_what_was_planned_and_where_it_came_from(desk: Desk) -> None:
    desk.receive()
    work = desk.begin(desk.close())
    assert work.analyses == PLAN
    assert work.sender == "modality"
    assert work.version.reason == "4/4 views"
    assert work.version.installation == desk.ledger.installation
    assert work.version.instances[0].path == desk.store.path(f"received/{STUDY}/{STUDY}.1.dcm")
    assert (work.failures, work.is_given_up) == (0, False)


def test_the_work_is_on_the_corrected_object_and_not_on_the_former(desk: Desk) -> None:
    desk.receive(f"{STUDY}.1")
    desk.receive(f"{STUDY}.2")
    desk.begin(desk.close())
    desk.receive_again(f"{STUDY}.1", digest="corrected", relative_path="received/corrected.dcm")
    first, second = desk.begin(desk.close()).version.instances
    assert {first.sop_uid, second.sop_uid} == {f"{STUDY}.1", f"{STUDY}.2"}
    assert {first.digest, second.digest} == {"corrected", "digest"}
    corrected = next(i for i in (first, second) if i.digest == "corrected")
    assert corrected.path == desk.store.path("received/corrected.dcm")


def test_the_work_is_not_on_what_is_withdrawn(desk: Desk) -> None:
    desk.receive(f"{STUDY}.1")
    desk.receive(f"{STUDY}.2")
    desk.withdraw(f"{STUDY}.1")
    instances = desk.begin(desk.close()).version.instances
    assert [i.sop_uid for i in instances if i.modality == "MG"] == [f"{STUDY}.2"]


def test_a_later_attempt_carries_the_time_the_first_decided(desk: Desk) -> None:
    desk.receive()
    job = desk.close()
    first = desk.begin(job)
    desk.change(schema.study_version, decided_at=schema.study_version.c.decided_at - HOUR_S)
    desk.processing.fail_version(job, "out of memory", 5, desk.enqueue, is_its_fault=True)
    second = desk.begin(replace(job, attempt=2))
    assert first.version.decided_at - second.version.decided_at == timedelta(hours=1)


def test_finishing_records_results_and_reports_and_enqueues_each_delivery(desk: Desk) -> None:
    jobs = desk.analysed(destinations=("pacs", "workstation"))
    assert jobs == [
        Job("deliver", STUDY, 1, 1, "pacs"),
        Job("deliver", STUDY, 1, 1, "workstation"),
    ]
    assert len(desk.rows(schema.report)) == 2
    assert len(desk.rows(schema.delivery)) == 4
    assert desk.row(schema.analysis, STUDY, 1, "breast-area")["priority"] is None
    assert desk.version()["state"] == VersionState.FINISHED


def test_kinds_that_share_a_sop_class_go_where_each_is_wanted(desk: Desk) -> None:
    desk.receive()
    job = desk.close()
    desk.begin(job)
    built = tuple(
        BuiltReport(f"2.25.{n}", kind, "1.2.3", f"reports/{n}.dcm", "digest")
        for n, kind in enumerate((KIND, OTHER_KIND, KIND))
    )
    wanted = {"pacs": frozenset({KIND}), "workstation": frozenset({OTHER_KIND})}
    desk.processing.finish_version(job, Finished((), built, wanted, HOUR_S), desk.enqueue)
    sent = {
        delivery.destination: desk.delivering.begin_dispatch(delivery, NODE).to_send
        for delivery in desk.jobs
        if delivery.kind == "deliver"
    }
    assert sent == {"pacs": (built[0], built[2]), "workstation": (built[1],)}


def test_a_shadow_result_is_recorded_and_nothing_is_sent(desk: Desk) -> None:
    assert desk.analysed(reports=0) == []
    assert desk.row(schema.analysis, STUDY, 1, "breast-area")["result"]
    assert desk.rows(schema.dispatch) == []
    assert desk.sweeping.unfinished() == []


def test_a_stale_attempt_changes_nothing(desk: Desk) -> None:
    desk.receive()
    stale = desk.close()
    desk.begin(stale)
    desk.sweeping.revive(stale, desk.enqueue)  # it was taken for dead, and wakes up after all
    desk.begin(desk.jobs[-1], "node-2")
    before = desk.everything()
    with pytest.raises(Superseded):
        desk.begin(stale)
    with pytest.raises(Superseded):
        desk.finish(stale)
    desk.processing.fail_version(stale, "late", 5, desk.enqueue, is_its_fault=True)
    desk.processing.hold_version(stale, "late")
    desk.processing.cancel_version(stale, "late")
    desk.sweeping.revive(stale, desk.enqueue)
    assert desk.everything() == before
    assert desk.jobs[-1].attempt == 2


def test_a_failure_is_recorded_and_the_next_attempt_waits(desk: Desk) -> None:
    desk.receive()
    job = desk.close()
    desk.begin(job)
    desk.processing.fail_version(job, "out of memory", 7.0, desk.enqueue, is_its_fault=True)
    assert desk.jobs[-1] == replace(job, attempt=2, delay_s=7.0)
    version = desk.version()
    assert (version["state"], version["failures"], version["crashes"]) == (
        VersionState.QUEUED,
        1,
        0,
    )
    assert desk.begin(desk.jobs[-1]).failures == 1
    assert "attempt 1 failed: out of memory" in desk.history()


def test_after_five_failures_a_study_is_given_up(desk: Desk) -> None:
    desk.receive()
    job = desk.close()
    for _ in range(GIVE_UP_AFTER):
        assert not desk.begin(job).is_given_up
        desk.processing.fail_version(job, "a defect", 1, desk.enqueue, is_its_fault=True)
        job = desk.jobs[-1]
    assert desk.begin(job).is_given_up


def test_trouble_of_the_machine_does_not_count_against_the_study(desk: Desk) -> None:
    desk.receive()
    job = desk.close()
    for attempt in range(1, 2 * GIVE_UP_AFTER):
        job = replace(job, attempt=attempt)
        assert not desk.begin(job).is_given_up
        desk.processing.fail_version(job, "disk full", 1, desk.enqueue, is_its_fault=False)
        assert desk.jobs[-1].delay_s == min(2.0 ** (attempt - 1), DELAY_MAX_S)
    version = desk.version()
    assert (version["failures"], version["troubles"]) == (0, 2 * GIVE_UP_AFTER - 1)
    assert len([line for line in desk.history() if "disk full" in line]) == 1


def test_a_study_that_no_report_can_be_built_of_is_held_until_a_person_has_looked(
    desk: Desk,
) -> None:
    desk.receive()
    job = desk.close()
    desk.begin(job)
    reason = "a result would go into another study"
    desk.processing.hold_version(job, reason)
    study = desk.study()
    assert (study["held_because"], study["held_reason"]) == (HeldBecause.REPORT, reason)
    assert desk.version()["state"] == VersionState.CANCELLED
    desk.receive_again()  # a person must say so, whatever comes
    assert desk.study()["held_reason"] == reason
    desk.by_hand.release_study(STUDY)
    assert desk.begin(desk.close()).version.number == 2


def test_a_version_that_nobody_can_analyse_any_more_says_so(desk: Desk) -> None:
    desk.receive()
    job = desk.close()
    desk.begin(job)
    desk.processing.cancel_version(job, "no model of it is configured any more")
    version = desk.version()
    assert (version["state"], version["error"]) == (
        "cancelled",
        "no model of it is configured any more",
    )
    assert desk.sweeping.unfinished() == []


def test_a_correction_that_comes_before_an_attempt_begins_cancels_it(desk: Desk) -> None:
    desk.receive()
    job = desk.close()
    desk.receive_again()
    with pytest.raises(Superseded, match="made before its images changed: corrected headers"):
        desk.begin(job)
    assert desk.version()["state"] == VersionState.CANCELLED


def test_a_correction_that_comes_while_an_attempt_runs_keeps_its_reports_in(desk: Desk) -> None:
    desk.receive()
    job = desk.close()
    desk.begin(job)
    desk.receive_again()
    assert desk.finish(job) == []
    version = desk.version()
    assert version["state"] == VersionState.CANCELLED
    assert version["error"] == "made before its images changed: corrected headers"
    assert desk.rows(schema.report) == []
    work = desk.begin(desk.close())
    assert (work.version.number, work.version.replaces) == (2, None)


def test_a_rejection_that_comes_while_an_attempt_runs_keeps_its_reports_in(desk: Desk) -> None:
    desk.receive(f"{STUDY}.1")
    desk.receive(f"{STUDY}.2")
    job = desk.close()
    desk.begin(job)
    desk.withdraw(f"{STUDY}.2")
    assert desk.finish(job) == []
    assert desk.rows(schema.report) == []


def test_a_score_comes_back_as_it_was(desk: Desk) -> None:
    area = Measurement(Code("42798000", "SCT", "Area"), 123.456789, Code("cm2", "UCUM", "cm2"), 2)
    score = unit_score(
        "1.2.3",
        marks=(Mark(((0.5, 1.5), (2.0, 3.0), (0.5, 1.5)), (area,), depth_mm=1.5),),
        heat_map=HeatMap("1.2.3", area.concept, 1, 2, "AP8=", (0.0, 0.0, 8.0, 4.0)),
    )
    assert desk.scores.find_score("image", "model") is None
    desk.scores.record_score("image", "model", score)
    desk.scores.record_score("image", "model", score)
    assert desk.scores.find_score("image", "model") == score
    assert desk.scores.find_score("image", "another model") is None


# What lists and figures need of a result


def test_a_result_is_kept_in_brief_beside_itself(desk: Desk) -> None:
    refused = tuple(
        Refusal(f"{STUDY}.{n}", "L CC", why) for n, why in ((2, "a"), (3, "a"), (4, "b"))
    )
    desk.analysed(refused=refused, level=Priority.SOON)
    (row,) = desk.rows(schema.analysis)
    assert (row["level"], row["analysed"], row["score"]) == (Priority.SOON, 1, None)
    assert json.loads(row["refusals"]) == {"a": 2, "b": 1}
    assert row["finished_at"] == pytest.approx(desk.version()["finished_at"], abs=1)


PERCENT_SCORE = Measurement(Code("1", "99T", "Score"), 43.0, PERCENT, is_score=True)
SCORE = Measurement(Code("1", "99T", "Score"), 0.25, Code("1", "UCUM", "no units"), is_score=True)
AREA_OF_IT = Measurement(Code("2", "99T", "Area"), 9.0, Code("cm2", "UCUM", "cm2"))


@pytest.mark.parametrize(
    ("triage", "said", "score"),
    [
        (Triage(Priority.SOON, "why", score=PERCENT_SCORE), (SCORE, SCORE), 0.43),
        (None, (SCORE, AREA_OF_IT), 0.25),
        (None, (SCORE, PERCENT_SCORE), None),
        (None, (AREA_OF_IT,), None),
    ],
)
def test_the_score_of_a_result_is_the_one_that_decides_or_the_only_one(
    triage: Triage | None, said: tuple[Measurement, ...], score: float | None
) -> None:
    evaluations = (Evaluation("exam", ("1",), said),)
    result = Result(MODEL, ("1",), evaluations=evaluations, triage=triage)
    assert deciding_score(result) == score
