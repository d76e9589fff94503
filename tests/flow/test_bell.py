"""Who looks for work at intervals is woken when there is some."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Iterator

import pytest

from node.flow.bell import Bell

PATIENT_S = 30.0
"""Nothing here lasts so long, if it works."""


class Looker:
    """A thread that looks for work each half minute, and says when it does."""

    def __init__(self, event: threading.Event, interval_s: float = PATIENT_S) -> None:
        self.looks = queue.SimpleQueue[float]()
        self._event = event
        self._interval_s = interval_s
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self) -> None:
        while not self._event.wait(self._interval_s):
            self.looks.put(time.monotonic())

    def next(self) -> float:
        return self.looks.get(timeout=PATIENT_S / 3)


@pytest.fixture
def stop_event() -> Iterator[threading.Event]:
    event = threading.Event()
    yield event
    event.set()


@pytest.fixture
def bell(stop_event: threading.Event) -> Bell:
    bell = Bell(PATIENT_S)
    bell.hang_on(stop_event)
    return bell


def test_whoever_waits_looks_once_when_it_rings(bell: Bell, stop_event: threading.Event) -> None:
    lookers = [Looker(stop_event), Looker(stop_event)]
    for _ in range(3):
        rung_at = time.monotonic()
        bell.ring()
        assert all(looker.next() >= rung_at for looker in lookers)
    assert all(looker.looks.empty() for looker in lookers)


def test_it_may_be_rung_for_a_moment_later(bell: Bell, stop_event: threading.Event) -> None:
    looker = Looker(stop_event)
    for _ in range(3):
        rung_at = time.monotonic()
        bell.ring_soon()
        bell.ring_soon()  # at the same time as the first
        assert looker.next() > rung_at + 0.02
    assert looker.looks.empty()


def test_what_rings_while_nobody_waits_is_heard_by_the_next_who_does(
    bell: Bell, stop_event: threading.Event
) -> None:
    looker = Looker(stop_event)
    for _ in range(20):
        bell.ring()  # whether it waits by now or not
        looker.next()


def test_the_end_is_heard_at_once(bell: Bell, stop_event: threading.Event) -> None:
    looker = Looker(stop_event)
    stop_event.set()
    looker.thread.join(PATIENT_S / 3)
    assert not looker.thread.is_alive()
    assert stop_event.wait(0), "and by who comes later"


def test_who_waits_for_long_is_left_alone(stop_event: threading.Event) -> None:
    """As the thread that looks whether there are other queues."""
    bell = Bell(0.2)
    bell.hang_on(stop_event)
    often, seldom = Looker(stop_event, 0.19), Looker(stop_event, PATIENT_S)
    bell.ring()
    often.next()
    assert seldom.looks.empty()
    stop_event.set()
    seldom.thread.join(PATIENT_S / 3)
    assert not seldom.thread.is_alive()


def test_what_rang_before_somebody_waits_for_the_first_time_is_not_missed(
    bell: Bell, stop_event: threading.Event
) -> None:
    bell.ring()
    looker = Looker(stop_event)
    looker.next()
    assert looker.looks.empty(), "once"
