"""What was found out about throughput, as tables, beside what it should be."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from statistics import median
from typing import TYPE_CHECKING

from benchmarks.section import Figures, Section, Target
from node.config import InferenceSettings

if TYPE_CHECKING:
    from benchmarks.throughput import Work

LEAST_RATE = 0.75
MOST_MB = InferenceSettings().memory_mb
"""As much as a process of networks may take: `memory_mb`, as the node comes."""
NODE, BARE = "node", "bare"


def of(worked: Mapping[tuple[int, str], Sequence[Work]], rounds: int) -> Section:
    """Return the section."""
    several = sorted({processes for processes, _ in worked})
    queues = " and ".join(f"{worked[one, NODE][0].exams} with {_processes(one)}" for one in several)
    words = (
        f"A queue of exams ({queues}) of four generated mammograms of 4096 x 3328, which a node has"
        " received and settled, is worked on in turns by a bare loop and by a node: the loop"
        " decodes, prepares, runs, draws and encodes the same pages and writes them, with no DICOM"
        " object, no database and nothing synced; the node also builds the objects and sends them"
        " to DCMTK's storescp. As many processes run networks in both, each with one thread of"
        " ONNX Runtime. The node has a process of its own beside them, which draws the pages with"
        " as many threads as there are cores, compresses with two and writes with four: with one"
        " process it has more cores at its disposal than the loop, and its rate alone says little;"
        " the CPU beside it says what the node costs. While one exam is drawn, written and sent,"
        " others are decoded and run. Images are not scored as they come. Both begin each of"
        f" {rounds} rounds at the same state, in turns; of the rounds the median counts."
    )
    targets = [_rate_target(worked, processes) for processes in several]
    targets += [*_scale_target(worked, several), _memory_target(worked, several)]
    return Section("A queue of exams", words, (_work(worked), _ratios(worked)), tuple(targets))


def _work(worked: Mapping[tuple[int, str], Sequence[Work]]) -> Figures:
    rows = []
    for (processes, who), works in sorted(worked.items()):
        parent_mb = median(one.parent_mb for one in works)
        rows.append(
            (
                who,
                str(processes),
                f"{median(one.per_minute for one in works):.1f}",
                f"{median(one.cpu_per_exam for one in works):.2f}",
                f"{parent_mb:.0f}" if parent_mb else "",
                f"{median(one.children_mb for one in works):.0f}",
            )
        )
    heads = ("who", "processes", "exams a minute", "CPU, s per exam")
    memory = ("most memory, MB", "of a process of networks, MB")
    return Figures("Rate, CPU and memory", (*heads, *memory), tuple(rows))


def _ratios(worked: Mapping[tuple[int, str], Sequence[Work]]) -> Figures:
    rows = tuple(
        (str(processes), f"{_rate(worked, processes):.2f}", f"{_cpu(worked, processes):.2f}")
        for processes in sorted({processes for processes, _ in worked})
    )
    heads = ("processes", "rate", "the loop's CPU, as a share of the node's")
    return Figures("The node beside the loop, whose rate is 1", heads, rows)


def _rate(worked: Mapping[tuple[int, str], Sequence[Work]], processes: int) -> float:
    pairs = zip(worked[processes, NODE], worked[processes, BARE], strict=True)
    return median(node.per_minute / bare.per_minute for node, bare in pairs)


def _cpu(worked: Mapping[tuple[int, str], Sequence[Work]], processes: int) -> float:
    pairs = zip(worked[processes, NODE], worked[processes, BARE], strict=True)
    return median(bare.cpu_per_exam / node.cpu_per_exam for node, bare in pairs)


def _rate_target(worked: Mapping[tuple[int, str], Sequence[Work]], processes: int) -> Target:
    rate = _rate(worked, processes)
    words = f"A queue, {_processes(processes)}: {LEAST_RATE} x the rate of the loop"
    said = f"{rate:.2f} x; the loop's CPU is {_cpu(worked, processes):.2f} x the node's"
    return Target(words, said, rate >= LEAST_RATE)


def _processes(number: int) -> str:
    return "one process" if number == 1 else f"{number} processes"


def _memory_target(
    worked: Mapping[tuple[int, str], Sequence[Work]], several: Sequence[int]
) -> Target:
    """Return that neither takes more than a process of networks may."""
    works = [one for processes in several for one in worked[processes, NODE]]
    own, child = max(one.parent_mb for one in works), max(one.children_mb for one in works)
    words = f"A queue: the node, and each process of networks, below {MOST_MB} MB of memory"
    return Target(words, f"{own:.0f} and {child:.0f} MB", max(own, child) < MOST_MB)


def _scale_target(
    worked: Mapping[tuple[int, str], Sequence[Work]], several: Sequence[int]
) -> list[Target]:
    """Return that the node gains by more processes what the loop gains by them on this machine."""
    fewest, cores = several[0], os.cpu_count() or 1
    most = max((one for one in several if one <= cores), default=fewest)
    if most == fewest:
        return []
    node, bare = (
        median(one.per_minute for one in worked[most, who])
        / median(one.per_minute for one in worked[fewest, who])
        for who in (NODE, BARE)
    )
    words = f"A queue, {most} processes in place of {fewest}: 0.75 x what the loop gains"
    return [Target(words, f"{node:.2f} x the rate; the loop {bare:.2f} x", node >= 0.75 * bare)]
