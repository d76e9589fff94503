"""What was found out about throughput, as tables, beside what it should be."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from statistics import median
from typing import TYPE_CHECKING

from benchmarks.section import Figures, Section, Target

if TYPE_CHECKING:
    from benchmarks.throughput import Work

LEAST_RATE = 0.75
NODE, BARE = "node", "bare"


def of(worked: Mapping[tuple[int, str], Sequence[Work]], exams: int, rounds: int) -> Section:
    """Return the section."""
    words = (
        f"A queue of {exams} exams of four generated mammograms of 4096 x 3328, which a node has"
        " received and settled, is worked on in turns by a bare loop and by a node: the loop"
        " decodes, prepares, runs, draws and encodes the same pages and writes them, with no DICOM"
        " object, no database and nothing synced; the node also builds the objects and sends them"
        " to DCMTK's storescp. As many processes run networks in both, each with one thread of"
        f" ONNX Runtime. Images are not scored as they come. Of {rounds} rounds the median counts."
    )
    several = sorted({processes for processes, _ in worked})
    targets = [_rate_target(worked, processes) for processes in several]
    targets += _scale_target(worked, several)
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
    heads = ("processes", "rate", "CPU of the loop, of the node's as a share")
    return Figures("The node beside the loop, whose rate is 1", heads, rows)


def _rate(worked: Mapping[tuple[int, str], Sequence[Work]], processes: int) -> float:
    pairs = zip(worked[processes, NODE], worked[processes, BARE], strict=True)
    return median(node.per_minute / bare.per_minute for node, bare in pairs)


def _cpu(worked: Mapping[tuple[int, str], Sequence[Work]], processes: int) -> float:
    pairs = zip(worked[processes, NODE], worked[processes, BARE], strict=True)
    return median(bare.cpu_per_exam / node.cpu_per_exam for node, bare in pairs)


def _rate_target(worked: Mapping[tuple[int, str], Sequence[Work]], processes: int) -> Target:
    rate = _rate(worked, processes)
    many = "one process" if processes == 1 else f"{processes} processes"
    words = f"A queue, {many}: {LEAST_RATE} x the rate of the loop"
    return Target(words, f"{rate:.2f} x", rate >= LEAST_RATE)


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
