"""What the answers are made of, and what is known of this process beside the ledger."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa

from node.config import Config
from node.current import Current
from node.ledger import Ill, Ledger, OwnPart, Role
from node.overview.health import Alarm, NodePart, database_away, node_parts

_KEPT_S = 1.5
"""The ledger is not asked again so soon how the parts are, however many ask us."""


@dataclass(frozen=True, slots=True)
class ThisProcess:
    """What a process knows of itself without asking anybody."""

    role: Role
    is_alive: Callable[[], bool]
    """Whether its regular work comes round, and no part of it has died. Waits for nothing."""
    is_listening: Callable[[], bool]
    """Whether it takes associations now: neither before it has started, nor while it stops."""
    ill: Callable[[], Mapping[OwnPart, Ill]]


@dataclass(slots=True)
class Monitored:
    """The node that is asked about. Safe to use from many threads."""

    current: Current
    ledger: Ledger
    process: ThisProcess
    _away_since: float | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _asking: threading.Lock = field(default_factory=threading.Lock)
    _found: tuple[float, tuple[NodePart, ...]] | None = None

    @property
    def config(self) -> Config:
        """The configuration of now."""
        return self.current.config

    def parts(self) -> tuple[NodePart, ...]:
        """Return how each part is; of a database that does not answer, only that."""
        with self._asking:  # one asks, and the others hear what it heard
            if self._found is None or time.monotonic() - self._found[0] >= _KEPT_S:
                found = self._ask()
                self._found = (time.monotonic(), found)
            return self._found[1]

    def _ask(self) -> tuple[NodePart, ...]:
        try:
            found = node_parts(self.ledger, self.config)
        except sa.exc.SQLAlchemyError as error:
            return (self.away(error),)
        with self._lock:
            self._away_since = None
        return found

    def away(self, error: sa.exc.SQLAlchemyError) -> NodePart:
        """Return that the database does not answer, and since when we know."""
        with self._lock:
            self._away_since = self._away_since or time.time()
            return database_away(error, self.config, self._away_since)

    def own_listener(self) -> tuple[NodePart, ...]:
        """Return what this process needs to take images: its listener, disk and database."""
        ill, role = self.process.ill(), self.process.role
        database, *_ = self.parts()  # always the first
        if role not in (Role.ALL, Role.LISTENER):
            words = "this node does not listen"
            return (NodePart("listener", Alarm.ACT, words, None, "ask one that does"), database)
        listens = _own("listener", ill.get(OwnPart.LISTENER), "it listens")
        if not (listens.is_ill or self.process.is_listening()):
            words = "this node starts or stops"
            listens = NodePart("listener", Alarm.ACT, words, None, "ask again")
        return (
            listens,
            _own("disk", ill.get(OwnPart.DISK), "there is room, and it can be written to"),
            database,
        )


def _own(name: str, ill: Ill | None, well: str) -> NodePart:
    if ill is None:
        return NodePart(name, Alarm.NONE, well)
    return NodePart(name, Alarm.ACT, ill.words, ill.since, "its log says why")


def part_as_json(part: NodePart) -> dict[str, Any]:
    """Return a part as it is told; times are epoch seconds, UTC."""
    return {
        "name": part.name,
        "alarm": int(part.alarm),
        "is_ill": part.is_ill,
        "since": part.since,
        "words": part.words,
        "what_to_do": part.what_to_do,
    }
