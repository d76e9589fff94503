"""Studies that wait for one process, by the order of work or in a line: who waits how long.

A simulation, of which `benchmarks/order.py` prints the figures: exams come by chance, each is
triaged and then reported, and what is due first by `ledger.order` is begun next.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from node.ledger import Stage
from node.ledger.order import SenderPriority, due_at
from node.result import Priority

HOUR_S = 3600.0
TRIAGE_S, REPORT_S = 20.0, 40.0
"""How long each takes."""

SENDERS: dict[SenderPriority, int] = {"high": 10, "normal": 80, "low": 10}
LEVELS: dict[Priority, int] = {
    Priority.URGENT: 5,
    Priority.SOON: 5,
    Priority.NOT_ASSESSED: 10,
    Priority.ROUTINE: 80,
}
"""Of a hundred exams. Each knows its level only once it has been triaged."""


@dataclass(frozen=True, slots=True)
class Rush:
    """For some hours so many times as much comes as can be done, then half of it."""

    load: float
    hours: float
    name: str = ""


RUSHES = (
    Rush(1.2, 12, "a fifth more than can be done, for 12 hours"),
    Rush(4.0, 6, "triage alone takes a third more than there is time, for 6 hours"),
)


@dataclass(frozen=True, slots=True)
class ExamToWait:
    """One exam; what it will turn out to be is known to nobody before."""

    came_at: float
    sender: SenderPriority
    level: Priority


@dataclass(frozen=True, slots=True)
class Turn:
    """When something began to wait, and when it was begun."""

    exam: ExamToWait
    stage: Stage
    since: float
    begun_at: float

    @property
    def waited_s(self) -> float:
        """How long after its exam had come it was begun."""
        return self.begun_at - self.exam.came_at

    @property
    def kind(self) -> str:
        """What it is, as far as it is known."""
        if self.stage == Stage.TRIAGE:
            return f"triage, sender {self.exam.sender}"
        return f"report, {self.exam.level}"


Due = Callable[[ExamToWait, Stage, float], float]


def by_order(exam: ExamToWait, stage: Stage, since: float) -> float:
    """Return when an exam is due as the node has it."""
    return due_at(stage, exam.level if stage == Stage.REPORT else None, since, exam.sender)


def in_line(exam: ExamToWait, stage: Stage, since: float) -> float:
    """Return when an exam is due where all wait in a line, and each is done with at once."""
    return exam.came_at


def exams(rush: Rush, seed: int) -> list[ExamToWait]:
    """Return what comes in a rush and in the two hours after it."""
    chance = random.Random(seed)
    found: list[ExamToWait] = []
    at, end = 0.0, rush.hours * HOUR_S
    while True:
        load = rush.load if at < end else 0.5
        at += chance.expovariate(load / (TRIAGE_S + REPORT_S))
        if at > end + 2 * HOUR_S:
            return found
        (sender,) = chance.choices([*SENDERS], [*SENDERS.values()])
        (level,) = chance.choices([*LEVELS], [*LEVELS.values()])
        found.append(ExamToWait(at, sender, level))


def turns(coming: Sequence[ExamToWait], due: Due) -> Iterator[Turn]:
    """Yield what is begun, in its order, by a process that does one thing at a time."""
    waiting: list[tuple[float, int, ExamToWait, Stage, float]] = []
    arrivals = iter(coming)
    following = next(arrivals, None)
    now, number = 0.0, 0

    def wait(exam: ExamToWait, stage: Stage, since: float) -> None:
        nonlocal number
        number += 1
        heapq.heappush(waiting, (due(exam, stage, since), number, exam, stage, since))

    while waiting or following is not None:
        if not waiting and following is not None:
            now = max(now, following.came_at)
        while following is not None and following.came_at <= now:
            wait(following, Stage.TRIAGE, following.came_at)
            following = next(arrivals, None)
        _, _, exam, stage, since = heapq.heappop(waiting)
        yield Turn(exam, stage, since, now)
        now += TRIAGE_S if stage == Stage.TRIAGE else REPORT_S
        if stage == Stage.TRIAGE:
            wait(exam, Stage.REPORT, now)


def overtaken_by_s(taken: Sequence[Turn]) -> float:
    """Return how much later than something the latest began to wait that was begun before it."""
    latest, most = 0.0, 0.0
    for turn in taken:
        most = max(most, latest - turn.since)
        latest = max(latest, turn.since)
    return most


def longest_by_kind(taken: Sequence[Turn]) -> dict[str, float]:
    """Return the longest wait of each kind, in seconds."""
    kinds = [f"triage, sender {sender}" for sender in SENDERS]
    found = dict.fromkeys([*kinds, *(f"report, {level}" for level in LEVELS)], 0.0)
    for turn in taken:
        found[turn.kind] = max(found[turn.kind], turn.waited_s)
    return found
