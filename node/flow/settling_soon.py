"""Looks at a study as soon as it may be complete; the sweep over all of them comes by and by.

Nothing rests on it: what is missed here, the next sweep of any node finds.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping

from sqlalchemy.exc import SQLAlchemyError

log = logging.getLogger(__name__)

_AT_ONCE = 200
"""Studies that are asked for in one statement: an association may bring thousands."""


class SettlingSoon:
    """One thread, and when it is to look at which study."""

    def __init__(self, settle: Callable[[Collection[str]], Mapping[str, float]]) -> None:
        """Make one; `settle` looks at studies, and says which to look at again and after how long.

        That is `Settler.settle` of the configuration of now.
        """
        self._settle = settle
        self._due_at: dict[str, float] = {}
        self._wakes_at = math.inf
        self._changed = threading.Condition()
        self._is_stopped = False
        self._thread = threading.Thread(target=self._run, name="settling soon", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End, after the look that is under way."""
        with self._changed:
            self._is_stopped = True
            self._changed.notify()
        if self._thread.is_alive():
            self._thread.join()

    def look(self, study_uids: Iterable[str], after_s: float) -> None:
        """Look at studies in a while; each asked for again before that, it is then, and not before.

        Called for each object that comes, so it costs next to nothing.
        """
        due_at = time.monotonic() + after_s
        with self._changed:
            self._due_at.update(dict.fromkeys(study_uids, due_at))
            if due_at < self._wakes_at:
                self._changed.notify()

    def _run(self) -> None:
        while (due := self._next()) is not None:
            try:
                again = self._settle(due)
            except SQLAlchemyError:  # the sweeps say that the database is away
                log.debug("Studies cannot be looked at now; the next sweep does it", exc_info=True)
            except Exception:  # the sweep says it as well, until it works
                log.exception("Studies could not be looked at; the next sweep does it")
            else:
                self._look_again(again)

    def _look_again(self, after_s: Mapping[str, float]) -> None:
        now = time.monotonic()
        with self._changed:
            for study_uid, seconds in after_s.items():
                self._due_at.setdefault(study_uid, now + seconds)

    def _next(self) -> list[str] | None:
        """Wait for studies that are due, and return them; None if it is stopped."""
        with self._changed:
            while not self._is_stopped:
                now = time.monotonic()
                if due := [uid for uid, at in self._due_at.items() if at <= now][:_AT_ONCE]:
                    for study_uid in due:
                        del self._due_at[study_uid]
                    return due
                self._wakes_at = min(self._due_at.values(), default=math.inf)
                left_s = self._wakes_at - now
                self._changed.wait(None if left_s == math.inf else left_s)
                self._wakes_at = -math.inf  # awake: nobody needs to wake it
            return None
