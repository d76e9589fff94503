"""Numbers as people read them, the same wherever they stand: shares in percent, and counts."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from node.result import Measurement

_MOST_DECIMALS = 12
"""With two figures before them what a Decimal String has room for (PS3.5 6.2)."""


def share_in_figures(share: float, decimals: int = 1) -> str:
    """Return "12.3"; with more decimals where it would be 0 or 100 but is not."""
    text = ""
    for count in range(decimals, _MOST_DECIMALS + 1):
        text = f"{100 * share:.{count}f}"
        if share in (0, 1) or float(text) not in (0, 100):
            break
    return text


def share_in_percent(share: float, decimals: int = 1) -> str:
    """Return "12.3 %", without zeros behind; never 0 or 100 unless it is that."""
    figures = share_in_figures(share, decimals)
    return f"{figures.rstrip('0').rstrip('.') if '.' in figures else figures} %"


def threshold_in_percent(threshold: float) -> str:
    """Return a threshold to the last figure that somebody wrote: "12.3456 %"."""
    return share_in_percent(threshold, 10)


def on_its_side(score: Measurement, thresholds: Iterable[float]) -> Measurement:
    """Return a score in percent with as many decimals as keep it on its side of thresholds.

    69.6 is "below 70 %", and written without decimals it would not be.
    """

    def reached(percent: float) -> list[bool]:
        return [percent / 100 >= threshold for threshold in of]

    of = tuple(thresholds)
    for decimals in range(score.decimals, _MOST_DECIMALS + 1):
        if reached(float(f"{score.value:.{decimals}f}")) == reached(score.value):
            break
    return replace(score, decimals=decimals)


def counted(count: int, word: str, words: str = "") -> str:
    """Return how many there are: "1 study", "2 studies"."""
    return f"{count} {word if count == 1 else words or f'{word}s'}"


def counted_studies(count: int) -> str:
    """Return "1 study", or "2 studies"."""
    return counted(count, "study", "studies")
