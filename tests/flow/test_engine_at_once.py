"""What a process enqueues begins at once; only what another one did waits for the next look."""

from __future__ import annotations

from pathlib import Path

import pytest
from engines import Worker, enqueue, open_engine, until
from postgres import NewDatabase

from node.ledger import Job, Ledger

pytestmark = pytest.mark.slow

LOOKS_EVERY_S = 1200.0
WITHIN_S = 120.0
"""On a busy machine; far less than until the next look, which would begin the job, too."""


@pytest.mark.timeout(600)
def test_a_job_begins_when_its_transaction_is_committed_and_the_next_when_it_has_ended(
    new_database: NewDatabase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("node.flow.engine._POLL_S", LOOKS_EVERY_S)
    url, worker = new_database(tmp_path), Worker()
    ledger, engine = Ledger(url), open_engine(url, worker)
    try:
        first, second = Job("process", "1.1", 1, 1), Job("process", "1.2", 1, 1)
        sent = Job("deliver", "1.1", 1, 1, "pacs")
        release = worker.hold("1.1")
        enqueue(ledger, engine, first, second)
        assert until(lambda: first in worker.begun, WITHIN_S)
        with ledger.writing() as db:
            engine.enqueue(db, sent)
            assert sent not in worker.begun
        assert until(lambda: sent in worker.begun, WITHIN_S)
        assert second not in worker.begun, "one at a time"
        release.set()
        assert until(lambda: second in worker.done, WITHIN_S)
    finally:
        engine.stop(drain_s=5)
        ledger.close()
