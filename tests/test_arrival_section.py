"""What benchmarks/arrival.py says of what it has measured."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.arrival import WAYS, Timing, Way, require_compressed
from benchmarks.arrival_section import of
from benchmarks.bare import Parts, takes_jpegls

RELEASED, KEPT_OPEN, SCORED_AT_THE_END = WAYS
AS_IT_SHOULD = Timing(
    releasing=0.1,
    closing=0.1,
    beginning=0.1,
    analysing=1,
    taking=0.1,
    delivering=0.3,
    inferences=1,
    inference_s=0.2,
)
KEPT = replace(AS_IT_SHOULD, releasing=3)
"""It waited for `settle_s`."""
FOUND = {RELEASED: AS_IT_SHOULD, KEPT_OPEN: KEPT, SCORED_AT_THE_END: AS_IT_SHOULD}
SCRIPT = Parts(decode=0.2, prepare=0.2, run=0.1, build=0.3, encode=0.1, send=0.1)
"""A second, so that 1.8 s are allowed."""


def verdicts(found: dict[Way, Timing]) -> list[str]:
    section = of({way: [timing] for way, timing in found.items()}, [SCRIPT], 3)
    return [target.verdict for target in section.targets]


def test_of_who_keeps_the_association_open_the_quiet_time_is_not_counted() -> None:
    section = of({way: [timing] for way, timing in FOUND.items()}, [SCRIPT], 3)
    assert [target.verdict for target in section.targets] == ["yes", "yes"]
    assert section.targets[0].measured == "1.70 s; 1.3 x 1.00 + 0.5 s"
    assert section.targets[1].measured == "1.60 s; 1.3 x 1.00 + 0.5 s"


def test_how_long_the_node_takes_to_hear_of_a_release_is_its_own_time() -> None:
    deaf = replace(AS_IT_SHOULD, releasing=0.3)
    assert verdicts(FOUND | {RELEASED: deaf}) == ["NO", "yes"]


def test_each_clock_is_judged_by_itself_and_what_is_scored_at_the_end_is_not() -> None:
    assert verdicts(FOUND | {KEPT_OPEN: replace(KEPT, analysing=1.3)}) == ["yes", "NO"]
    late = FOUND | {SCORED_AT_THE_END: replace(AS_IT_SHOULD, analysing=9)}
    assert verdicts(late) == ["yes", "yes"]


def test_of_several_exams_the_median_counts() -> None:
    several = {way: [one, one, replace(one, delivering=9)] for way, one in FOUND.items()}
    section = of(several, [SCRIPT] * 3, 3)
    assert [target.verdict for target in section.targets] == ["yes", "yes"]


def test_nothing_is_measured_of_an_archive_that_gets_no_compressed_captures(
    tmp_path: Path,
) -> None:
    with takes_jpegls(tmp_path) as pacs, pytest.raises(SystemExit, match="not as JPEG-LS"):
        require_compressed(pacs)
