"""Which of our own parts are ill and since when, for the ledger and for whoever asks us."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping

from node.ledger import Ill, OwnPart
from node.store import Store, lack_of_room

log = logging.getLogger(__name__)

Examine = Callable[[], str]
"""Says what is wrong with a part, "" if nothing is."""


class Ailments:
    """Remembers since when each part is ill. Safe to use from many threads."""

    def __init__(self, examinations: Mapping[OwnPart, Examine]) -> None:
        self._examinations = examinations
        self._found: dict[OwnPart, Ill] = {}
        self._lock = threading.Lock()

    def look(self) -> dict[OwnPart, Ill]:
        """Examine every part; return those that are ill."""
        said = {part: examine() for part, examine in self._examinations.items()}
        with self._lock:
            for part, words in said.items():
                self._note(part, words)
            return dict(self._found)

    @property
    def found(self) -> dict[OwnPart, Ill]:
        """What was ill when they were last looked at."""
        with self._lock:
            return dict(self._found)

    def _note(self, part: OwnPart, words: str) -> None:
        former = self._found.pop(part, None)
        if words:
            self._found[part] = Ill(former.since if former else time.time(), words)
        if words and former is None:
            log.error("The %s is ill: %s", part, words)
        elif former is not None and not words:
            log.info("The %s is well again", part)


def trouble_of_store(
    store: Store, least_free: int, refuse_from_percent: float | None = None
) -> str:
    """Return why nothing can be put into the store now, "" if something can; free in bytes."""
    try:
        if lack := lack_of_room(store.room(), least_free, refuse_from_percent):
            return f"{store.root}: {lack}"
        store.now_s()  # writes, and removes that again
    except OSError as error:
        is_away = isinstance(error, FileNotFoundError) and not store.is_there()
        asked = "; is its disk mounted?" if is_away else ""
        return f"{store.root} cannot be written to ({error.strerror}){asked}"
    return ""
