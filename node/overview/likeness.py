"""Whether exams are like the first ones: the statistics of "shifted", without a ledger.

Three shares of a sender's last `WINDOW` exams are compared with those of its first `FIRST`, which
are frozen (`ScoreReference`): exams of which the model refused an image; exams that it calls
urgent, of those that it could judge; and, of those with a score, exams that reach each of about
twenty steps (the lowest of the first scores, their 5 %, 10 %, ... 95 % quantiles, and more than the
highest), which together are the distribution. One test serves for all: the likelihood ratio of two
shares, G = 2 sum O ln(O / E) over their table of four (Woolf 1957; Sokal and Rohlf, Biometry,
chapter 17). Of scores the highest of all steps counts: Berk and Jones (1979) for two samples, a
Kolmogorov-Smirnov test whose steps are weighed by how sure each is. It needs no scores of a certain
shape; scores that are alike only make for fewer different steps.

First exams that come in runs, such as one day a week of another kind, spread more than chance does.
How much more is measured once (`Spread`: the variance between overlapping blocks of 25 and of 50
exams, over that of single exams; the greater), and G is divided by it, as of overdispersed counts
is usual (McCullagh and Nelder, Generalized Linear Models, 4.5). It is at least 1, and at most
`MOST_SPREAD`: a first time in which something changed must not blind for good.

`LIMITS` are set by simulation, not by the distribution of G: windows overlap, each of a year's ends
is looked at, and the first exams are a sample themselves (benchmarks/alarms.py, docs/shift.md).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

FIRST = 300
"""Exams to compare with."""
WINDOW = 100
"""Exams that are compared with them."""
ENDS = 50
"""Of windows: each that ends with one of so many last exams is looked at. So none is missed between
two looks, and a shift that comes and goes at its limit is one."""
VIEW = WINDOW + ENDS - 1
"""Exams that are looked at."""
BLOCKS_EXAMS = (25, 50)
"""As many exams are a block, in which exams may be alike: about a day's, and two."""
MOST_SPREAD = 4.0

ExamNumbers = NDArray[np.float64]


class Aspect(StrEnum):
    """What may have shifted."""

    REFUSALS = "refusals"
    URGENT = "urgent"
    SCORES = "scores"


LIMITS: Mapping[Aspect, float] = {Aspect.REFUSALS: 16.0, Aspect.URGENT: 16.0, Aspect.SCORES: 20.0}
"""From which G on it has. Two shares at one moment would reach 16 by chance 6 times in 100,000."""


@dataclass(frozen=True, slots=True)
class Exams:
    """What a model said of exams, one after the other; each array has one number an exam."""

    refused: ExamNumbers
    """1 if it refused an image, else 0."""
    urgent: ExamNumbers
    """1 if the exam is urgent, 0 if another level, NaN if it was not judged, or has none."""
    scores: ExamNumbers
    """0..1, NaN if there is none."""

    def __len__(self) -> int:
        return len(self.refused)


@dataclass(frozen=True, slots=True)
class HowMany:
    """How many of how many."""

    count: int
    of: int


@dataclass(frozen=True, slots=True)
class Spread:
    """How many times as much as by chance first exams vary in blocks, at least 1."""

    refusals: float = 1.0
    urgent: float = 1.0
    scores: float = 1.0

    def of(self, aspect: Aspect) -> float:
        """Return that of an aspect."""
        by_aspect = {Aspect.REFUSALS: self.refusals, Aspect.URGENT: self.urgent}
        return by_aspect.get(aspect, self.scores)


@dataclass(frozen=True, slots=True)
class ScoreReference:
    """The first exams, as they are frozen. With none: the first are those after `until`."""

    until: float
    """When the last of them was analysed, epoch seconds."""
    exams: int = 0
    refused: HowMany = HowMany(0, 0)
    urgent: HowMany = HowMany(0, 0)
    scores: tuple[float, ...] = ()
    """Rising."""
    spread: Spread = Spread()


@dataclass(frozen=True, slots=True)
class Shifted:
    """An aspect in which a window of exams is not like the first."""

    aspect: Aspect
    strength: float
    """G, divided by the spread."""
    first: HowMany
    now: HowMany
    """In the window: the newest if that has shifted, else the one that has shifted most."""
    begin: int
    """The window, as places in the exams: this and the following `WINDOW`."""
    since: int
    """From which exam on they are least like the first ones: where it may have begun."""
    at_least: float | None = None
    """Of scores: the score that the exams of both shares reach."""


def reference_of(exams: Exams, until: float) -> ScoreReference:
    """Return what is kept of the first exams, in the order in which they were analysed."""
    scores, urgent = _known(exams.scores), _known(exams.urgent)
    rank = np.searchsorted(np.sort(scores), scores, "left") + np.searchsorted(
        np.sort(scores), scores, "right"
    )
    return ScoreReference(
        until=until,
        exams=len(exams),
        refused=HowMany(int(exams.refused.sum()), len(exams)),
        urgent=HowMany(int(urgent.sum()), len(urgent)),
        scores=tuple(float(score) for score in np.sort(scores)),
        spread=Spread(_spread(exams.refused), _spread(urgent), _spread(rank.astype(float))),
    )


def strengths(reference: ScoreReference, exams: Exams) -> dict[Aspect, ExamNumbers]:
    """Return by aspect how unlike the first each window of `WINDOW` exams is: G by the spread.

    The first number is of the window that ends with exam `WINDOW`; without so many there is none.
    """
    return {aspect: _strongest(reference, exams, aspect) for aspect in Aspect}


def shifted_aspects(reference: ScoreReference, exams: Exams) -> list[Shifted]:
    """Return in what any window of these exams has shifted."""
    found = []
    for aspect, values in strengths(reference, exams).items():
        is_beyond = values >= LIMITS[aspect]
        if not is_beyond.any():
            continue
        begin = len(values) - 1 if is_beyond[-1] else int(np.argmax(values))
        found.append(_described(reference, exams, aspect, begin))
    return found


def _strongest(reference: ScoreReference, exams: Exams, aspect: Aspect) -> ExamNumbers:
    if len(exams) < WINDOW:
        return np.zeros(0)
    hits, first, of_first = _steps(reference, exams, aspect)
    of_now = _in_windows(~np.isnan(hits[:, :1]))
    ratios = likelihood_ratio(first, of_first, _in_windows(np.nan_to_num(hits)), of_now)
    highest: ExamNumbers = ratios.max(axis=1, initial=0.0) / reference.spread.of(aspect)
    return highest


def _described(reference: ScoreReference, exams: Exams, aspect: Aspect, begin: int) -> Shifted:
    hits, first, of_first = _steps(reference, exams, aspect)
    window = hits[begin : begin + WINDOW]
    counts, known = np.nansum(window, axis=0), (~np.isnan(window[:, 0])).sum()
    ratios = likelihood_ratio(first, of_first, counts, known)
    step = int(np.argmax(ratios))
    tail = hits[::-1, step]
    of_tail = np.cumsum(~np.isnan(tail)).astype(float)
    since = likelihood_ratio(first[step], of_first, np.cumsum(np.nan_to_num(tail)), of_tail)
    return Shifted(
        aspect=aspect,
        strength=float(ratios[step]) / reference.spread.of(aspect),
        first=HowMany(int(first[step]), int(of_first)),
        now=HowMany(int(counts[step]), int(known)),
        begin=begin,
        since=len(exams) - 1 - int(np.argmax(since)),
        at_least=_steps_of(reference.scores)[step] if aspect is Aspect.SCORES else None,
    )


def _steps(
    reference: ScoreReference, exams: Exams, aspect: Aspect
) -> tuple[ExamNumbers, ExamNumbers, float]:
    """Return which exams reach each step (NaN: not counted), and how many of the first did."""
    if aspect is not Aspect.SCORES:
        is_refusals = aspect is Aspect.REFUSALS
        share = reference.refused if is_refusals else reference.urgent
        hits = exams.refused if is_refusals else exams.urgent
        return hits[:, None], np.array([float(share.count)]), float(share.of)
    steps = _steps_of(reference.scores)
    scores = exams.scores[:, None]
    hits = np.where(np.isnan(scores), np.nan, scores >= np.array(steps)[None, :])
    below = np.searchsorted(np.array(reference.scores), steps, "left")
    return hits, len(reference.scores) - below.astype(float), float(len(reference.scores))


def _steps_of(scores: tuple[float, ...]) -> list[float]:
    """Return the scores at which shares are compared, rising; none without scores."""
    if not scores:
        return []
    values, counts = np.unique(np.array(scores), return_counts=True)
    places = np.searchsorted(values, np.quantile(scores, np.arange(20) / 20, method="higher"))
    # Of a score that many have, those above it are a step, too: most may have the lowest.
    is_common = counts[places] > len(scores) / 20
    above = np.append(values, np.nextafter(values[-1], np.inf))[places[is_common] + 1]
    highest = np.nextafter(values[-1], np.inf)
    return [float(step) for step in np.unique([*values[places], *above, highest])]


def likelihood_ratio(
    first: ExamNumbers | float, of_first: float, now: ExamNumbers, of_now: ExamNumbers | float
) -> ExamNumbers:
    """Return G of two shares, 0 where one is of nothing."""
    total = of_first + np.asarray(of_now, dtype=float)
    both = (first + now) / np.where(total > 0, total, 1.0)
    found: ExamNumbers = np.zeros(np.broadcast(first, now).shape)
    for hits, of in ((first, of_first), (now, of_now)):
        for observed, share in ((hits, both), (of - hits, 1 - both)):
            expected = of * share
            is_there = np.asarray(observed) > 0
            ratio = np.where(is_there, observed, 1.0) / np.where(is_there, expected, 1.0)
            found = found + 2 * np.where(is_there, observed, 0.0) * np.log(ratio)
    return np.maximum(found, 0.0)


def _in_windows(hits: NDArray[Any]) -> ExamNumbers:
    """Count, column by column, in each `WINDOW` rows that follow one another."""
    counts = np.cumsum(hits, axis=0, dtype=float)
    found: ExamNumbers = counts[WINDOW - 1 :].copy()
    found[1:] -= counts[:-WINDOW]
    return found


def _known(numbers: ExamNumbers) -> ExamNumbers:
    found: ExamNumbers = numbers[~np.isnan(numbers)]
    return found


def _spread(numbers: ExamNumbers) -> float:
    """Return the variance of the means of overlapping blocks, over what chance would make it."""
    of_one, count = float(numbers.var()) if len(numbers) else 0.0, len(numbers)
    if of_one == 0.0:
        return 1.0
    sums = np.concatenate([[0.0], np.cumsum(numbers - numbers.mean())])
    ratios = [1.0]
    for block in BLOCKS_EXAMS:
        if count >= 2 * block:
            means = (sums[block:] - sums[:-block]) / block
            by_chance = of_one / block * (1 - block / count)
            ratios.append(float((means**2).mean()) / by_chance)
    return min(max(ratios), MOST_SPREAD)
