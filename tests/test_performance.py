"""docs/performance.md says what was measured, and where a target is missed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.performance_page import MEASURED, NAME, Entry, Recorded, page, read, write
from benchmarks.section import Figures, Section, Target

DOCS = Path(__file__).parents[1] / "docs"
FAST = Target("Faster than a snail", "2.00 x", is_met=True)
SLOW = Target("Faster than a hare", "0.10 x", is_met=False)
FOUND = Section(
    "Running", "On a track.", (Figures("Seconds", ("who", "s"), (("I", "9"),)),), (FAST,)
)


@pytest.fixture
def recorded() -> Recorded:
    return Recorded(False, {"memory": "8 GB"}, {"arrival": Entry("2026-01-02", 3.4, FOUND)})


def test_the_page_is_what_was_recorded_and_nothing_was_added_by_hand() -> None:
    recorded = read(DOCS)
    assert recorded is not None
    assert (DOCS / NAME).read_text("utf-8") == page(recorded)


def test_what_was_recorded_is_read_as_it_was(recorded: Recorded, tmp_path: Path) -> None:
    write(recorded, tmp_path)
    assert read(tmp_path) == recorded


def test_the_page_shows_machine_figures_and_how_they_were_measured(recorded: Recorded) -> None:
    said = page(recorded)
    assert "All 1 targets are met" in said
    assert "| memory | 8 GB |" in said
    assert "On a track." in said
    assert "`python -m benchmarks.arrival`, on 2026-01-02" in said
    assert "| who | s |\n| --- | --- |\n| I | 9 |\n" in said
    assert "| Faster than a snail | 2.00 x | yes |" in said


def test_a_target_that_is_missed_is_said_first_and_in_its_place(recorded: Recorded) -> None:
    section = replace(FOUND, targets=(FAST, SLOW))
    said = page(recorded.having("arrival", Entry("2026-01-03", 3, section)))
    assert "Of 2 targets 1 are not met:\n\n- Faster than a hare: **0.10 x**\n" in said
    assert said.index("not met") < said.index("| memory |")
    assert "| Faster than a hare | 0.10 x | NO |" in said


def test_what_is_measured_anew_takes_its_own_place(recorded: Recorded) -> None:
    received = recorded.having("receive", Entry("2026-01-03", 1, FOUND))
    again = received.having("arrival", Entry("2026-01-04", 1, FOUND))
    assert [(name, entry.day) for name, entry in again.entries.items()] == [
        ("receive", "2026-01-03"),
        ("arrival", "2026-01-04"),
    ]


def test_what_was_not_measured_is_said(recorded: Recorded) -> None:
    whole = recorded
    for name in MEASURED:
        whole = whole.having(name, Entry("2026-01-03", 1, FOUND))
    assert "not measured here: `receive`, `captures`" in page(recorded)
    assert "not measured here" not in page(whole)


def test_a_trial_is_said_to_be_one(recorded: Recorded) -> None:
    words = "numbers say nothing"
    assert words in page(replace(recorded, is_trial=True))
    assert words not in page(recorded)
