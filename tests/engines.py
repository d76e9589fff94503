"""A queue that runs, and jobs that do what a test says."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from node.flow.engine import Engine, LiveNodes
from node.ledger import Job, Ledger

NODE_ID = "node-1"


class Worker:
    """What the jobs do in these tests: note that they ran, and wait if they are told to."""

    def __init__(self) -> None:
        self.begun: list[Job] = []
        self.done: list[Job] = []
        self.at_once = self.most_at_once = 0
        self.holds: dict[str, threading.Event] = {}
        """Jobs of these studies and destinations wait for their event."""
        self.fails: set[str] = set()
        """Jobs of these studies raise an exception."""
        self._lock = threading.Lock()

    def hold(self, name: str) -> threading.Event:
        self.holds[name] = threading.Event()
        return self.holds[name]

    def run(self, job: Job) -> None:
        with self._lock:
            self.begun.append(job)
            self.at_once += 1
            self.most_at_once = max(self.at_once, self.most_at_once)
        for name in (job.study_uid, job.destination):
            if name in self.holds:
                self.holds[name].wait(300)  # who holds it lets it go: no job ends by itself
        with self._lock:
            self.at_once -= 1
            self.done.append(job)
        if job.study_uid in self.fails:
            raise KeyError("nobody thought of this")


def open_engine(url: str, worker: Worker, node_id: str = NODE_ID) -> Engine:
    engine = Engine(url, node_id, {"process": worker.run, "deliver": worker.run})
    engine.start(processes=1)
    return engine


def enqueue(ledger: Ledger, engine: Engine, *jobs: Job) -> None:
    with ledger.writing() as db:
        for job in jobs:
            engine.enqueue(db, job)


def alive(*node_ids: str) -> LiveNodes:
    return lambda: node_ids


def until(is_so: Callable[[], bool], within_s: float = 30) -> bool:
    give_up_at = time.monotonic() + within_s
    while not (is_it := is_so()) and time.monotonic() < give_up_at:
        time.sleep(0.01)
    return is_it
