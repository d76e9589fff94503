"""Sweeps come again and again, survive a failure, and take the process down if they cannot."""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Callable, Iterator

import pytest
import sqlalchemy as sa

from node.flow.timers import FAILURES_ALLOWED, Pulse, Timers
from node.ledger import Ledger, Nodes, schema
from node.ledger.database import DEAD_AFTER_S


@pytest.fixture
def dead() -> threading.Event:
    return threading.Event()


@pytest.fixture
def timers(dead: threading.Event) -> Iterator[Timers]:
    clockwork = Timers(dead.set, patience_s=0)
    clockwork.start()
    yield clockwork
    clockwork.stop()


def until(is_so: Callable[[], bool], within_s: float = 30) -> bool:
    give_up_at = time.monotonic() + within_s
    while not (is_it := is_so()) and time.monotonic() < give_up_at:
        time.sleep(0.01)
    return is_it


def test_a_sweep_comes_again_and_again(timers: Timers) -> None:
    runs: list[float] = []
    timers.every(0.02, lambda: runs.append(time.monotonic()), "sweep")
    assert until(lambda: len(runs) >= 3)


def test_a_sweep_that_hangs_is_noticed_and_one_that_fails_does_not_hang(timers: Timers) -> None:
    def fail() -> None:
        raise ValueError

    def hang() -> None:
        go_on.wait()

    go_on = threading.Event()
    timers.every(0.02, fail, "fails")
    assert until(lambda: timers.are_turning(0.01))
    timers.every(0.02, hang, "hangs")
    assert until(lambda: not timers.are_turning(0.3))
    assert timers.are_turning()
    go_on.set()
    assert until(lambda: timers.are_turning(0.3))


def test_a_sweep_that_comes_seldom_does_not_hang_before_its_time(timers: Timers) -> None:
    timers.every(3600, lambda: None, "seldom")
    assert timers.are_turning(0)
    assert not timers.trouble(stuck_after_s=0)


def test_a_sweep_that_fails_for_long_is_named_with_the_reason_until_it_works(
    timers: Timers, dead: threading.Event
) -> None:
    """The clockwork turns, and yet what that sweep does is not done."""
    is_mended = threading.Event()

    def sweep() -> None:
        if not is_mended.is_set():
            raise sa.exc.OperationalError("SELECT", None, OSError("disk I/O\nerror"))

    timers.every(0.02, lambda: None, "works")
    timers.every(0.02, sweep, "settle")
    assert until(lambda: bool(timers.trouble(fails_after_s=0.2)))
    said = timers.trouble(fails_after_s=0.2)
    assert re.fullmatch(
        r"regular work is not done: settle has failed since \d{4}-\d\d-\d\d \d\d:\d\d: "
        r"the database says: disk I/O error",
        said,
    )
    assert timers.are_turning()
    assert timers.trouble() == "", "five minutes are not over"
    assert not dead.is_set()
    is_mended.set()
    assert until(lambda: not timers.trouble(fails_after_s=0.0))


def test_a_sweep_that_hangs_is_named(timers: Timers) -> None:
    go_on = threading.Event()

    def hang() -> None:
        go_on.wait()

    timers.every(0.02, hang, "inventory")
    assert until(lambda: bool(timers.trouble(stuck_after_s=0.2)))
    assert timers.trouble(stuck_after_s=0.2) == "regular work is not done: inventory hangs"
    go_on.set()


def test_a_sweep_that_is_asked_for_soon_runs_once(timers: Timers) -> None:
    runs: list[float] = []
    timers.once_in(0.02, lambda: runs.append(0), "soon")
    assert until(lambda: len(runs) == 1)
    time.sleep(0.1)
    assert len(runs) == 1


def test_a_sweep_that_is_asked_for_before_the_start_waits_for_its_turn(
    dead: threading.Event,
) -> None:
    runs: list[float] = []
    clockwork = Timers(dead.set)
    clockwork.once_in(0.01, lambda: runs.append(0), "soon")
    time.sleep(0.1)
    assert runs == []
    clockwork.stop()


def test_asked_again_before_its_time_it_moves(timers: Timers) -> None:
    runs: list[float] = []
    begun = time.monotonic()
    for _ in range(5):
        timers.once_in(2.0, lambda: runs.append(time.monotonic()), "soon")
        time.sleep(0.05)
    assert until(lambda: bool(runs))
    time.sleep(0.1)
    assert len(runs) == 1
    assert runs[0] - begun >= 2.2


def test_a_sweep_that_fails_now_and_then_goes_on(
    timers: Timers, dead: threading.Event, caplog: pytest.LogCaptureFixture
) -> None:
    runs: list[int] = []

    def sweep() -> None:
        runs.append(len(runs))
        if len(runs) % FAILURES_ALLOWED:
            raise OSError("the disk is busy")

    with caplog.at_level(logging.CRITICAL, logger="node.flow.timers"):
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


def test_a_sweep_that_fails_for_a_short_time_is_waited_for(
    dead: threading.Event, caplog: pytest.LogCaptureFixture
) -> None:
    """A database server that is started anew is away for a while."""
    caplog.set_level(logging.INFO)
    runs: list[int] = []

    def sweep() -> None:
        runs.append(0)
        if len(runs) <= 2 * FAILURES_ALLOWED:
            refusal = OSError("connection\nrefused")
            raise sa.exc.OperationalError("SELECT", None, refusal)

    clockwork = Timers(dead.set, patience_s=60)
    clockwork.every(0.01, sweep, "beat")
    clockwork.start()
    assert until(lambda: "The sweep beat works again" in caplog.text)
    clockwork.stop()
    assert not dead.is_set()
    assert "the database says: connection refused" in caplog.text
    assert "Traceback" not in caplog.text


def test_nobody_is_taken_for_dead_before_all_had_the_time_to_beat(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [1000.0]
    monkeypatch.setattr("node.flow.timers.time.monotonic", lambda: clock[0])
    late = schema.node.c.beat_at - 2 * DEAD_AFTER_S

    def become_late() -> None:
        with ledger.writing() as db:
            db.execute(schema.node.update().values(beat_at=late))

    Nodes(ledger).register_node("we")
    Nodes(ledger).register_node("other")
    become_late()
    pulse = Pulse(Nodes(ledger), "we", DEAD_AFTER_S)
    assert pulse.live_nodes() == {"we", "other"}  # we have only just begun to listen
    clock[0] += DEAD_AFTER_S + 1
    assert pulse.live_nodes() == {"we"}
    become_late()  # all of us: the database was away
    assert pulse.live_nodes() == {"we", "other"}
    Nodes(ledger).beat("other")
    clock[0] += DEAD_AFTER_S + 1
    assert pulse.live_nodes() == {"we", "other"}


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
