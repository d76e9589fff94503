"""What this process has claimed of a queue, so that it never has more than it may.

DBOS counts what runs here each time that it looks for jobs, and a job counts once its thread has
begun. Where the next look comes at once, on a busy machine that is too late: it would claim as many
again.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

_BEGINS_WITHIN_S = 60.0
"""What has not begun by then never will: DBOS could not start it, and finds it again by itself."""


class Claims:
    """The jobs that were claimed here and have not ended. Called from many threads."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._held: dict[str, tuple[str, float | None]] = {}
        """By id: the queue, and until when it may begin; None once it has."""

    def counted(self, claim: Callable[..., Any]) -> Callable[..., Any]:
        """Return DBOS's `start_queued_workflows`, told of all that is claimed and not yet begun."""

        # What is claimed is started only after this: none has begun before it is held.
        def claim_and_count(
            queue: Any, executor: str, version: str, part: str | None, running: int = 0, **more: Any
        ) -> Any:
            running = max(running, self.count(queue.name))
            claimed, why_no_more = claim(queue, executor, version, part, running, **more)
            with self._lock:
                until = self._clock() + _BEGINS_WITHIN_S
                self._held.update((job_id, (queue.name, until)) for job_id in claimed)
            return claimed, why_no_more

        return claim_and_count

    def count(self, queue: str) -> int:
        """Return how many jobs of a queue are claimed and have not ended."""
        with self._lock:
            now = self._clock()
            for job_id, (_, until) in list(self._held.items()):
                if until is not None and until < now:
                    del self._held[job_id]
            return sum(name == queue for name, _ in self._held.values())

    def begin(self, job_id: str) -> None:
        """Note that a job has begun, which holds its place until `end`."""
        with self._lock:
            if job_id in self._held:
                self._held[job_id] = self._held[job_id][0], None

    def end(self, job_id: str) -> None:
        """Let go of a place."""
        with self._lock:
            self._held.pop(job_id, None)
