"""What was found out about the time after the last image, as a table, beside what it should be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from statistics import median
from typing import TYPE_CHECKING

from benchmarks.section import Figures, Section, Target

if TYPE_CHECKING:
    from benchmarks.arrival import Timing, Way
    from benchmarks.bare import Parts

_TIMES, _MORE_S = 1.3, 0.5
ROWS = {
    "release by its sender, or settle_s": "releasing",
    "closing the study": "closing",
    "until the analysis begins": "beginning",
    "analysing and building": "analysing",
    "until sending begins": "taking",
    "sending until the last is stored": "delivering",
    "in all": "in_all",
    "without release or settle_s": "after",
    "inferences after it": "inferences",
    "seconds of those": "inference_s",
}
"""What is shown, and the attribute of a timing that says it."""


def of(timings: Mapping[Way, Sequence[Timing]], bare: Sequence[Parts], pause_s: float) -> Section:
    """Return the section."""
    (exams, *_) = map(len, timings.values())
    words = (
        f"An exam of four generated mammograms of 4096 x 3328 comes over one association, with"
        f" {pause_s:g} s after each view, to a node that stores its results in a PACS. Either its"
        " sender releases the association right after the last view, and nothing is waited for, or"
        " keeps it open, and `settle_s` is. The script does with the last view what must be done"
        " (decode, prepare, run, draw the pages, encode, send), with no node, no database and"
        f" nothing synced, in turns with the node. Of {exams} exams the median counts."
    )
    figures = (_by_the_node(timings), _by_the_script(bare))
    return Section("From the last view to the last result", words, figures, _targets(timings, bare))


def _by_the_node(timings: Mapping[Way, Sequence[Timing]]) -> Figures:
    rows = tuple(
        (name, *(f"{_median(several, attribute):.2f}" for several in timings.values()))
        for name, attribute in ROWS.items()
    )
    heads = ("after the last image", *(way.name for way in timings))
    return Figures("The node, in seconds", heads, rows)


def _by_the_script(bare: Sequence[Parts]) -> Figures:
    names = (*(part.name for part in fields(bare[0])), "in_all")
    cells = tuple(f"{median(getattr(one, name) for one in bare):.2f}" for name in names)
    heads = ("", *(name.replace("_", " ") for name in names))
    return Figures("The script, in seconds", heads, (("the last view", *cells),))


def _targets(timings: Mapping[Way, Sequence[Timing]], bare: Sequence[Parts]) -> tuple[Target, ...]:
    cost_s = median(one.in_all for one in bare)
    return tuple(
        Target(
            f"Results of an exam, {way.name}: at most {_TIMES} x what the script takes for the last"
            f" view, and {_MORE_S} s" + ("" if way.is_released else ", settle_s apart"),
            f"{_median(several, 'after'):.2f} s; {_TIMES} x {cost_s:.2f} + {_MORE_S} s",
            _median(several, "after") <= _TIMES * cost_s + _MORE_S,
        )
        for way, several in timings.items()
        if way.scores_early
    )


def _median(timings: Sequence[Timing], attribute: str) -> float:
    return median(float(getattr(one, attribute)) for one in timings)
