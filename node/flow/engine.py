"""The durable queue: DBOS Transact on the ledger's own database. The only module that knows it.

The ledger is the checkpoint, not the engine: a job is a plain function that may run twice,
ends in one ledger transaction and names its attempt there. What the engine gives is taking
turns: one queue for processing, one for deliveries where each destination has a lane of its
own, and one where a study that killed its process before runs alone.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import sqlalchemy as sa
from dbos import DBOS, DBOSClient, DBOSConfig, DBOSPortableJSONSerializer
from dbos._queue import queue_thread

from node.flow.bell import Bell
from node.flow.claims import Claims
from node.ledger import Job, after_commit
from node.ledger.connections import open_server_pool

log = logging.getLogger(__name__)

Run = Callable[[Job], None]
LiveNodes = Callable[[], Collection[str]]
"""Asked only after the jobs were read, so that a node that began with one since is among them."""

_VERSION = "1"
"""Constant: DBOS would not run a job that another application version enqueued."""

_QUEUES: Mapping[str, str] = {"process": "process", "deliver": "deliver", "message": "deliver"}
"""What is sent to a destination waits in the lane of that destination, whatever it is."""

_POLL_S = 0.25
"""How soon a job begins that another process has enqueued; what this one does begins at once."""

_FIRST_DUE_AT = 1_577_836_800.0
"""Priorities are the seconds since then, 2020-01-01: they fit into 31 bits until 2088."""
_LAST_PRIORITY = 2**31 - 1

_ENDED = ["SUCCESS", "ERROR", "CANCELLED", "MAX_RECOVERY_ATTEMPTS_EXCEEDED"]
"""How a job may stand of which nothing is to come: DBOS's words."""

_run: dict[str, Run] = {}
"""DBOS keeps its workflows in a registry of the process, so what they call is kept here."""


@DBOS.workflow(name="process")
def _process(study_uid: str, number: int, attempt: int, destination: str) -> None:
    _run["process"](Job("process", study_uid, number, attempt))


@DBOS.workflow(name="deliver")
def _deliver(study_uid: str, number: int, attempt: int, destination: str) -> None:
    _run["deliver"](Job("deliver", study_uid, number, attempt, destination))


@DBOS.workflow(name="message")
def _message(study_uid: str, number: int, attempt: int, destination: str) -> None:
    _run["message"](Job("message", study_uid, number, attempt, destination))


def _priority(due_at: float | None) -> int:
    """Return a job's place in its queue as DBOS counts: the least first, from 1 on."""
    if due_at is None:
        return 1
    return min(max(int(due_at - _FIRST_DUE_AT), 1), _LAST_PRIORITY)


class Engine:
    """The queue of one process. DBOS allows one at a time in a process."""

    def __init__(self, database_url: str, node_id: str, jobs: Mapping[str, Run]) -> None:
        self._bell, self._claims = Bell(2 * _POLL_S), Claims()
        _run.clear()
        _run.update({kind: self._ringing_after(run) for kind, run in jobs.items()})
        self._database = _database(database_url)
        config = {
            "name": "ai-node",
            "executor_id": node_id,
            "application_version": _VERSION,
            "serializer": DBOSPortableJSONSerializer(),
            "log_level": "WARNING",
            "enable_otlp": False,
            "max_executor_threads": 32,
            "use_listen_notify": False,  # for events, which we have none of
            **self._database,
        }
        self._dbos = DBOS(config=cast(DBOSConfig, config))
        self._client: DBOSClient | None = None
        self._thread: threading.Thread | None = None

    @property
    def has_died(self) -> bool:
        """Whether nobody sees to the queues any more, though nobody has stopped us."""
        return self._thread is not None and not self._thread.is_alive()

    def start(self, *, processes: int) -> None:
        """Begin to run jobs: as many studies at once as there are inference processes.

        With none, jobs are only enqueued, for other nodes to run.
        """
        if not processes:
            DBOS.listen_queues([])
        others = set(threading.enumerate())
        DBOS.launch()
        claiming: Any = self._dbos._sys_db
        claiming.start_queued_workflows = self._claims.counted(claiming.start_queued_workflows)
        self._thread = _running(queue_thread, others)
        if (event := _stop_event_of(self._thread)) is not None:
            self._bell.hang_on(event)
        if processes:
            # All nodes read these from the database: the last one to start decides for all.
            DBOS.register_queue(
                "process", worker_concurrency=processes, polling_interval_sec=_POLL_S
            )
            DBOS.register_queue(
                "quarantine", global_concurrency=1, polling_interval_sec=4 * _POLL_S
            )
            DBOS.register_queue("deliver", partition_concurrency=1, polling_interval_sec=_POLL_S)
        self._client = DBOSClient(
            **self._database,
            serializer=DBOSPortableJSONSerializer(),
            application_name="ai-node",
            retry_connection_errors=False,  # C-STORE must be answered, and sweeps come again
        )

    def enqueue(self, db: sa.Connection, job: Job) -> None:
        """Put a job on its queue when the caller's transaction commits."""
        assert self._client is not None, "the engine has not been started"
        queue = "quarantine" if job.is_quarantined else _QUEUES[job.kind]
        options: dict[str, object] = {
            "workflow_name": job.kind,
            "queue_name": queue,
            "workflow_id": job.id,
            "app_version": _VERSION,
            "priority": _priority(job.due_at),
        }
        if job.delay_s:
            options["delay_seconds"] = job.delay_s
        if queue == "deliver":
            options["queue_partition_key"] = job.destination
        self._client.enqueue_in_transaction(
            db,
            options,  # type: ignore[arg-type]  # a TypedDict, built key by key
            job.study_uid,
            job.number,
            job.attempt,
            job.destination,
        )
        after_commit(db, self._bell.ring)

    def _ringing_after(self, run: Run) -> Run:
        """Let the next job begin when one has ended; the queue would look again by and by."""

        def run_and_ring(job: Job) -> None:
            self._claims.begin(job.id)
            try:
                run(job)
            finally:
                self._claims.end(job.id)
                self._bell.ring_soon()

        return run_and_ring

    def lost(self, jobs: Iterable[Job], live_nodes: LiveNodes) -> list[Job]:
        """Return the jobs that neither wait in a queue nor run in a live process."""
        assert self._client is not None, "the engine has not been started"
        wanted = {job.id: job for job in jobs}
        if not wanted:
            return []
        known = self._client.list_workflows(
            workflow_ids=list(wanted), load_input=False, load_output=False
        )
        alive = live_nodes()
        for workflow in known:
            waits = workflow.status in ("ENQUEUED", "DELAYED")
            runs = workflow.status == "PENDING" and workflow.executor_id in alive
            if waits or runs:
                wanted.pop(workflow.workflow_id)
        return list(wanted.values())

    def failed(self, jobs: Iterable[Job]) -> frozenset[str]:
        """Return the ids of those of the jobs that ended with an exception."""
        return self._with_status(jobs, "ERROR")

    def ended(self, jobs: Iterable[Job]) -> frozenset[str]:
        """Return the ids of those of the jobs that ended by themselves, and without one."""
        return self._with_status(jobs, "SUCCESS")

    def _with_status(self, jobs: Iterable[Job], status: str) -> frozenset[str]:
        assert self._client is not None, "the engine has not been started"
        ids = [job.id for job in jobs]
        if not ids:
            return frozenset()
        found = self._client.list_workflows(
            workflow_ids=ids, status=status, load_input=False, load_output=False
        )
        return frozenset(workflow.workflow_id for workflow in found)

    def release(self, live_nodes: LiveNodes) -> None:
        """End what dead processes were running: it would hold its place in a lane for ever."""
        assert self._client is not None, "the engine has not been started"
        running = self._client.list_workflows(status="PENDING", load_input=False, load_output=False)
        alive = live_nodes() if running else ()
        dead = [one.workflow_id for one in running if one.executor_id not in alive]
        if dead:
            self._client.cancel_workflows(dead)

    def forget(self, age_s: float, count: int) -> int:
        """Remove what the queue keeps of jobs that were enqueued so long ago and have ended.

        At most so many; return how many. Along the index of when they were: what is not final, and
        stays, is little.
        """
        assert self._client is not None, "the engine has not been started"
        before = (datetime.now(UTC) - timedelta(seconds=age_s)).isoformat()
        ended = self._client.list_workflows(
            status=_ENDED,
            end_time=before,
            completed_before=before,
            limit=count,
            load_input=False,
            load_output=False,
        )
        if ended:
            self._client.delete_workflows([workflow.workflow_id for workflow in ended])
        return len(ended)

    def stop(self, *, drain_s: int) -> None:
        """Take no more jobs, and let the running ones finish within the time given."""
        self._thread = None
        DBOS.destroy(workflow_completion_timeout_sec=drain_s)
        if self._client is not None:
            self._client.destroy()
            self._client = None
        pool = self._database.get("system_database_engine")
        if pool is not None:
            pool.dispose()


def _running(work: Callable[..., None], others: Collection[threading.Thread]) -> threading.Thread:
    """Return the one thread that does some work, and is not one of others.

    DBOS keeps it to itself: the thread that starts a thread for each queue, and again if one dies.
    """
    started = [thread for thread in threading.enumerate() if thread not in others]
    (found,) = (thread for thread in started if getattr(thread, "_target", None) is work)
    return found


def _stop_event_of(thread: threading.Thread) -> threading.Event | None:
    """Return what the threads of DBOS's queues wait on between two looks, and end by.

    DBOS keeps that to itself, too; without it they look as often as they are told to.
    """
    arguments = getattr(thread, "_args", ())
    return next((one for one in arguments if isinstance(one, threading.Event)), None)


def _database(url: str) -> dict[str, Any]:
    """Return how DBOS is told where its tables are; it would log what it does with a URL."""
    if not url.startswith("postgresql:"):
        return {"system_database_url": url}
    # A transaction that a frozen process holds open would keep the others from their jobs.
    session = "SET idle_in_transaction_session_timeout = '15s'"
    return {"system_database_engine": open_server_pool(url, session, pool_size=10)}
