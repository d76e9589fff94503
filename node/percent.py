"""Shares of 0 to 1 in percent, in the same figures wherever they stand."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from node.result import Measurement

_MOST_DECIMALS = 12
"""With two figures before them what a Decimal String has room for (PS3.5 6.2)."""


def share_in_percent(share: float, decimals: int = 1) -> str:
    """Return "12.3 %", without zeros behind; never 0 or 100 unless it is that."""
    text = ""
    for count in range(decimals, _MOST_DECIMALS + 1):
        text = f"{100 * share:.{count}f}"
        if share in (0, 1) or float(text) not in (0, 100):
            break
    return f"{text.rstrip('0').rstrip('.')} %"


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
            return replace(score, decimals=decimals)
    return score
