"""What is due when: the table of waits, and what follows from it for any two that wait."""

from __future__ import annotations

import re
from itertools import product
from pathlib import Path

import pytest
from examples import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from waiting import RUSHES, Rush, by_order, exams, in_line, longest_by_kind, overtaken_by_s, turns

from node.ledger.order import OVERTAKEN_WITHIN_S, SenderPriority, due_at, wait_s
from node.ledger.states import Stage
from node.result import Priority

SENDERS: tuple[SenderPriority, ...] = ("high", "normal", "low")
LEVELS = (Priority.URGENT, Priority.SOON, Priority.NOT_ASSESSED, Priority.ROUTINE, None)
ALL = [*product(Stage, LEVELS, SENDERS)]


def test_of_what_came_together_triage_is_first_and_then_the_level_decides() -> None:
    waits = [
        wait_s(Stage.TRIAGE, Priority.URGENT, "low"),
        *(wait_s(Stage.TRIAGE, None, sender) for sender in SENDERS),
        *(wait_s(Stage.REPORT, level, sender) for level in LEVELS[:4] for sender in SENDERS),
    ]
    assert waits == sorted(set(waits))
    assert len(waits) == 16


def test_only_urgent_and_soon_are_known_before_triage() -> None:
    unknown = [wait_s(Stage.TRIAGE, level) for level in (Priority.NOT_ASSESSED, Priority.ROUTINE)]
    assert unknown == [wait_s(Stage.TRIAGE, None)] * 2
    assert wait_s(Stage.TRIAGE, Priority.SOON, "low") == wait_s(Stage.TRIAGE, Priority.URGENT) == 0


def test_a_study_without_a_level_is_as_a_routine_one() -> None:
    for sender in SENDERS:
        routine = wait_s(Stage.REPORT, Priority.ROUTINE, sender)
        assert wait_s(Stage.REPORT, None, sender) == routine


def test_the_longest_wait_is_the_bound_that_is_stated() -> None:
    assert max(wait_s(*one) for one in ALL) == OVERTAKEN_WITHIN_S == 4 * 3600


@settings(max_examples=examples(150))
@given(st.sampled_from(ALL), st.sampled_from(ALL), st.floats(0, 86400), st.floats(0, 86400))
def test_nothing_is_overtaken_by_what_came_as_much_later_as_the_bound(
    one: tuple[Stage, Priority | None, SenderPriority],
    other: tuple[Stage, Priority | None, SenderPriority],
    since: float,
    later_s: float,
) -> None:
    (stage, level, sender), (their_stage, their_level, their_sender) = one, other
    due = due_at(stage, level, since, sender)
    theirs = due_at(their_stage, their_level, since + later_s, their_sender)
    if later_s >= OVERTAKEN_WITHIN_S:
        assert due <= theirs


@pytest.mark.parametrize("rush", RUSHES, ids=lambda rush: rush.name)
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_nothing_starves_however_much_comes(rush: Rush, seed: int) -> None:
    coming = exams(rush, seed)
    ordered, lined = list(turns(coming, by_order)), list(turns(coming, in_line))
    assert len(ordered) == 2 * len(coming)
    assert overtaken_by_s(ordered) < OVERTAKEN_WITHIN_S
    longest, beside = longest_by_kind(ordered), longest_by_kind(lined)
    assert max(longest.values()) < max(beside.values()) + OVERTAKEN_WITHIN_S
    assert longest["report, urgent"] < longest["report, soon"] < longest["report, routine"]
    assert longest["triage, sender high"] <= longest["triage, sender low"]


def test_in_a_rush_of_an_hour_an_urgent_report_waits_a_third_as_long_as_in_a_line() -> None:
    coming = exams(Rush(2.0, 1), seed=1)
    ordered = longest_by_kind(list(turns(coming, by_order)))
    lined = longest_by_kind(list(turns(coming, in_line)))
    assert ordered["report, urgent"] < lined["report, urgent"] / 3


def test_the_document_has_the_table() -> None:
    text = (Path(__file__).parents[2] / "docs" / "triage.md").read_text("utf-8")
    rows = re.findall(r"(?m)^\| ((?:triage|report|delivery)[^|]*) \| ([0-9, ]+) \|$", text)
    minutes = [[int(one) * 60 for one in row.split(",")] for _, row in rows]
    triage, report = Stage.TRIAGE, Stage.REPORT
    levels = LEVELS[:4]
    assert minutes == [
        [wait_s(triage, Priority.URGENT)],
        [wait_s(triage, None, sender) for sender in SENDERS],
        *([wait_s(report, level, sender) for sender in SENDERS] for level in levels),
        [wait_s(report, level) for level in levels],
    ]
