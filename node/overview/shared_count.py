"""What takes long to count is counted once for all who ask within some seconds."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

_T = TypeVar("_T")

KEPT_S = 10.0
"""A count over all studies is not made again so soon, however many ask."""


class SharedCount(Generic[_T]):
    """Something that is made anew when it is asked for and old. Safe to use from many threads."""

    def __init__(self, make: Callable[[], _T], kept_s: float = KEPT_S) -> None:
        self._make = make
        self._kept_s = kept_s
        self._lock = threading.Lock()
        self._made: tuple[float, _T] | None = None

    def newest(self) -> _T:
        """Return it; who asks while it is made waits for that. Raises what making it does."""
        with self._lock:
            if self._made is None or time.monotonic() - self._made[0] >= self._kept_s:
                self._made = None  # if it cannot be made, nobody gets an old one
                value = self._make()
                self._made = (time.monotonic(), value)
            return self._made[1]
