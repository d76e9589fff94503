"""Carries notices of alarms to their channels: a thread for each, so that none waits for another.

Not sweeps of the node's timers: a mail server that answers slowly must not look like a node that
hangs.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field

import sqlalchemy as sa

from node.alarms.channels import AlarmChannel
from node.alarms.telling import AlarmTelling, telling_of
from node.errors import DeliveryError
from node.ledger import Alarming

log = logging.getLogger(__name__)

LOOKS_EVERY_S = 5.0
_LEASE_S = 600.0
"""Longer than a channel takes; if a node dies meanwhile, another tells it after this."""
WAITS_FIRST_S = 30.0
"""After a failure; twice as long after each other one, up to ten minutes."""
_WAIT_MOST_S = 600.0
_LEAVES_WITHIN_S = 2.0


@dataclass(slots=True)
class AlarmPost:
    """The threads that tell of alarms, from `start` to `stop`."""

    alarming: Alarming
    channels: Mapping[str, AlarmChannel]
    looks_every_s: float = LOOKS_EVERY_S
    waits_first_s: float = WAITS_FIRST_S
    _carriers: list[_Carrier] = field(default_factory=list)

    def start(self) -> None:
        """Begin, with what a former process left, too."""
        for name, channel in self.channels.items():
            carrier = _Carrier(self, name, channel)
            self._carriers.append(carrier)
            carrier.start()

    def carry_by(self, channels: Mapping[str, AlarmChannel]) -> None:
        """Tell by these channels from now on, each of which goes on with what was to be told."""
        if channels == self.channels:
            return
        former, self.channels = self._carriers, channels
        left = {carrier.channel_name: carrier.leave() for carrier in former}
        self._carriers = []
        self.start()
        for carrier in self._carriers:
            for told in left.get(carrier.channel_name, ()):
                carrier.remember(told)

    def stop(self) -> None:
        """End; what was not told is told after the next start, or by another node."""
        for carrier in self._carriers:
            carrier.end()
        for carrier in self._carriers:
            carrier.join(_LEAVES_WITHIN_S)  # one that waits for a server ends with the process

    def wake(self) -> None:
        """Have it looked at once whether there is something to tell."""
        for carrier in self._carriers:
            carrier.wake()

    def tell_without_ledger(self, told: AlarmTelling) -> None:
        """Tell what cannot be written down: kept in memory until it is told or we end."""
        for carrier in self._carriers:
            carrier.remember(told)


class _Carrier(threading.Thread):
    """Tells what one channel is to tell."""

    def __init__(self, post: AlarmPost, name: str, channel: AlarmChannel) -> None:
        super().__init__(name=f"alarms by {name}", daemon=True)
        self._post, self._alarming = post, post.alarming
        self.channel_name, self._channel = name, channel
        self._ended = threading.Event()
        self._woken = threading.Event()
        self._remembered: list[AlarmTelling] = []
        self._in_hand: AlarmTelling | None = None
        self._lock = threading.Lock()
        self._failures = 0

    def run(self) -> None:
        """Look again and again."""
        while not self._ended.is_set():
            self._woken.clear()
            wait_s = self._post.looks_every_s
            try:
                self._tell_all()
            except DeliveryError as error:
                wait_s = self._wait_s
                words = "Alarms cannot be told by %s: %s; tried again in %.0f s"
                log.warning(words, self.channel_name, error, wait_s)
            except sa.exc.SQLAlchemyError as error:  # it is away: the timers say so, too
                log.debug("The ledger does not say what %s has to tell: %s", self.name, error)
            except Exception:  # or nobody would be told of anything any more
                log.exception("Alarms cannot be told by %s", self.channel_name)
                wait_s = _WAIT_MOST_S
            # While the channel takes nothing, it is not woken by what there is to tell.
            (self._ended if self._failures else self._woken).wait(wait_s)

    def end(self) -> None:
        self._ended.set()
        self._woken.set()

    def leave(self) -> list[AlarmTelling]:
        """End; return what is remembered and not told, or just being told."""
        self.end()
        self.join(_LEAVES_WITHIN_S)
        with self._lock:
            return [one for one in self._remembered if one is not self._in_hand]

    def wake(self) -> None:
        self._woken.set()

    def remember(self, told: AlarmTelling) -> None:
        with self._lock:
            untold = [one for one in self._remembered if one is not self._in_hand]
            if told.event == "ended" and any(one.event == "begun" for one in untold):
                self._remembered = []  # nobody has heard that it began
            else:
                self._remembered.append(told)
        self._woken.set()

    @property
    def _wait_s(self) -> float:
        return min(self._post.waits_first_s * 2.0 ** min(self._failures - 1, 10), _WAIT_MOST_S)

    def _tell_all(self) -> None:
        while not self._ended.is_set() and self._begin_with_remembered():
            self._tell_remembered()
        while not self._ended.is_set():
            notice = self._alarming.claim_notice(self.channel_name, _LEASE_S)
            if notice is None:
                return
            told = telling_of(notice)
            try:
                amiss = self._tell(told)
            except DeliveryError as error:
                self._alarming.put_off(notice, self._wait_s, str(error))
                raise
            self._alarming.record_told(notice, amiss)
            log.info(
                "Alarm %d (%s) is told by %s: %s",
                notice.alarm.id,
                told.rule,
                self.channel_name,
                told.event,
            )

    def _begin_with_remembered(self) -> bool:
        with self._lock:
            self._in_hand = self._remembered[0] if self._remembered else None
            return self._in_hand is not None

    def _tell_remembered(self) -> None:
        told = self._in_hand
        assert told is not None
        try:
            self._tell(told)
            with self._lock:
                self._remembered = [one for one in self._remembered if one is not told]
        finally:
            self._in_hand = None

    def _tell(self, told: AlarmTelling) -> str:
        try:
            amiss = self._channel.tell(told)
        except Exception:
            self._failures += 1
            raise
        self._failures = 0
        if amiss:
            log.warning("Not all are told of alarms by %s: %s", self.channel_name, amiss)
        return amiss
