"""Sweeps over the ledger at intervals: every one idempotent, so that every node may run all.

APScheduler with its memory store: nothing here has to survive, the ledger does.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from datetime import UTC

from apscheduler.schedulers.background import BackgroundScheduler

from node.engine import Engine
from node.ledger import Ledger

log = logging.getLogger(__name__)

SETTLE_EVERY_S = 2
BEAT_EVERY_S = 5
RECONCILE_EVERY_S = 5

FAILURES_ALLOWED = 10
"""In a row; a node that listens but no longer works is the worst state there is."""


def reconcile(ledger: Ledger, engine: Engine, node_id: str) -> None:
    """Enqueue anew what is not final in the ledger and has no live job."""
    live_nodes = ledger.live_nodes() | {node_id}  # we live, however late our last beat is
    engine.release(live_nodes)
    for job in engine.lost(ledger.unfinished(), live_nodes):
        ledger.revive(job, engine.enqueue)


class Timers:
    """The clockwork of one process."""

    def __init__(self, on_dead: Callable[[], None]) -> None:
        self._scheduler = BackgroundScheduler(
            timezone=UTC,
            job_defaults={"coalesce": True, "max_instances": 1, "misfire_grace_time": None},
        )
        self._on_dead = on_dead
        self._once: dict[str, threading.Timer] = {}
        self._lock = threading.Lock()

    def every(self, interval_s: float, sweep: Callable[[], None], name: str) -> None:
        """Run a sweep at an interval."""
        self._scheduler.add_job(
            self._guarded(sweep), "interval", seconds=interval_s, id=name, name=name
        )

    def once_in(self, delay_s: float, sweep: Callable[[], None], name: str) -> None:
        """Run a sweep once, in a while; asked again before that, it moves.

        Not a job of the scheduler's: one that ends while the scheduler stops kills its thread.
        """
        timer = threading.Timer(delay_s, self._guarded(sweep))
        timer.daemon = True
        with self._lock:
            former = self._once.get(name)
            if former is not None:
                former.cancel()
            self._once[name] = timer
        timer.start()

    def start(self) -> None:
        """Begin."""
        self._scheduler.start()

    def stop(self) -> None:
        """End, after the sweep that is running."""
        if self._scheduler.running:
            self._scheduler.shutdown(wait=True)
        for timer in self._once.values():
            timer.cancel()
            timer.join()

    def _guarded(self, sweep: Callable[[], None]) -> Callable[[], None]:
        """Let a sweep fail now and then; one that keeps failing takes the process down."""
        failures = 0

        def run() -> None:
            nonlocal failures
            try:
                sweep()
                failures = 0
            except Exception:  # the next run may succeed
                failures += 1
                log.exception("A sweep failed, %d times in a row", failures)
                if failures >= FAILURES_ALLOWED:
                    self._on_dead()

        return run
