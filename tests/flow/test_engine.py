"""The queue runs each job once, in its turn, and tells which jobs nobody has any more."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pytest
import sqlalchemy as sa
from dbos._dbos import _get_dbos_instance
from engines import NODE_ID, Worker, alive, enqueue, open_engine, until
from ledgers import STUDY, Desk
from postgres import NewDatabase

from node.flow.timers import reconcile
from node.ledger import Job, Ledger, Nodes, Sweeping, schema
from node.store import Store

pytestmark = pytest.mark.slow


class Running:
    """One engine for the tests of this module: it takes seconds to start and to stop."""

    def __init__(self, url: str, folder: Path) -> None:
        self.ledger = Ledger(url)
        self.worker = Worker()
        self.engine = open_engine(url, self.worker)
        self.desk = Desk(self.ledger, Store(folder))

    def enqueue(self, *jobs: Job) -> None:
        enqueue(self.ledger, self.engine, *jobs)


@pytest.fixture(scope="module")
def running(
    new_database: NewDatabase, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("engine")
    made = Running(new_database(folder), folder)
    yield made
    made.engine.stop(drain_s=5)
    made.ledger.close()


def test_a_job_runs_once_with_all_it_was_given(running: Running) -> None:
    job = Job("process", "1.1", 3, 2)
    running.enqueue(job)
    assert until(lambda: job in running.worker.done)
    time.sleep(0.6)
    assert running.worker.begun.count(job) == 1


def test_the_same_attempt_enqueued_twice_runs_once(running: Running) -> None:
    job = Job("process", "1.2", 1, 1)
    running.enqueue(job)
    running.enqueue(job)
    assert until(lambda: job in running.worker.done)
    time.sleep(0.6)
    assert running.worker.begun.count(job) == 1


def test_what_is_rolled_back_does_not_run(running: Running) -> None:
    job = Job("process", "1.3", 1, 1)
    with pytest.raises(ZeroDivisionError), running.ledger.writing() as db:
        running.engine.enqueue(db, job)
        raise ZeroDivisionError
    time.sleep(0.6)
    assert job not in running.worker.begun
    assert running.engine.lost([job], alive(NODE_ID)) == [job]


def test_a_delayed_job_waits_and_is_not_lost_meanwhile(running: Running) -> None:
    begun = time.monotonic()
    running.enqueue(Job("process", "1.4", 1, 1, delay_s=3.0))
    job = Job("process", "1.4", 1, 1)
    assert running.engine.lost([job], alive(NODE_ID)) == []
    assert until(lambda: job in running.worker.done)
    assert time.monotonic() - begun >= 3.0


def test_what_a_dead_node_was_sending_holds_no_lane(running: Running) -> None:
    release = running.worker.hold("crashed")
    first, second = (Job("deliver", study, 1, 1, "crashed") for study in ("1.51", "1.52"))
    running.enqueue(first)
    assert until(lambda: first in running.worker.begun)
    running.worker.holds.pop("crashed")
    running.enqueue(second)
    running.engine.release(alive(NODE_ID))  # it lives: nothing happens
    time.sleep(0.6)
    assert second not in running.worker.begun
    running.engine.release(alive("another"))  # as another node would, with this one gone
    assert until(lambda: second in running.worker.done)
    release.set()
    assert until(lambda: first in running.worker.done)


def test_a_dead_destination_does_not_hold_up_another(running: Running) -> None:
    release = running.worker.hold("dead")
    jobs = [Job("deliver", "1.5", 1, 1, "dead"), Job("deliver", "1.6", 1, 1, "dead")]
    alive = [Job("deliver", "1.5", 1, 1, "pacs"), Job("deliver", "1.6", 1, 1, "pacs")]
    running.enqueue(*jobs, *alive)
    assert until(lambda: all(job in running.worker.done for job in alive))
    assert not any(job in running.worker.done for job in jobs)
    release.set()
    assert until(lambda: all(job in running.worker.done for job in jobs))


def test_one_destination_is_sent_one_study_at_a_time(running: Running) -> None:
    release = running.worker.hold("busy")
    jobs = [Job("deliver", f"1.7.{n}", 1, 1, "busy") for n in range(3)]
    running.enqueue(*jobs)
    assert until(lambda: any(job in running.worker.begun for job in jobs))
    time.sleep(0.6)
    assert sum(job in running.worker.begun for job in jobs) == 1
    release.set()
    assert until(lambda: all(job in running.worker.done for job in jobs))


@pytest.mark.parametrize("kind", ["process", "deliver"])
def test_of_what_waits_that_runs_first_which_is_due_first(
    running: Running, kind: Literal["process", "deliver"]
) -> None:
    lane = "ordered" if kind == "deliver" else ""
    release = running.worker.hold(f"1.71.{lane}")
    in_the_way = Job(kind, f"1.71.{lane}", 1, 1, lane)
    running.enqueue(in_the_way)
    assert until(lambda: in_the_way in running.worker.begun)
    at = time.time()
    due = {"3": at + 30, "1": at - 7200, "4": at + 14400, "2": at, "0": None}
    jobs = [Job(kind, f"1.72.{n}.{lane}", 1, 1, lane, due_at=due[n]) for n in due]
    running.enqueue(*jobs)
    release.set()
    assert until(lambda: all(job in running.worker.done for job in jobs))
    assert [job for job in running.worker.begun if job in jobs] == sorted(
        jobs, key=lambda job: job.study_uid
    )


def test_no_more_studies_run_at_once_than_there_are_processes(running: Running) -> None:
    releases = [running.worker.hold(f"1.8.{n}") for n in range(3)]
    jobs = [Job("process", f"1.8.{n}", 1, 1) for n in range(3)]
    running.enqueue(*jobs)
    assert until(lambda: any(job in running.worker.begun for job in jobs))
    time.sleep(0.6)
    assert sum(job in running.worker.begun for job in jobs) == 1
    for release in releases:
        release.set()
    assert until(lambda: all(job in running.worker.done for job in jobs))


def test_a_quarantined_study_runs_beside_the_others(running: Running) -> None:
    release = running.worker.hold("1.9")
    running.enqueue(Job("process", "1.9", 1, 3, is_quarantined=True))
    assert until(lambda: Job("process", "1.9", 1, 3) in running.worker.begun)
    other = Job("process", "1.10", 1, 1)
    running.enqueue(other)
    assert until(lambda: other in running.worker.done)
    release.set()


def test_a_running_job_is_lost_only_if_its_node_is_dead(running: Running) -> None:
    release = running.worker.hold("1.11")
    job = Job("process", "1.11", 1, 1)
    running.enqueue(job)
    assert until(lambda: job in running.worker.begun)
    assert running.engine.lost([job], alive(NODE_ID, "node-2")) == []
    assert running.engine.lost([job], alive("node-2")) == [job]
    release.set()
    assert until(lambda: job in running.worker.done)


def test_a_job_that_ended_or_was_never_there_is_lost(running: Running) -> None:
    ended, unknown = Job("process", "1.12", 1, 1), Job("process", "1.13", 1, 1)
    running.enqueue(ended)
    assert until(lambda: running.engine.lost([ended], alive(NODE_ID)) == [ended])
    assert ended in running.worker.done
    assert running.engine.lost([unknown], alive(NODE_ID)) == [unknown]
    assert running.engine.lost([], alive(NODE_ID)) == []


def test_a_job_that_ended_with_an_exception_is_told_from_one_that_ended_well(
    running: Running,
) -> None:
    running.worker.fails.add("1.14")
    jobs = [Job("process", study, 1, 1) for study in ("1.14", "1.15")]
    running.enqueue(*jobs)
    assert until(lambda: running.engine.lost(jobs, alive(NODE_ID)) == jobs)
    assert running.engine.failed(jobs) == {jobs[0].id}
    assert running.engine.failed([]) == frozenset()
    assert running.engine.ended(jobs) == {job.id for job in jobs[1:]}


def kept_by_the_queue(running: Running, job: Job) -> int:
    """Return how many rows of the queue's own tables speak of a job."""
    with running.ledger.reading() as db:
        schema_of_it = "dbos." if db.dialect.name == "postgresql" else ""
        tables = "workflow_status", "workflow_input", "workflow_output"
        queries = (
            f"SELECT count(*) FROM {schema_of_it}{table} WHERE workflow_uuid = :id"
            for table in tables
        )
        return sum(db.execute(sa.text(query), {"id": job.id}).scalar_one() for query in queries)


def test_what_is_kept_of_ended_jobs_goes_and_what_waits_or_runs_stays(running: Running) -> None:
    release = running.worker.hold("1.31")
    running.worker.fails.add("1.33")
    runs, waits = Job("process", "1.31", 1, 1), Job("process", "1.32", 1, 1, delay_s=3600)
    fails, ends = Job("deliver", "1.33", 1, 1, "pacs"), Job("deliver", "1.34", 1, 1, "pacs")
    running.enqueue(runs, waits, fails, ends)
    assert until(lambda: running.engine.ended([ends]) == {ends.id})
    assert until(lambda: running.engine.failed([fails]) == {fails.id})
    assert until(lambda: runs in running.worker.begun)
    assert running.engine.forget(3600, 100) == 0
    assert kept_by_the_queue(running, ends) > 1
    assert running.engine.forget(0, 1) == 1
    while running.engine.forget(0, 100):
        pass
    assert kept_by_the_queue(running, ends) == kept_by_the_queue(running, fails) == 0
    assert running.engine.lost([runs, waits], alive(NODE_ID)) == []
    release.set()
    assert until(lambda: runs in running.worker.done)


def test_reconciling_enqueues_anew_what_nobody_has(running: Running) -> None:
    Nodes(running.ledger).register_node(NODE_ID)
    running.desk.receive()
    running.desk.close()  # on a queue that only remembers: as if the engine had lost it
    reconcile(Sweeping(running.ledger), running.engine, alive(NODE_ID))
    assert until(lambda: Job("process", STUDY, 1, 2) in running.worker.done)
    row = running.desk.row(schema.study_version, STUDY, 1)
    assert (row["attempt"], row["crashes"]) == (2, 0)


def test_that_nobody_sees_to_the_queues_any_more_is_noticed_whatever_threads_are_called(
    new_database: NewDatabase, tmp_path: Path, running: Running, nameless_threads: None
) -> None:
    running.engine.stop(drain_s=5)  # DBOS allows one engine at a time in a process
    engine = open_engine(new_database(tmp_path), Worker())
    assert not engine.has_died
    for stop in _get_dbos_instance().background_thread_stop_events:
        stop.set()
    assert until(lambda: engine.has_died)
    engine.stop(drain_s=0)


def test_jobs_that_a_stopped_process_left_run_in_the_next(
    new_database: NewDatabase, tmp_path: Path, running: Running
) -> None:
    running.engine.stop(drain_s=0)
    url = new_database(tmp_path)
    ledger = Ledger(url)
    first, second = Worker(), Worker()
    release = first.hold("2.1")
    running_job, waiting = Job("process", "2.1", 1, 1), Job("process", "2.2", 1, 1)
    engine = open_engine(url, first, "first")
    enqueue(ledger, engine, running_job, waiting)
    assert until(lambda: running_job in first.begun)
    stopping = threading.Thread(target=engine.stop, kwargs={"drain_s": 5})
    stopping.start()
    assert until(lambda: engine._thread is None)
    time.sleep(0.3)
    release.set()
    stopping.join()
    assert first.done == [running_job]
    engine = open_engine(url, second, "second")
    assert until(lambda: waiting in second.done)
    assert second.begun == [waiting]
    engine.stop(drain_s=5)
    ledger.close()
