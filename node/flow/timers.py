"""Sweeps over the ledger at intervals: every one idempotent, so that every node may run all.

APScheduler with its memory store: nothing here has to survive, the ledger does.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC
from typing import Protocol

import sqlalchemy as sa
from apscheduler.schedulers.background import BackgroundScheduler

from node.flow.engine import Engine, LiveNodes
from node.ledger import Sweeping

log = logging.getLogger(__name__)

SETTLE_EVERY_S = 2
RECONCILE_EVERY_S = 5
PROBE_EVERY_S = 5
BEATS = 6
"""Of a heart in the time after which a node is taken for dead."""

FAILURES_ALLOWED = 10
"""In a row; a node that listens but no longer works is the worst state there is.

A database that is away is waited for, however long: meanwhile C-STORE answers 0xA700.
"""
PATIENCE_S = 180.0
"""And for this long."""
_IS_AWAY_AFTER = 8
"""Failures in a row, after which a database is not only locked for a moment: a person must look."""
STUCK_AFTER_S = 180.0
"""A sweep that has not ended for so long after it was due, well or badly, will not end any more."""
FAILS_AFTER_S = 300.0
"""A sweep that has failed for so long, without one success, is a part that is ill: what it does is
not done, even if all others work. Starting anew would not help against the database."""


class Hearts(Protocol):
    """Where the heartbeats of all nodes are heard."""

    def beat(self, node_id: str) -> float:
        """Record one; return the seconds since the last."""
        ...

    def live_nodes(self, *, even_if_late: bool = False) -> frozenset[str]:
        """Return whose were heard lately."""
        ...


class Pulse:
    """Our heartbeat, and whose others we hear."""

    def __init__(self, hearts: Hearts, node_id: str, dead_after_s: float) -> None:
        self._hearts = hearts
        self._node_id = node_id
        self._dead_after_s = dead_after_s
        self._judges_from = time.monotonic() + dead_after_s

    def beat(self) -> None:
        """Record that we live. Raises Superseded if another has our state folder."""
        gap_s = self._hearts.beat(self._node_id)
        # If we could not, others may not have been able to either.
        if gap_s > self._dead_after_s / 2:
            self._judges_from = time.monotonic() + self._dead_after_s

    def live_nodes(self) -> frozenset[str]:
        """Return who lives.

        After our start, or a gap in our own heartbeat such as an outage of the database makes,
        all others get the time to beat again before any is taken for dead.
        """
        self.beat()
        is_too_early = time.monotonic() < self._judges_from
        return self._hearts.live_nodes(even_if_late=is_too_early) | {self._node_id}


def reconcile(sweeping: Sweeping, engine: Engine, live_nodes: LiveNodes) -> None:
    """Enqueue anew what is not final in the ledger and has no live job."""
    engine.release(live_nodes)
    lost = engine.lost(sweeping.unfinished(), live_nodes)
    failed, ended = engine.failed(lost), engine.ended(lost)
    alive = live_nodes() if lost else ()
    for job in lost:
        has_failed, has_ended = job.id in failed, job.id in ended
        sweeping.revive(job, engine.enqueue, alive, has_failed=has_failed, has_ended=has_ended)


class Timers:
    """The clockwork of one process."""

    def __init__(self, on_dead: Callable[[], None], patience_s: float = PATIENCE_S) -> None:
        self._scheduler = BackgroundScheduler(
            timezone=UTC,
            job_defaults={"coalesce": True, "max_instances": 1, "misfire_grace_time": None},
        )
        self._on_dead = on_dead
        self._patience_s = patience_s
        self._once: dict[str, _Once] = {}
        self._lock = threading.Lock()
        self._due_at: dict[str, float] = {}
        """When each sweep is due again, by the monotonic clock: its interval after it ended."""
        self._failing: dict[str, _Failing] = {}

    def every(self, interval_s: float, sweep: Callable[[], object], name: str) -> None:
        """Run a sweep at an interval."""
        guarded = self._guarded(sweep, name)

        def run() -> None:
            guarded()
            self._due_at[name] = time.monotonic() + interval_s

        self._due_at[name] = time.monotonic() + interval_s
        self._scheduler.add_job(run, "interval", seconds=interval_s, id=name, name=name)

    def are_turning(self, stuck_after_s: float = STUCK_AFTER_S) -> bool:
        """Say whether every sweep still comes round: none hangs, and the clockwork lives."""
        now = time.monotonic()
        return now - min(self._due_at.values(), default=now) < stuck_after_s

    def trouble(
        self, stuck_after_s: float = STUCK_AFTER_S, fails_after_s: float = FAILS_AFTER_S
    ) -> str:
        """Return which sweeps hang, and which have failed for long and since when; "" if none."""
        now = time.monotonic()
        words = [f"{n} hangs" for n, at in self._due_at.items() if now - at >= stuck_after_s]
        for name, failing in self._failing.copy().items():
            if failing.count > 1 and now - failing.began_at >= fails_after_s:
                since = time.strftime("%Y-%m-%d %H:%M", time.localtime(failing.since))
                words.append(f"{name} has failed since {since}: {failing.words}")
        return f"regular work is not done: {'; '.join(words)}" if words else ""

    def once_in(self, delay_s: float, sweep: Callable[[], None], name: str) -> None:
        """Run a sweep once, in a while; asked again before that, it moves.

        Before the start nothing is run: what the sweep needs may not be there, and its turn comes.
        Not a job of the scheduler's: one that ends while the scheduler stops kills its thread.
        """
        if not self._scheduler.running:
            return
        due_at, work = time.monotonic() + delay_s, self._guarded(sweep, name)
        with self._lock:
            once = self._once.get(name)
            if once is None or not once.move(due_at, work):
                self._once[name] = _Once(due_at, work, name)

    def start(self) -> None:
        """Begin."""
        self._scheduler.start()

    def stop(self) -> None:
        """End, after the sweep that is running."""
        if self._scheduler.running:
            self._scheduler.shutdown(wait=True)
        for once in self._once.values():
            once.end()

    def _guarded(self, sweep: Callable[[], object], name: str) -> Callable[[], None]:
        """Let a sweep fail now and then; one that keeps failing takes the process down."""
        failures = 0
        worked_at = time.monotonic()

        def run() -> None:
            nonlocal failures, worked_at
            try:
                sweep()
                if failures:
                    log.info("The sweep %s works again", name)
                failures, worked_at = 0, time.monotonic()
                self._failing.pop(name, None)
            except Exception as error:  # noqa: BLE001 - said in full below; the next run may succeed
                failures += 1
                _log_failure(error, name, failures)
                begun = self._failing.get(name) or _Failing(time.monotonic(), time.time())
                self._failing[name] = replace(begun, count=failures, words=_in_words(error))
                is_long = time.monotonic() - worked_at >= self._patience_s
                is_ours = not isinstance(error, sa.exc.OperationalError)
                if is_ours and failures >= FAILURES_ALLOWED and is_long:
                    log.critical("The sweep %s does not work any more", name)
                    self._on_dead()

        return run


class _Once:
    """What is to be done once, in a while, in a thread of its own.

    Whoever asks again moves it: each of thousands of objects does, and none can afford a thread.
    """

    def __init__(self, due_at: float, work: Callable[[], None], name: str) -> None:
        self._due_at = due_at
        self._work: Callable[[], None] | None = work
        """None: it is being done, or is done."""
        self._has_ended = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def move(self, due_at: float, work: Callable[[], None]) -> bool:
        """Let it be done then, and not before; return False if its thread has ended."""
        with self._changed:
            if self._has_ended:
                return False
            is_sooner = due_at < self._due_at
            self._due_at, self._work = due_at, work
            if is_sooner:
                self._changed.notify()
            return True

    def end(self) -> None:
        """Let it not be done any more; wait if it is being done."""
        with self._changed:
            self._work, self._has_ended = None, True
            self._changed.notify()
        self._thread.join()

    def _run(self) -> None:
        while (work := self._next()) is not None:
            work()

    def _next(self) -> Callable[[], None] | None:
        with self._changed:
            while self._work is not None and (left_s := self._due_at - time.monotonic()) > 0:
                self._changed.wait(left_s)
            work, self._work = self._work, None
            self._has_ended = work is None
            return work


@dataclass(frozen=True, slots=True)
class _Failing:
    """Failures in a row of a sweep, by the monotonic clock and that on the wall."""

    began_at: float
    since: float
    count: int = 0
    words: str = ""


def _in_words(error: Exception) -> str:
    """Return what kind of failure it is: this is read by everybody, so without its values."""
    if isinstance(error, sa.exc.OperationalError):
        return f"the database says: {' '.join(str(error.orig).split())}"
    return f"{type(error).__name__}, as the log says"


def _log_failure(error: Exception, name: str, failures: int) -> None:
    if not isinstance(error, sa.exc.OperationalError):
        log.error("The sweep %s failed, %d times in a row", name, failures, exc_info=error)
    elif failures & (failures - 1) == 0:  # 1, 2, 4, ...: it may last, and needs no traceback
        reason = " ".join(str(error.orig).split())
        words = "The sweep %s failed, %d times in a row: the database says: %s"
        level = logging.ERROR if failures >= _IS_AWAY_AFTER else logging.WARNING
        log.log(level, words, name, failures, reason)
