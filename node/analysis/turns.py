"""What several threads want at the same moment is done by one; the others have it then."""

from __future__ import annotations

import threading
from collections.abc import Hashable, Iterator
from contextlib import contextmanager


class TurnsByName:
    """Lets one thread at a time do what goes by the same name."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._taken: dict[Hashable, threading.Event] = {}
        """What is being done, with what is set when it has ended."""

    @contextmanager
    def alone(self, what: Hashable) -> Iterator[None]:
        """Wait until nobody else is at it; whether it is still to be done the caller finds out."""
        ended = threading.Event()
        while (other := self._begun_by_another(what, ended)) is not None:
            other.wait()
        try:
            yield
        finally:
            with self._lock:
                del self._taken[what]
            ended.set()

    def _begun_by_another(self, what: Hashable, ended: threading.Event) -> threading.Event | None:
        with self._lock:
            other = self._taken.setdefault(what, ended)
        return None if other is ended else other
