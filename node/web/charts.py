"""A histogram of scores as shapes, for an SVG that needs no style within it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

_LEFT, _WIDTH = 20.0, 420.0
_BOTTOM, _HEIGHT = 125.0, 112.0
"""In units of the drawing, whose origin is its top left corner."""


@dataclass(frozen=True, slots=True)
class Bar:
    """A rectangle, with what it says."""

    x: str
    y: str
    width: str
    height: str
    words: str


@dataclass(frozen=True, slots=True)
class Chart:
    """The scores of today as bars, beside those of before as a line."""

    bars: Sequence[Bar]
    line: str
    """The path of the steps; "" if there was nothing before."""
    now: int
    """How many scores are in the bars."""
    past: int
    words: str


def score_chart(now: Sequence[int], past: Sequence[int]) -> Chart | None:
    """Return a drawing of shares of analyses by score, None if there is no score at all.

    Both are counts in as many bins, of 0 to 1. Shares, not counts: a day beside a month.
    """
    if not sum(now) and not sum(past):
        return None
    shares = [_shares(now), _shares(past)]
    most = max(max(shares[0]), max(shares[1]))
    step = _WIDTH / len(now)
    tops = [[_BOTTOM - _HEIGHT * share / most for share in of] for of in shares]
    bars = [
        Bar(
            x=f"{_LEFT + n * step + 1:.1f}",
            y=f"{top:.1f}",
            width=f"{step - 2:.1f}",
            height=f"{_BOTTOM - top:.1f}",
            words=f"score {n / len(now):.2f} to {(n + 1) / len(now):.2f}: "
            f"{now[n]} today, {past[n]} before",
        )
        for n, top in enumerate(tops[0])
    ]
    return Chart(bars, _steps(tops[1], step) if sum(past) else "", sum(now), sum(past), _words(now))


def _shares(counts: Sequence[int]) -> list[float]:
    total = sum(counts)
    return [count / total if total else 0.0 for count in counts]


def _steps(tops: Sequence[float], step: float) -> str:
    level = [f"V{top:.1f}H{_LEFT + (n + 1) * step:.1f}" for n, top in enumerate(tops)]
    return f"M{_LEFT:.1f} {_BOTTOM:.1f}{''.join(level)}V{_BOTTOM:.1f}"


def _words(now: Sequence[int]) -> str:
    total = sum(now)
    if not total:
        return "Scores: none today"
    half = sum(now[len(now) // 2 :])
    return f"Scores of {total} analyses today, {half} of them 0.5 or more"
