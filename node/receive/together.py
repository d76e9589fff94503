"""1 Receive: objects that wait at the same moment are made sure of and recorded together.

One sync of each folder, and one commit, is what all of them wait for: whoever comes first does it
for those who wait by then, and meanwhile the next ones gather. A sender that comes alone waits
for nobody.
"""

from __future__ import annotations

import threading

from node.ledger import Received, Receiving, Recorded
from node.store import Store
from node.study import Instance

AT_MOST = 64
"""Objects at once: the rows of their studies are locked for as long as all of them take."""


class Together:
    """Safe to use from many threads, one of which works for all at a time."""

    def __init__(self, store: Store, receiving: Receiving) -> None:
        self._store = store
        self._receiving = receiving
        self._lock = threading.Lock()
        self._waiting: list[_Waiting] = []
        self._is_led = False

    def record(self, instance: Instance, received: Received) -> Recorded:
        """Record an object that is placed in the store, once its name there is sure to last.

        Raises OSError if it is not, and as `Receiving.record_instance` does.
        """
        mine = _Waiting(instance, received)
        with self._lock:
            self._waiting.append(mine)
            mine.leads = not self._is_led
            self._is_led = True
        if not mine.leads:
            mine.is_called.wait()
        if mine.leads:
            self._lead()
        if mine.error is not None:
            raise mine.error
        if mine.is_left_alone:
            return self._receiving.record_instance(instance, received)
        assert mine.recorded is not None, "whoever works for a group says something of each"
        return mine.recorded

    def _lead(self) -> None:
        with self._lock:  # one's own is the first of them
            group, self._waiting = self._waiting[:AT_MOST], self._waiting[AT_MOST:]
        try:
            self._work_for(group)
        except BaseException as error:  # noqa: BLE001 - raised to each who waits
            for one in group:
                if one.hears_nothing:
                    one.error = error
        finally:
            with self._lock:
                following = self._waiting[:1]
                self._is_led = bool(following)
            for one in following:
                one.leads = True
            for one in (*following, *group):
                one.is_called.set()

    def _work_for(self, group: list[_Waiting]) -> None:
        """Say for each what became of it, if nothing is raised."""
        failed = self._store.make_sure_of([one.received.relative_path for one in group])
        for one in group:
            one.error = failed.get(one.received.relative_path)
        sure = [one for one in group if one.error is None]
        came = [(one.instance, one.received) for one in sure]
        if len(sure) == 1:
            sure[0].recorded = self._receiving.record_instance(*came[0])
        elif sure:
            are_recorded = self._receiving.record_together(came)
            for one, is_recorded in zip(sure, are_recorded, strict=True):
                one.recorded = "new" if is_recorded else None
                one.is_left_alone = not is_recorded


class _Waiting:
    """An object that waits to be recorded, in the thread that brought it."""

    def __init__(self, instance: Instance, received: Received) -> None:
        self.instance = instance
        self.received = received
        self.is_called = threading.Event()
        self.leads = False
        """It is called to work for all that wait."""
        self.recorded: Recorded | None = None
        self.is_left_alone = False
        """Its name is sure to last, and it is to be recorded by itself."""
        self.error: BaseException | None = None

    @property
    def hears_nothing(self) -> bool:
        """Whether nobody has said what became of it, which is no leave to record it."""
        return self.error is None and self.recorded is None and not self.is_left_alone
