"""What benchmarks/arrival.py says of what it has measured."""

from __future__ import annotations

from dataclasses import replace

from benchmarks.arrival import WAYS, Timing
from benchmarks.arrival_section import of
from benchmarks.bare import Parts

AS_IT_SHOULD = Timing(
    releasing=3,
    closing=0.1,
    beginning=0.1,
    analysing=1,
    taking=0.1,
    delivering=0.4,
    inferences=1,
    inference_s=0.2,
)
SCRIPT = Parts(decode=0.2, prepare=0.2, run=0.1, build=0.3, encode=0.1, send=0.1)
"""A second, so that 1.8 s are allowed."""


def test_the_time_that_a_sender_or_the_settings_take_is_not_counted() -> None:
    section = of({way: [AS_IT_SHOULD] for way in WAYS}, [SCRIPT], 3)
    assert [target.verdict for target in section.targets] == ["yes", "yes"]
    assert section.targets[0].measured == "1.70 s; 1.3 x 1.00 + 0.5 s"


def test_each_clock_is_judged_by_itself_and_what_is_scored_at_the_end_is_not() -> None:
    slow = replace(AS_IT_SHOULD, analysing=1.2)
    section = of(
        {way: [slow if not way.is_released else AS_IT_SHOULD] for way in WAYS}, [SCRIPT], 3
    )
    assert [target.verdict for target in section.targets] == ["yes", "NO"]
    late = {way: [AS_IT_SHOULD if way.scores_early else slow] for way in WAYS}
    assert [target.verdict for target in of(late, [SCRIPT], 3).targets] == ["yes", "yes"]


def test_of_several_exams_the_median_counts() -> None:
    slow = replace(AS_IT_SHOULD, delivering=9)
    several = [AS_IT_SHOULD, AS_IT_SHOULD, slow]
    section = of({way: several for way in WAYS}, [SCRIPT] * 3, 3)
    assert [target.verdict for target in section.targets] == ["yes", "yes"]
