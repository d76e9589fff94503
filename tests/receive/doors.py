"""A listener with all that lies behind it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ledgers import Desk

from node.ledger import schema
from node.receive.listener import Listener
from node.receive.reception import Reception
from node.store import Store


@dataclass(slots=True)
class Door:
    """A listener with what lies behind it."""

    listener: Listener
    store: Store
    desk: Desk
    reception: Reception
    stored: list[float] = field(default_factory=list)

    @property
    def port(self) -> int:
        return self.listener.port

    def files(self, folder: str) -> list[Path]:
        return sorted(p for p in (self.store.root / folder).rglob("*") if p.is_file())

    def study(self) -> dict[str, Any]:
        (row,) = self.desk.rows(schema.study)
        return row

    def history(self) -> list[str]:
        return self.desk.history(self.study()["study_uid"])

    def instances(self) -> list[str]:
        return [str(row["sop_uid"]) for row in self.desk.rows(schema.instance)]


OpenDoor = Callable[..., Door]


def until(is_so: Callable[[], bool], within_s: float = 30) -> bool:
    give_up_at = time.monotonic() + within_s
    while not (is_it := is_so()) and time.monotonic() < give_up_at:
        time.sleep(0.01)
    return is_it
