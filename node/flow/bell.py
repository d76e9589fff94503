"""Wakes threads that look for work at intervals, as soon as there is some."""

from __future__ import annotations

import math
import threading
import time

_SOON_S = 0.03


class Bell:
    """Who waits on an event for a short time waits no longer than until it rings.

    DBOS looks for jobs at intervals, and between them waits on the event that ends it. To look so
    often that nobody has to wait would keep a processor busy all day.
    """

    def __init__(self, for_waits_up_to_s: float) -> None:
        self._longest_s = for_waits_up_to_s
        self._changed = threading.Condition()
        self._rung_at = self._soon_at = -math.inf
        self._woken_at = threading.local()

    def ring(self) -> None:
        """Wake whoever waits."""
        with self._changed:
            self._rung_at = time.monotonic()
            self._changed.notify_all()

    def ring_soon(self) -> None:
        """Do so in a moment: a job that ends holds its place a little longer."""
        with self._changed:
            if self._soon_at <= (now := time.monotonic()):
                self._soon_at = now + _SOON_S
                self._changed.notify_all()

    def hang_on(self, event: threading.Event) -> None:
        """Ring for those that wait on an event; it is waited on through this alone from now on."""
        set_it, wait_for_it = event.set, event.wait

        def set_and_wake() -> None:
            set_it()
            with self._changed:
                self._changed.notify_all()

        def wait(timeout: float | None = None) -> bool:
            if timeout is None or timeout > self._longest_s:
                return wait_for_it(timeout)
            self._wait(event, timeout)
            return event.is_set()

        event.set, event.wait = set_and_wake, wait  # type: ignore[method-assign]

    def _wait(self, event: threading.Event, timeout: float) -> None:
        """Wait until the event is set, the time is over, or it has rung since the last wait."""
        until = time.monotonic() + timeout
        # Who waits for the first time may have looked before it last rang, and looks once more.
        woken_at = getattr(self._woken_at, "time", -math.inf)
        with self._changed:
            while not event.is_set():
                left_s = min(until, self._next_after(woken_at)) - time.monotonic()
                if left_s <= 0:
                    break
                self._changed.wait(left_s)
            self._woken_at.time = time.monotonic()

    def _next_after(self, woken_at: float) -> float:
        """Return when one is to wake who was last awake then; infinity if it has not rung."""
        sounds = (self._rung_at, self._soon_at)
        return min((at for at in sounds if at > woken_at), default=math.inf)
