"""A process never claims more jobs of a queue than it may run at once."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from node.flow.claims import Claims

PROCESS = SimpleNamespace(name="process")
MAY_RUN = 2


class Database:
    """Jobs that wait, and who claims them as DBOS does: as many as may run, less what runs."""

    def __init__(self, *waiting: str) -> None:
        self.waiting = list(waiting)

    def claim(
        self, queue: Any, executor: str, version: str, part: str | None, running: int, **more: Any
    ) -> tuple[list[str], str | None]:
        free = max(0, MAY_RUN - running)
        claimed, self.waiting = self.waiting[:free], self.waiting[free:]
        return claimed, None if free else "worker_concurrency"


def test_what_is_claimed_counts_before_it_has_begun_and_until_it_has_ended() -> None:
    claims, database = Claims(), Database("1", "2", "3", "4")
    claim = claims.counted(database.claim)

    def look() -> list[str]:
        found, _ = claim(PROCESS, "me", "1", None, 0, owner_xid="x")
        return list(found)

    assert look() == ["1", "2"]
    assert look() == [], "none has begun, and DBOS counts nothing yet"
    claims.begin("1")
    assert look() == []
    claims.end("1")
    assert look() == ["3"]
    assert claims.count("process") == MAY_RUN
    assert claims.count("deliver") == 0


def test_what_dbos_counts_itself_counts_as_well() -> None:
    claims, database = Claims(), Database("1")
    assert claims.counted(database.claim)(PROCESS, "me", "1", None, MAY_RUN)[0] == []


def test_what_never_begins_does_not_hold_its_place_for_ever() -> None:
    now = [0.0]
    claims, database = Claims(lambda: now[0]), Database("1", "2")
    claims.counted(database.claim)(PROCESS, "me", "1", None, 0)
    claims.begin("1")
    now[0] = 61.0
    assert claims.count("process") == 1, "one runs, however long"
