"""Sweeps come again and again, survive a failure, and take the process down if they cannot."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from node.timers import FAILURES_ALLOWED, Timers


@pytest.fixture
def dead() -> threading.Event:
    return threading.Event()


@pytest.fixture
def timers(dead: threading.Event) -> Iterator[Timers]:
    clockwork = Timers(dead.set)
    clockwork.start()
    yield clockwork
    clockwork.stop()


def until(is_so: Callable[[], bool], within_s: float = 5) -> bool:
    give_up_at = time.monotonic() + within_s
    while not is_so() and time.monotonic() < give_up_at:
        time.sleep(0.01)
    return is_so()


def test_a_sweep_comes_again_and_again(timers: Timers) -> None:
    runs: list[float] = []
    timers.every(0.02, lambda: runs.append(time.monotonic()), "sweep")
    assert until(lambda: len(runs) >= 3)


def test_a_sweep_that_is_asked_for_soon_runs_once(timers: Timers) -> None:
    runs: list[float] = []
    timers.once_in(0.02, lambda: runs.append(0), "soon")
    assert until(lambda: len(runs) == 1)
    time.sleep(0.1)
    assert len(runs) == 1


def test_asked_again_before_its_time_it_moves(timers: Timers) -> None:
    runs: list[float] = []
    begun = time.monotonic()
    for _ in range(5):
        timers.once_in(1.0, lambda: runs.append(time.monotonic()), "soon")
        time.sleep(0.05)
    assert until(lambda: bool(runs))
    time.sleep(0.1)
    assert len(runs) == 1
    assert runs[0] - begun >= 1.2


def test_a_sweep_that_fails_now_and_then_goes_on(
    timers: Timers, dead: threading.Event, caplog: pytest.LogCaptureFixture
) -> None:
    runs: list[int] = []

    def sweep() -> None:
        runs.append(len(runs))
        if len(runs) % FAILURES_ALLOWED:
            raise OSError("the disk is busy")

    with caplog.at_level(logging.CRITICAL, logger="node.timers"):
        timers.every(0.01, sweep, "sweep")
        assert until(lambda: len(runs) > 2 * FAILURES_ALLOWED)
    assert not dead.is_set()


def test_a_sweep_that_keeps_failing_takes_the_process_down(
    timers: Timers, dead: threading.Event, caplog: pytest.LogCaptureFixture
) -> None:
    def sweep() -> None:
        raise OSError("the disk is gone")

    timers.every(0.01, sweep, "sweep")
    assert dead.wait(5)
    assert f"{FAILURES_ALLOWED} times in a row" in caplog.text


def test_stopping_waits_for_the_sweep_that_runs() -> None:
    begun, ended = threading.Event(), threading.Event()

    def sweep() -> None:
        begun.set()
        time.sleep(0.2)
        ended.set()

    clockwork = Timers(lambda: None)
    clockwork.start()
    clockwork.once_in(0, sweep, "long")
    assert begun.wait(5)
    clockwork.stop()
    assert ended.is_set()
