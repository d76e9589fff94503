"""The level of a study is the highest that a model may give, and what it was is not forgotten."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations

import pytest
from ledgers import MODEL

from node.result import Priority, Result, Triage
from node.triage import FormerLevel, change_in_words, changes, deciding, with_level_found_before

URGENT, SOON, ROUTINE = Priority.URGENT, Priority.SOON, Priority.ROUTINE
NOT_ASSESSED = Priority.NOT_ASSESSED


def said(level: Priority | None, *, is_demonstration: bool = False, name: str = "one") -> Result:
    model = replace(MODEL, name=name, is_demonstration=is_demonstration)
    return Result(model, ("1.1",), triage=None if level is None else Triage(level, "why"))


def level_of(*results: Result, demonstration_may_rank: bool = False) -> Priority | None:
    by = deciding(results, demonstration_may_rank=demonstration_may_rank)
    return by.triage.level if by is not None and by.triage is not None else None


def former(*levels: Priority) -> list[FormerLevel]:
    return [FormerLevel(number, level) for number, level in enumerate(levels, start=1)]


def test_the_highest_level_is_the_study_s_whichever_model_comes_first() -> None:
    falling = (URGENT, SOON, NOT_ASSESSED, ROUTINE)
    for number, highest in enumerate(falling):
        for some in permutations(falling[number:]):
            assert level_of(*map(said, some)) == highest


def test_what_no_model_has_judged_whole_is_above_routine() -> None:
    assert level_of(said(ROUTINE), said(NOT_ASSESSED)) == NOT_ASSESSED


def test_models_that_do_not_triage_give_no_level() -> None:
    assert level_of(said(None), said(None)) is None
    assert level_of(said(None), said(ROUTINE)) == ROUTINE


def test_of_equals_the_first_decides() -> None:
    results = [said(ROUTINE, name="a"), said(SOON, name="b"), said(SOON, name="c")]
    by = deciding(results)
    assert by is results[1]


@pytest.mark.parametrize("found", [URGENT, SOON])
def test_a_level_found_before_stays_and_says_what_is_found_now(found: Priority) -> None:
    kept = with_level_found_before(said(NOT_ASSESSED), found)
    assert kept.triage is not None
    assert kept.triage.level == found
    assert kept.triage.why.startswith("found by an earlier attempt, of which there is no report")
    assert "; now not assessed: " in kept.triage.why
    assert kept.triage.score is None


def test_a_level_found_before_that_is_no_higher_changes_nothing() -> None:
    for now, found in (
        (URGENT, URGENT),
        (URGENT, SOON),
        (ROUTINE, ROUTINE),
        (ROUTINE, NOT_ASSESSED),
    ):
        result = said(now)
        assert with_level_found_before(result, found) is result


def test_a_demonstration_gives_no_level_unless_that_is_allowed() -> None:
    shown = said(URGENT, is_demonstration=True)
    assert level_of(shown) is None
    assert level_of(shown, said(ROUTINE)) == ROUTINE
    assert level_of(shown, said(ROUTINE), demonstration_may_rank=True) == URGENT


def test_a_level_that_has_always_been_the_same_has_no_change() -> None:
    assert change_in_words([], None) == ""
    assert change_in_words([], URGENT) == ""
    assert change_in_words(former(SOON, SOON), SOON) == ""


def test_a_lowered_level_is_told_in_every_later_version() -> None:
    assert change_in_words(former(URGENT), ROUTINE) == "urgent in version 1, now routine"
    later = change_in_words(former(URGENT, ROUTINE, ROUTINE), ROUTINE)
    assert later == "urgent in version 1, now routine"
    assert [one.number for one in changes(former(URGENT, URGENT, SOON), ROUTINE)] == [2, 3]
    again = change_in_words(former(URGENT, ROUTINE), URGENT)
    assert again == "urgent in version 1, routine in version 2, now urgent"


def test_a_level_that_no_model_gives_any_more_is_told() -> None:
    words = "soon in version 1, now none: no model gives one any more"
    assert change_in_words(former(SOON), None) == words
