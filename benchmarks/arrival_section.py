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
    "until the association has ended, or settle_s": "releasing",
    "closing the study": "closing",
    "until the analysis begins": "beginning",
    "analysing and building": "analysing",
    "until sending begins": "taking",
    "sending until the last is stored": "delivering",
    "in all": "in_all",
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
        " nothing synced, in turns with the node. The PACS takes captures as JPEG-LS, and gets them"
        " so from both. Of one that releases, all that passes is the node's; of one that does not,"
        f" `settle_s` is taken off. Of {exams} exams the median counts. In the node, a view is"
        " decoded and run while the next one comes; once the study is complete, which with an open"
        " association is after `settle_s`, the pages are drawn, all objects are"
        " built and synced, and recorded, one after the other, before the first is sent: so much"
        " is owed to durability. Pages are drawn by as many threads as there are cores, and"
        " compressed while those before them are sent."
    )
    figures = (_by_the_node(timings), _by_the_script(bare))
    return Section("From the last view to the last result", words, figures, _targets(timings, bare))


def _by_the_node(timings: Mapping[Way, Sequence[Timing]]) -> Figures:
    rows = tuple(
        (name, *(f"{_median(several, attribute):.2f}" for several in timings.values()))
        for name, attribute in ROWS.items()
    )
    judged = (f"{_judged(way, several):.2f}" for way, several in timings.items())
    rows = (*rows, ("of that the node's own", *judged))
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
            f"{_judged(way, several):.2f} s; {_TIMES} x {cost_s:.2f} + {_MORE_S} s",
            _judged(way, several) <= _TIMES * cost_s + _MORE_S,
        )
        for way, several in timings.items()
        if way.scores_early
    )


def _judged(way: Way, several: Sequence[Timing]) -> float:
    """Return the seconds that are the node's own: how it hears of a release is, `settle_s` not."""
    return _median(several, "in_all" if way.is_released else "without_settle_s")


def _median(timings: Sequence[Timing], attribute: str) -> float:
    return median(float(getattr(one, attribute)) for one in timings)
