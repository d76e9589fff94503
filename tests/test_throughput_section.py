"""What benchmarks/throughput.py says of what it has measured."""

from __future__ import annotations

import os

from benchmarks.throughput import Work
from benchmarks.throughput_section import BARE, NODE, of

CORES = os.cpu_count() or 1


def work(wall_s: float, parent_mb: float = 0) -> Work:
    return Work(exams=10, wall_s=wall_s, cpu_s=wall_s, parent_mb=parent_mb, children_mb=200)


def verdicts(node_s: float, bare_s: float) -> list[str]:
    worked = {(1, NODE): [work(node_s, 300)], (1, BARE): [work(bare_s)]}
    return [target.verdict for target in of(worked, 10, 1).targets]


def test_three_quarters_of_the_loops_rate_are_enough() -> None:
    assert verdicts(node_s=13.3, bare_s=10) == ["yes"]
    assert verdicts(node_s=13.4, bare_s=10) == ["NO"]


def test_more_processes_gain_what_the_loop_gains_by_them() -> None:
    worked = {
        (1, NODE): [work(10, 300)],
        (1, BARE): [work(10)],
        (2, NODE): [work(9, 300)],
        (2, BARE): [work(5)],
    }
    words = {target.words: target.verdict for target in of(worked, 10, 1).targets}
    assert list(words.values())[:2] == ["yes", "NO"]
    assert [words[one] for one in words if "in place of" in one] == (["NO"] if CORES > 1 else [])
