"""docs/shift.md says the limits that the code has."""

from __future__ import annotations

from pathlib import Path

from node.ledger.exam_scores import EXAMS_AT_ONCE
from node.overview import likeness, silence
from node.overview.likeness import LIMITS, Aspect

PAGE = " ".join((Path(__file__).parents[2] / "docs" / "shift.md").read_text("utf-8").split())


def test_the_page_says_what_is_compared_and_from_when_on_it_has_shifted() -> None:
    assert f"the **last {likeness.WINDOW} exams** are compared" in PAGE
    assert f"the **first {likeness.FIRST} delivered**" in PAGE
    assert f"one of the last {likeness.ENDS} exams" in PAGE
    assert f"for whatever reason | all | G = {LIMITS[Aspect.REFUSALS]:g} |" in PAGE
    assert f"urgent, soon or routine | G = {LIMITS[Aspect.URGENT]:g} |" in PAGE
    assert f"those with a score | G = {LIMITS[Aspect.SCORES]:g}," in PAGE
    blocks = " and of ".join(str(block) for block in likeness.BLOCKS_EXAMS)
    assert f"overlapping blocks of {blocks} exams" in PAGE
    assert f"at least 1 and at most {likeness.MOST_SPREAD:g}" in PAGE
    assert f"{EXAMS_AT_ONCE:,} exams a sweep" in PAGE


def test_the_page_says_what_is_learnt_of_a_sender_and_when_it_is_silent() -> None:
    numbers = {8: "eight", 3: "three"}
    assert f"over the {numbers[silence.WEEKS]} weeks before the last one" in PAGE
    assert f"the first {numbers[silence.LEAST_WEEKS]} weeks of a sender" in PAGE
    assert f"fewer than {silence.LEAST_KNOWN} studies" in PAGE
    assert f"At least {silence.LEAST_STUDIES:g} studies are missing" in PAGE
    assert f"at least {silence.TIMES:g} times as many" in PAGE
