"""A study is looked at as soon as it may be complete, and no sooner."""

from __future__ import annotations

import queue
import time
from collections.abc import Collection, Iterator, Mapping

import pytest
import sqlalchemy as sa

from node.flow.settling_soon import SettlingSoon

PATIENT_S = 10.0


class Looks:
    """What would look at studies, and says which it was asked to."""

    def __init__(self) -> None:
        self.asked = queue.SimpleQueue[tuple[float, list[str]]]()
        self.again: list[Mapping[str, float]] = []
        self.fails: list[Exception] = []

    def settle(self, study_uids: Collection[str]) -> Mapping[str, float]:
        self.asked.put((time.monotonic(), sorted(study_uids)))
        if self.fails:
            raise self.fails.pop()
        return self.again.pop() if self.again else {}

    def next(self) -> list[str]:
        return self.asked.get(timeout=PATIENT_S)[1]


@pytest.fixture
def looks() -> Looks:
    return Looks()


@pytest.fixture
def soon(looks: Looks) -> Iterator[SettlingSoon]:
    soon = SettlingSoon(looks.settle)
    soon.start()
    yield soon
    soon.stop()


def test_what_its_association_brought_is_looked_at_at_once(
    soon: SettlingSoon, looks: Looks
) -> None:
    soon.look(["1.1", "1.2"], 0)
    assert looks.next() == ["1.1", "1.2"]


def test_what_still_comes_is_looked_at_once_and_only_after_its_last_object(
    soon: SettlingSoon, looks: Looks
) -> None:
    for _ in range(50):
        soon.look(["1.1"], 0.3)
    last_at = time.monotonic() - 0.01
    looked_at, study_uids = looks.asked.get(timeout=PATIENT_S)
    assert study_uids == ["1.1"]
    assert looked_at >= last_at + 0.3
    assert looks.asked.empty()


def test_each_study_has_its_own_time(soon: SettlingSoon, looks: Looks) -> None:
    soon.look(["1.1"], 3600)
    soon.look(["1.2"], 0.05)
    soon.look(["1.3"], 0)
    assert [looks.next(), looks.next()] == [["1.3"], ["1.2"]]


def test_who_is_to_be_looked_at_again_is(soon: SettlingSoon, looks: Looks) -> None:
    looks.again = [{"1.1": 0.05}]
    soon.look(["1.1", "1.2"], 0)
    assert [looks.next(), looks.next()] == [["1.1", "1.2"], ["1.1"]]


@pytest.mark.parametrize(
    "error", [sa.exc.OperationalError("SELECT", {}, Exception("away")), KeyError("a defect")]
)
def test_a_look_that_fails_is_left_to_the_sweep_and_the_next_takes_place(
    soon: SettlingSoon, looks: Looks, error: Exception
) -> None:
    looks.fails = [error]
    soon.look(["1.1"], 0)
    looks.next()
    soon.look(["1.2"], 0)
    assert looks.next() == ["1.2"]


def test_thousands_of_studies_of_one_association_are_looked_at_in_parts(
    soon: SettlingSoon, looks: Looks
) -> None:
    soon.look([f"1.{n:04d}" for n in range(1000)], 0)
    parts = [looks.next()]
    while sum(map(len, parts)) < 1000:
        parts.append(looks.next())
    assert max(map(len, parts)) <= 200
    assert len({uid for part in parts for uid in part}) == 1000
