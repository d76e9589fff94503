"""What two threads want at the same moment is done once."""

from __future__ import annotations

import threading

import pytest
from ledgers import run_at_once

from node.analysis.turns import TurnsByName


def test_what_many_want_at_once_is_done_by_one_at_a_time() -> None:
    turns, found, done = TurnsByName(), set[str](), list[str]()

    def want() -> None:
        with turns.alone("a score"):
            if "a score" not in found:
                done.append("a score")
                found.add("a score")

    run_at_once(*[want] * 8)
    assert done == ["a score"]


def test_what_goes_by_another_name_is_not_waited_for() -> None:
    turns = TurnsByName()
    with turns.alone("one"), turns.alone("another"):
        pass


def test_whoever_waited_for_one_that_fails_has_its_own_turn() -> None:
    turns, begun, may_fail = TurnsByName(), threading.Event(), threading.Event()

    def fail() -> None:
        with pytest.raises(ZeroDivisionError), turns.alone("it"):
            begun.set()
            may_fail.wait(20)
            raise ZeroDivisionError

    thread = threading.Thread(target=fail)
    thread.start()
    begun.wait(20)
    may_fail.set()
    with turns.alone("it"):
        pass
    thread.join(20)
    assert not thread.is_alive()
