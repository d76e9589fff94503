"""Sweeps over the ledger at intervals: every one idempotent, so that every node may run all.

APScheduler with its memory store: nothing here has to survive, the ledger does.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from apscheduler.schedulers.background import BackgroundScheduler

from node.engine import Engine
from node.ledger import Ledger

SETTLE_EVERY_S = 2
BEAT_EVERY_S = 5
RECONCILE_EVERY_S = 5


def reconcile(ledger: Ledger, engine: Engine) -> None:
    """Enqueue anew what is not final in the ledger and has no live job."""
    for job in engine.lost(ledger.unfinished(), ledger.live_nodes()):
        ledger.revive(job, engine.enqueue)


class Timers:
    """The clockwork of one process."""

    def __init__(self, on_error: Callable[[BaseException], None]) -> None:
        self._scheduler = BackgroundScheduler(
            timezone=UTC,
            job_defaults={"coalesce": True, "max_instances": 1, "misfire_grace_time": None},
        )
        self._on_error = on_error

    def every(self, interval_s: float, sweep: Callable[[], None], name: str) -> None:
        """Run a sweep at an interval."""
        self._scheduler.add_job(
            self._guarded(sweep), "interval", seconds=interval_s, id=name, name=name
        )

    def once_in(self, delay_s: float, sweep: Callable[[], None], name: str) -> None:
        """Run a sweep once, in a while; asked again before that, it moves."""
        self._scheduler.add_job(
            self._guarded(sweep),
            "date",
            run_date=datetime.now(UTC) + timedelta(seconds=delay_s),
            id=name,
            name=name,
            replace_existing=True,
        )

    def start(self) -> None:
        """Begin."""
        self._scheduler.start()

    def stop(self) -> None:
        """End, after the sweep that is running."""
        self._scheduler.shutdown(wait=True)

    def _guarded(self, sweep: Callable[[], None]) -> Callable[[], None]:
        def run() -> None:
            try:
                sweep()
            except Exception as error:  # noqa: BLE001 - reported; the next run may succeed
                self._on_error(error)

        return run
