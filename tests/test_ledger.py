"""The ledger tells the truth: nothing is lost, counted twice, or decided by who came too late."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from ledgers import NODE, PLAN, SOMEBODY, SOMEBODY_ELSE, STUDY, Desk
from postgres import NewDatabase, PostgreSQL

from node import schema
from node.errors import Superseded
from node.files import Store
from node.ledger import DELAY_PER_CRASH_S, QUARANTINE_AFTER, SET_ASIDE_AFTER, Job, Ledger, Outcome
from node.result import Code, ImageScore, Measurement

HOUR_S = 3600.0


def digest_of(desk: Desk, sop_uid: str) -> str | None:
    kept = desk.ledger.find_kept(sop_uid)
    return kept.digest if kept else None


# Transactions


def test_two_processes_that_count_up_at_once_lose_nothing(
    new_database: NewDatabase, tmp_path: Path
) -> None:
    url = new_database(tmp_path)
    ledgers = [Ledger(url), Ledger(url)]
    ledgers[0].register_node("counter")
    table, rounds = schema.node, 15
    with ledgers[0].writing() as db:
        db.execute(table.update().values(beat_at=0))

    def count_up(ledger: Ledger) -> None:
        for _ in range(rounds):
            with ledger.writing() as db:
                query = sa.select(table.c.beat_at).with_for_update()
                before = db.execute(query).scalar_one()
                time.sleep(0.003)  # the other one would read the same number here
                db.execute(table.update().values(beat_at=before + 1))

    run_at_once(*(lambda ledger=ledger: count_up(ledger) for ledger in ledgers))
    with ledgers[0].reading() as db:
        assert db.execute(sa.select(table.c.beat_at)).scalar_one() == 2 * rounds
    for ledger in ledgers:
        ledger.close()


def test_a_reader_does_not_wait_for_a_writer(desk: Desk) -> None:
    desk.receive()
    with desk.ledger.writing() as db:
        db.execute(schema.study.update().values(sender="another"))
        with desk.ledger.reading() as other:
            assert other.execute(sa.select(schema.study.c.sender)).scalar_one() == "modality"


@pytest.mark.parametrize("new_database", ["sqlite"], indirect=True)
def test_what_was_committed_is_on_disk(desk: Desk) -> None:
    with desk.ledger.writing() as db:
        assert db.exec_driver_sql("PRAGMA journal_mode").scalar_one() == "wal"
        assert db.exec_driver_sql("PRAGMA synchronous").scalar_one() == 2  # FULL
        assert db.exec_driver_sql("PRAGMA busy_timeout").scalar_one() == 5000


@pytest.mark.interop
def test_what_was_committed_is_on_the_disk_of_a_server_that_is_set_to_be_careless(
    postgresql: PostgreSQL,
) -> None:
    url = postgresql.new_database()
    careless = Ledger(f"{url}?options=-c%20synchronous_commit%3Doff")
    with careless.writing() as db:
        assert db.exec_driver_sql("SHOW synchronous_commit").scalar_one() == "on"
    careless.close()
    replicated = Ledger(f"{url}?options=-c%20synchronous_commit%3Dremote_apply")
    with replicated.writing() as db:
        assert db.exec_driver_sql("SHOW synchronous_commit").scalar_one() == "remote_apply"
    replicated.close()


@pytest.mark.interop
def test_whoever_finds_a_study_locked_gives_up_before_its_sender_does(
    postgresql: PostgreSQL, store: Store
) -> None:
    url = postgresql.new_database()
    ledger, frozen = Ledger(url), Ledger(url)
    desk = Desk(ledger, store)
    desk.receive()
    with frozen.writing() as db:
        db.execute(sa.select(schema.study).with_for_update())
        begun = time.monotonic()
        with pytest.raises(sa.exc.OperationalError, match="lock timeout"):
            desk.receive(f"{STUDY}.2")
        assert 4 < time.monotonic() - begun < 8
    assert desk.receive(f"{STUDY}.2") == "new"
    ledger.close()
    frozen.close()


def test_the_clock_is_the_databases_and_counts_seconds(desk: Desk) -> None:
    before = time.time()
    desk.receive()
    received_at = desk.row(schema.study, STUDY)["last_at"]
    assert before - 0.01 <= received_at <= time.time() + 0.01


# Receiving


def test_an_image_opens_its_study(desk: Desk) -> None:
    assert desk.receive() == "new"
    (arrival,) = desk.arrivals()
    assert arrival.study_uid == STUDY
    assert arrival.sender == "modality"
    assert arrival.modalities == {"MG"}
    assert [str(view) for view in arrival.views] == ["R MLO"]
    assert 0 <= arrival.quiet_s < 5
    assert digest_of(desk, f"{STUDY}.1") == "digest"


def test_the_same_bytes_again_do_nothing_and_reset_no_timer(desk: Desk) -> None:
    desk.receive()
    desk.let_pass(30)
    before = desk.row(schema.study, STUDY)
    assert desk.receive() == "same"
    assert desk.row(schema.study, STUDY) == before
    assert len(desk.rows(schema.instance)) == 1


def test_the_same_bytes_again_do_not_reopen_a_closed_study(desk: Desk) -> None:
    desk.receive()
    desk.close()
    assert desk.receive() == "same"
    assert desk.arrivals() == []


def test_other_bytes_of_an_instance_are_a_conflict_and_the_first_are_kept(desk: Desk) -> None:
    desk.receive(digest="first")
    desk.let_pass(30)
    before = desk.row(schema.study, STUDY)
    assert desk.receive(digest="second") == "conflict"
    assert digest_of(desk, f"{STUDY}.1") == "first"
    assert desk.row(schema.study, STUDY) == before
    assert desk.history() == [f"other content came for {STUDY}.1"]


def test_an_instance_known_from_another_study_is_a_conflict(desk: Desk) -> None:
    desk.receive()
    assert desk.receive(study="1.2.999", digest="other") == "conflict"
    assert desk.row(schema.instance, f"{STUDY}.1")["study_uid"] == STUDY
    assert desk.history("1.2.999") == [f"other content came for {STUDY}.1"]


def test_another_patient_in_the_study_holds_it(desk: Desk) -> None:
    desk.receive(f"{STUDY}.1", identity=SOMEBODY)
    assert desk.receive(f"{STUDY}.2", identity=SOMEBODY_ELSE) == "new"
    study = desk.row(schema.study, STUDY)
    assert study["state"] == "held"
    assert "patient ID" in study["held_reason"]
    assert desk.arrivals() == []
    assert desk.history() == [f"held: {study['held_reason']}"]


@pytest.mark.parametrize(
    "identity", ["patient-1 - accession-1", "patient-1 - -", "- - -", "patient-1 issuer -"]
)
def test_what_an_image_does_not_say_contradicts_nothing(desk: Desk, identity: str) -> None:
    desk.receive(f"{STUDY}.1", identity="patient-1 - accession-1")
    desk.receive(f"{STUDY}.2", identity=identity)
    assert desk.row(schema.study, STUDY)["state"] == "receiving"


def test_what_any_image_said_holds_for_all_that_follow(desk: Desk) -> None:
    desk.receive(f"{STUDY}.1", identity="- - accession-1")
    desk.receive(f"{STUDY}.2", identity="patient-1 - -")
    assert desk.row(schema.study, STUDY)["state"] == "receiving"
    desk.receive(f"{STUDY}.3", identity="patient-2 - -")
    assert desk.row(schema.study, STUDY)["state"] == "held"


def test_a_held_study_stays_held_whatever_comes(desk: Desk) -> None:
    desk.receive(f"{STUDY}.1", identity=SOMEBODY)
    desk.receive(f"{STUDY}.2", identity=SOMEBODY_ELSE)
    desk.receive(f"{STUDY}.3", identity=SOMEBODY)
    assert desk.row(schema.study, STUDY)["state"] == "held"
    assert len(desk.rows(schema.instance)) == 3
    assert len(desk.history()) == 1


def test_a_study_held_after_it_was_closed_is_not_analysed(desk: Desk) -> None:
    desk.receive()
    job = desk.close()
    desk.receive(f"{STUDY}.2", identity=SOMEBODY_ELSE)
    with pytest.raises(Superseded, match="disagree"):
        desk.begin(job)
    assert desk.row(schema.study_version, STUDY, 1)["state"] == "cancelled"


def test_results_of_a_study_held_meanwhile_are_not_sent(desk: Desk) -> None:
    (job,) = desk.analysed()
    desk.receive(f"{STUDY}.2", identity=SOMEBODY_ELSE)
    with pytest.raises(Superseded, match="disagree"):
        desk.ledger.begin_dispatch(job, NODE)
    assert desk.row(schema.dispatch, STUDY, 1, "pacs")["state"] == "cancelled"


def test_our_own_objects_never_reopen_a_study_nor_reset_a_timer(desk: Desk) -> None:
    desk.receive()
    desk.let_pass(30)
    before = desk.row(schema.study, STUDY)
    assert desk.receive("2.25.1", is_own=True, modality="SR", view=None) == "new"
    assert desk.row(schema.study, STUDY) == before
    desk.close()
    assert desk.receive("2.25.2", is_own=True, modality="SR", view=None) == "new"
    assert desk.arrivals() == []


def test_our_own_objects_are_no_part_of_what_is_analysed(desk: Desk) -> None:
    desk.receive("2.25.1", is_own=True, modality="SR", view=None)
    desk.receive()
    assert desk.arrivals()[0].modalities == {"MG"}
    assert [i.sop_uid for i in desk.begin(desk.close()).version.instances] == [f"{STUDY}.1"]


def test_our_own_objects_say_nothing_about_whose_study_it_is(desk: Desk) -> None:
    desk.receive("2.25.1", is_own=True, identity="rewritten by archive")
    desk.receive(identity=SOMEBODY)
    assert desk.row(schema.study, STUDY)["state"] == "receiving"
    desk.receive(f"{STUDY}.2", identity=SOMEBODY_ELSE)
    assert desk.row(schema.study, STUDY)["state"] == "held"


def test_what_we_made_is_known_by_its_uid(desk: Desk) -> None:
    desk.analysed()
    assert desk.ledger.is_report("2.25.10")
    assert not desk.ledger.is_report(f"{STUDY}.1")


def test_a_view_counts_only_in_an_object_that_can_stand_for_it(desk: Desk) -> None:
    desk.receive(f"{STUDY}.1", view="R MLO", sop_class="1.2.840.10008.5.1.4.1.1.1.2.1")
    desk.receive(f"{STUDY}.2", view="L MLO", is_standard=False)
    desk.receive(f"{STUDY}.3", view="R CC")
    (arrival,) = desk.arrivals()
    assert [str(view) for view in arrival.views] == ["R CC"]


# Associations and nodes


def test_an_open_association_that_brought_images_counts_until_it_ends(desk: Desk) -> None:
    desk.ledger.register_node(NODE)
    desk.ledger.open_association("a", NODE, "modality")
    desk.receive(f"{STUDY}.1", association="a")
    desk.receive(f"{STUDY}.2", association="a")
    assert desk.arrivals()[0].open_associations == 1
    desk.ledger.close_association("a")
    assert desk.arrivals()[0].open_associations == 0


def test_an_association_of_a_dead_node_is_not_waited_for(desk: Desk) -> None:
    desk.ledger.register_node(NODE)
    desk.ledger.open_association("a", NODE, "modality")
    desk.receive(association="a")
    desk.change(schema.node, beat_at=schema.node.c.beat_at - HOUR_S)
    assert desk.arrivals()[0].open_associations == 0


def test_a_node_lives_while_it_beats_and_has_not_stopped(desk: Desk) -> None:
    for node_id in ("beats", "silent", "stopped"):
        desk.ledger.register_node(node_id)
    desk.change(schema.node, beat_at=schema.node.c.beat_at - HOUR_S)
    desk.ledger.beat("beats")
    desk.ledger.beat("stopped")
    desk.ledger.retire_node("stopped")
    assert desk.ledger.live_nodes() == {"beats"}


def test_whoever_holds_the_state_folder_may_declare_the_others_dead(desk: Desk) -> None:
    desk.ledger.register_node("before")
    desk.ledger.register_node("now")
    desk.ledger.bury_other_nodes("now")
    assert desk.ledger.live_nodes() == {"now"}


# Settling


def test_closing_makes_a_version_with_its_reason_and_its_work(desk: Desk) -> None:
    desk.receive()
    job = desk.close()
    assert job == desk.jobs[-1] == Job("process", STUDY, 1, 1)
    version = desk.row(schema.study_version, STUDY, 1)
    assert (version["state"], version["reason"]) == ("queued", "4/4 views")
    assert desk.row(schema.analysis, STUDY, 1, "breast-area")["mode"] == "deliver"
    assert desk.history() == ["version 1 closed: 4/4 views"]
    assert desk.arrivals() == []


def test_closing_loses_against_an_image_that_came_meanwhile(desk: Desk) -> None:
    desk.receive(f"{STUDY}.1")
    (arrival,) = desk.arrivals()
    time.sleep(0.005)
    desk.receive(f"{STUDY}.2")
    assert not desk.ledger.close_version(arrival, "quiet 60 s", PLAN, desk.enqueue)
    assert desk.jobs == []
    assert desk.rows(schema.study_version) == []
    assert desk.row(schema.study, STUDY)["state"] == "receiving"


def test_of_two_who_close_a_study_at_once_one_does(desk: Desk) -> None:
    desk.receive()
    (arrival,) = desk.arrivals()
    closed: list[bool] = []

    def close() -> None:
        closed.append(desk.ledger.close_version(arrival, "4/4 views", PLAN, desk.enqueue))

    run_at_once(close, close, close)
    assert sorted(closed) == [False, False, True]
    assert len(desk.jobs) == 1


def test_a_study_that_concerns_no_model_is_kept_and_listed_and_nothing_else(desk: Desk) -> None:
    desk.receive(modality="CT", view=None)
    desk.close(plan=())
    assert desk.jobs == []
    assert desk.row(schema.study_version, STUDY, 1)["state"] == "out of scope"
    assert desk.ledger.unfinished() == []


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


def test_an_older_version_still_queued_is_cancelled(desk: Desk) -> None:
    desk.receive(f"{STUDY}.1")
    first = desk.close()
    desk.receive(f"{STUDY}.2")
    desk.close()
    assert desk.row(schema.study_version, STUDY, 1)["state"] == "cancelled"
    with pytest.raises(Superseded):
        desk.begin(first)


def test_deliveries_of_an_older_version_still_queued_are_cancelled(desk: Desk) -> None:
    (delivery,) = desk.analysed()
    desk.receive(f"{STUDY}.2")
    desk.close()
    assert desk.row(schema.dispatch, STUDY, 1, "pacs")["state"] == "cancelled"
    with pytest.raises(Superseded):
        desk.ledger.begin_dispatch(delivery, NODE)


def test_an_older_version_that_runs_may_finish_and_delivers_nothing(desk: Desk) -> None:
    desk.receive(f"{STUDY}.1")
    job = desk.close()
    desk.begin(job)
    desk.receive(f"{STUDY}.2")
    desk.close()
    assert desk.finish(job) == []
    assert desk.row(schema.study_version, STUDY, 1)["state"] == "cancelled"
    assert desk.rows(schema.report) == []


# Processing


def test_the_work_names_what_was_planned_and_where_it_came_from(desk: Desk) -> None:
    desk.receive()
    work = desk.begin(desk.close())
    assert work.analyses == PLAN
    assert work.sender == "modality"
    assert work.version.reason == "4/4 views"
    assert work.version.installation == desk.ledger.installation
    assert work.version.instances[0].path == desk.store.path(f"received/{STUDY}/{STUDY}.1.dcm")
    assert (work.failures, work.is_set_aside) == (0, False)


def test_a_later_attempt_carries_the_time_the_first_decided(desk: Desk) -> None:
    desk.receive()
    job = desk.close()
    first = desk.begin(job)
    desk.change(schema.study_version, decided_at=schema.study_version.c.decided_at - HOUR_S)
    desk.ledger.fail_version(job, "out of memory", 5, desk.enqueue, is_its_fault=True)
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
    assert desk.row(schema.analysis, STUDY, 1, "breast-area")["priority"] == "not assessed"
    assert desk.row(schema.study_version, STUDY, 1)["state"] == "finished"


def test_a_shadow_result_is_recorded_and_nothing_is_sent(desk: Desk) -> None:
    assert desk.analysed(reports=0) == []
    assert desk.row(schema.analysis, STUDY, 1, "breast-area")["result"]
    assert desk.rows(schema.dispatch) == []
    assert desk.ledger.unfinished() == []


def test_a_stale_attempt_changes_nothing(desk: Desk) -> None:
    desk.receive()
    stale = desk.close()
    desk.begin(stale)
    desk.ledger.revive(stale, desk.enqueue)  # it was taken for dead, and wakes up after all
    desk.begin(desk.jobs[-1], "node-2")
    before = everything(desk)
    with pytest.raises(Superseded):
        desk.begin(stale)
    with pytest.raises(Superseded):
        desk.finish(stale)
    desk.ledger.fail_version(stale, "late", 5, desk.enqueue, is_its_fault=True)
    desk.ledger.hold_version(stale, "late")
    desk.ledger.revive(stale, desk.enqueue)
    assert everything(desk) == before
    assert desk.jobs[-1].attempt == 2


def test_a_failure_is_recorded_and_the_next_attempt_waits(desk: Desk) -> None:
    desk.receive()
    job = desk.close()
    desk.begin(job)
    desk.ledger.fail_version(job, "out of memory", 7.0, desk.enqueue, is_its_fault=True)
    assert desk.jobs[-1] == replace(job, attempt=2, delay_s=7.0)
    version = desk.row(schema.study_version, STUDY, 1)
    assert (version["state"], version["failures"], version["crashes"]) == ("queued", 1, 0)
    assert desk.begin(desk.jobs[-1]).failures == 1
    assert "attempt 1 failed: out of memory" in desk.history()


def test_a_held_version_is_not_sent_and_says_why(desk: Desk) -> None:
    desk.receive()
    job = desk.close()
    desk.begin(job)
    desk.ledger.hold_version(job, "a result would go into another study")
    study = desk.row(schema.study, STUDY)
    assert (study["state"], study["held_reason"]) == (
        "held",
        "a result would go into another study",
    )
    assert desk.row(schema.study_version, STUDY, 1)["state"] == "cancelled"


def test_a_score_comes_back_as_it_was(desk: Desk) -> None:
    area = Measurement(Code("42798000", "SCT", "Area"), 123.456789, Code("cm2", "UCUM", "cm2"), 2)
    score = ImageScore("1.2.3", (area,), ((0.5, 1.5), (2.0, 3.0), (0.5, 1.5)))
    assert desk.ledger.find_score("image", "model") is None
    desk.ledger.record_score("image", "model", score)
    desk.ledger.record_score("image", "model", score)
    assert desk.ledger.find_score("image", "model") == score
    assert desk.ledger.find_score("image", "another model") is None


# Crashes


def crash(desk: Desk, job: Job) -> Job:
    """Let a process die with a job, and return the job's next attempt."""
    desk.begin(job)
    desk.ledger.revive(job, desk.enqueue)
    return desk.jobs[-1]


def test_a_process_that_dies_with_a_study_counts_as_a_crash(desk: Desk) -> None:
    desk.receive()
    following = crash(desk, desk.close())
    assert following == Job("process", STUDY, 1, 2, delay_s=DELAY_PER_CRASH_S)
    assert desk.row(schema.study_version, STUDY, 1)["crashes"] == 1
    assert "process: attempt 1 died with its process" in desk.history()


def test_a_job_that_was_lost_before_it_ran_is_no_crash(desk: Desk) -> None:
    desk.receive()
    desk.ledger.revive(desk.close(), desk.enqueue)
    assert desk.jobs[-1].attempt == 2
    assert desk.row(schema.study_version, STUDY, 1)["crashes"] == 0


def test_a_clean_stop_is_no_crash_however_often(desk: Desk) -> None:
    desk.receive()
    job = desk.close()
    for n in range(SET_ASIDE_AFTER + 1):
        desk.ledger.register_node(f"node {n}")
        desk.begin(job, f"node {n}")
        desk.ledger.retire_node(f"node {n}")
        desk.ledger.revive(job, desk.enqueue)
        job = desk.jobs[-1]
        assert not job.is_quarantined
    assert not desk.begin(job).is_set_aside
    assert desk.row(schema.study_version, STUDY, 1)["crashes"] == 0


def test_a_clean_stop_releases_only_what_was_its_own(desk: Desk) -> None:
    desk.receive()
    desk.begin(desk.close(), "another")
    desk.ledger.retire_node(NODE)
    assert desk.row(schema.study_version, STUDY, 1)["state"] == "running"


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
    desk.ledger.fail_version(
        as_the_engine_has_it, "out of memory", 5, desk.enqueue, is_its_fault=True
    )
    assert desk.jobs[-1].is_quarantined


def test_after_five_crashes_a_study_is_set_aside(desk: Desk) -> None:
    desk.receive()
    job = desk.close()
    for _ in range(SET_ASIDE_AFTER):
        assert not desk.row(schema.study_version, STUDY, 1)["crashes"] >= SET_ASIDE_AFTER
        job = crash(desk, job)
    assert desk.begin(job).is_set_aside


def test_after_five_failures_a_study_is_set_aside(desk: Desk) -> None:
    desk.receive()
    job = desk.close()
    for _ in range(SET_ASIDE_AFTER):
        assert not desk.begin(job).is_set_aside
        desk.ledger.fail_version(job, "a defect", 1, desk.enqueue, is_its_fault=True)
        job = desk.jobs[-1]
    assert desk.begin(job).is_set_aside


def test_what_is_not_final_is_unfinished(desk: Desk) -> None:
    desk.receive()
    job = desk.close()
    assert desk.ledger.unfinished() == [job]
    desk.begin(job)
    assert desk.ledger.unfinished() == [job]
    deliveries = desk.finish(job, destinations=("pacs", "workstation"))
    assert desk.ledger.unfinished() == deliveries


# Delivering


def answers(desk: Desk, job: Job, *states: str, delay_s: float = 60) -> None:
    """Take a delivery and let the destination answer, one state for each object."""
    reports = desk.ledger.begin_dispatch(job, NODE)
    outcomes = [
        Outcome(report.sop_uid, state, None if state == "sent" else f"{state} by PACS")  # type: ignore[arg-type]
        for report, state in zip(reports, states, strict=True)
    ]
    desk.ledger.finish_dispatch(job, outcomes, delay_s, desk.enqueue)


def test_a_report_set_is_sent_in_its_order(desk: Desk) -> None:
    (job,) = desk.analysed(reports=4)
    reports = desk.ledger.begin_dispatch(job, NODE)
    assert [report.path for report in reports] == [f"reports/{n}.dcm" for n in range(4)]


def test_when_all_is_sent_the_delivery_is_finished(desk: Desk) -> None:
    (job,) = desk.analysed()
    answers(desk, job, "sent", "sent")
    assert desk.row(schema.dispatch, STUDY, 1, "pacs")["state"] == "finished"
    assert all(row["sent_at"] for row in desk.rows(schema.delivery))
    assert "delivered to pacs" in desk.history()
    assert desk.ledger.unfinished() == []


def test_what_was_not_taken_is_tried_again_later_and_nothing_else(desk: Desk) -> None:
    (job,) = desk.analysed()
    before = time.time()
    answers(desk, job, "sent", "queued", delay_s=60)
    assert desk.jobs[-1] == replace(job, attempt=2, delay_s=60)
    dispatch = desk.row(schema.dispatch, STUDY, 1, "pacs")
    assert (dispatch["state"], dispatch["attempt"]) == ("queued", 2)
    assert dispatch["error"] == "queued by PACS"
    assert before + 59 < dispatch["next_at"] < time.time() + 61
    assert len(desk.ledger.begin_dispatch(desk.jobs[-1], NODE)) == 1


def test_a_lost_delivery_keeps_its_waiting_time(desk: Desk) -> None:
    (job,) = desk.analysed()
    answers(desk, job, "queued", "queued", delay_s=600)
    (unfinished,) = desk.ledger.unfinished()
    desk.ledger.revive(unfinished, desk.enqueue)
    assert desk.jobs[-1].attempt == 3
    assert 590 < desk.jobs[-1].delay_s <= 600


def test_a_refusal_is_final_and_the_rest_is_tried_on(desk: Desk) -> None:
    (job,) = desk.analysed()
    answers(desk, job, "refused", "queued")
    answers(desk, desk.jobs[-1], "sent")
    dispatch = desk.row(schema.dispatch, STUDY, 1, "pacs")
    assert (dispatch["state"], dispatch["error"]) == ("dead", "refused by PACS")
    assert "given up sending to pacs: refused by PACS" in desk.history()


def test_past_the_deadline_a_delivery_is_given_up(desk: Desk) -> None:
    (job,) = desk.analysed(deliver_within_s=30)
    answers(desk, job, "queued", "sent", delay_s=60)
    dispatch = desk.row(schema.dispatch, STUDY, 1, "pacs")
    assert (dispatch["state"], dispatch["error"]) == ("dead", "queued by PACS")
    assert desk.jobs[-1] == job
    assert desk.ledger.unfinished() == []


def test_a_stale_delivery_changes_nothing(desk: Desk) -> None:
    (stale,) = desk.analysed()
    (report, _) = desk.ledger.begin_dispatch(stale, NODE)
    desk.ledger.revive(stale, desk.enqueue)
    desk.ledger.begin_dispatch(desk.jobs[-1], "node-2")
    before = everything(desk)
    with pytest.raises(Superseded):
        desk.ledger.finish_dispatch(stale, [Outcome(report.sop_uid, "sent")], 1, desk.enqueue)
    with pytest.raises(Superseded):
        desk.ledger.begin_dispatch(stale, NODE)
    assert everything(desk) == before


@pytest.mark.parametrize("state", ["queued", "refused"])
def test_what_was_given_up_can_be_sent_again_by_hand(desk: Desk, state: str) -> None:
    (job,) = desk.analysed(deliver_within_s=0)
    answers(desk, job, "sent", state)
    assert desk.ledger.retry_dead(HOUR_S) == 1
    assert desk.ledger.retry_dead(HOUR_S) == 0
    (unfinished,) = desk.ledger.unfinished()
    desk.ledger.revive(unfinished, desk.enqueue)
    assert desk.jobs[-1] == replace(job, attempt=2)
    answers(desk, desk.jobs[-1], "sent")
    assert desk.row(schema.dispatch, STUDY, 1, "pacs")["state"] == "finished"
    assert "sent again to pacs by hand" in desk.history()


def test_sending_again_gives_the_whole_time_anew(desk: Desk) -> None:
    (job,) = desk.analysed(deliver_within_s=0)
    answers(desk, job, "queued", "queued")
    desk.ledger.retry_dead(HOUR_S)
    answers(desk, desk.ledger.unfinished()[0], "queued", "queued", delay_s=60)
    assert desk.row(schema.dispatch, STUDY, 1, "pacs")["state"] == "queued"


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


def everything(desk: Desk) -> list[object]:
    return [desk.rows(table) for table in schema.metadata.sorted_tables]


def run_at_once(*works: Callable[[], None]) -> None:
    threads = [threading.Thread(target=work) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_an_object_no_model_reads_reopens_no_study(desk: Desk) -> None:
    desk.receive()
    desk.close()
    desk.receive("2.25.77", modality="PR", view=None, is_in_scope=False)
    assert desk.arrivals() == []
    desk.receive("2.25.78")
    assert len(desk.arrivals()) == 1


def test_the_sender_of_a_study_is_who_sent_the_first_object_that_is_not_ours(desk: Desk) -> None:
    desk.receive("2.25.1", is_own=True, modality="SR", view=None, sender="archive")
    desk.receive(sender="modality")
    assert desk.row(schema.study, STUDY)["sender"] == "modality"


def test_trouble_of_the_machine_does_not_count_against_the_study(desk: Desk) -> None:
    desk.receive()
    job = desk.close()
    for attempt in range(1, 2 * SET_ASIDE_AFTER):
        job = replace(job, attempt=attempt)
        assert not desk.begin(job).is_set_aside
        desk.ledger.fail_version(job, "disk full", 1, desk.enqueue, is_its_fault=False)


def test_a_missed_end_of_an_association_is_made_good_by_the_sweep(desk: Desk) -> None:
    desk.ledger.register_node("node")
    for name, sop_uid in (("a", "2.25.1"), ("b", "2.25.2")):
        desk.ledger.open_association(name, "node", "modality")
        desk.receive(sop_uid, association=name)
    assert desk.arrivals()[0].open_associations == 2
    desk.ledger.close_associations("node", lambda association_id: association_id == "b")
    assert desk.arrivals()[0].open_associations == 1
