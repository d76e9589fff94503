"""What a network says of women that it never saw -> calibration and operating points.

What counts is what was said of breasts; of a network that reads exams at once, of exams.

Everything is computed as the node does it at run time, in percent and in the same order, so that
`>=` gives the same counts there: what is chosen here is what happens on the ward.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from node.errors import ConfigError
from node.evaluation import measures
from node.evaluation.cases import CaseAbout, LabelledCase
from node.evaluation.measures import Array, Flags, Measured
from node.manifest import Calibration, ManifestNegatives, ManifestPoint, PartOfStudy, Platt
from node.training.measuring import counted_part, mean_of_views

LEAST_EXAMS = 20
"""Of women without the disease and with both breasts: of fewer, no specificity is stated."""
LEAST_PERCENTILES = 100
"""So many a manifest wants, to say than how many of 100 a score is higher."""
URGENT_POINT = "urgent"
"""The operating point from which on an exam is."""
_BOTH = frozenset({"R", "L"})
"""What an exam shows of which there are no images by themselves: a breast MRI."""
_DIGITS = 6
"""Of the numbers of a calibration, as they are written and used."""


@dataclass(frozen=True, slots=True)
class SaidImage:
    """What was said of an image, as the network says it."""

    projection: str
    percent: float
    """0..100, not calibrated, as the result has it: not a bit of it may change."""


@dataclass(frozen=True, slots=True)
class SaidPart:
    """What was said of a breast, or of an exam: of its images, or at once.

    At once: it is one, without a projection.
    """

    woman: str
    exam: int
    sides: frozenset[str]
    """Of the breasts that it is of: "R" or "L", of an exam both if they are there."""
    is_positive: bool
    images: tuple[SaidImage, ...]


def said_parts(
    cases: Sequence[LabelledCase], output: str, positive: frozenset[str], about: PartOfStudy
) -> tuple[SaidPart, ...]:
    """Return the breasts that an evaluation of the package, still without calibration, is of.

    Where the network reads single images, the node combines them to breasts. Where it reads exams
    at once nothing is said of a breast, and exams are returned.
    """
    part = CaseAbout(counted_part(about))
    exam_of = {
        line: number
        for number, case in enumerate((c for c in cases if c.about == CaseAbout.EXAM), start=1)
        for line in case.lines
    }
    images = {case.lines[0]: case for case in cases if case.about == CaseAbout.IMAGE}
    parts = []
    for case in cases:
        if case.about != part or not case.said.get(output):
            continue
        said = [SaidImage("", case.said[output][0])]
        if about == "image":
            of_it = [images[line] for line in case.lines if images[line].said.get(output)]
            said = [SaidImage(one.columns["view"], one.said[output][0]) for one in of_it]
        parts.append(
            SaidPart(
                woman=case.patient,
                exam=exam_of[case.lines[0]],
                sides=frozenset(
                    images[line].columns["side"] for line in case.lines if line in images
                )
                or _BOTH,
                is_positive=not positive.isdisjoint(case.labels),
                images=tuple(said),
            )
        )
    return tuple(parts)


# --- calibration ------------------------------------------------------------------------------


def platt(parts: Sequence[SaidPart], data: str) -> Platt | None:
    """Return the line in logits under which what is said is as often positive (Platt 1999).

    Where images are calibrated and then averaged, the mean is what is fitted. None if a higher
    score is not more often positive: then there is nothing to calibrate.
    """
    fitted = _fitted(parts)
    if fitted is None:
        return None
    slope, intercept = fitted
    return Platt(
        kind="platt",
        slope=_rounded(slope),
        intercept=_rounded(intercept),
        prevalence=_prevalence(parts),
        data=data,
    )


def _prevalence(parts: Sequence[SaidPart]) -> float:
    return _rounded(sum(part.is_positive for part in parts) / len(parts))


def _rounded(number: float) -> float:
    return float(f"{number:.{_DIGITS}g}")


def _fitted(parts: Sequence[SaidPart]) -> tuple[float, float] | None:
    """Return slope and intercept of the greatest likelihood, by Fisher's scoring."""
    positives = sum(part.is_positive for part in parts)
    negatives = len(parts) - positives
    if not positives or not negatives:
        raise ConfigError(
            f"calibration: expected positive and negative ones among what was kept back, found "
            f"{positives} and {negatives}; give more women, or fewer folds: [folds] count"
        )
    logits, weights, of_part = _flat(parts)
    # Platt's targets: not quite 0 and 1, so that kinds told apart by a threshold give an end.
    high, low = (positives + 1) / (positives + 2), 1 / (negatives + 2)
    targets = np.where([part.is_positive for part in parts], high, low)
    columns = np.column_stack((logits, np.ones(len(logits))))
    line = np.array([1.0, 0.0])

    def said(of: Array) -> Array:
        shares = 1 / (1 + np.exp(-np.clip(columns @ of, -500, 500)))
        return np.clip(np.bincount(of_part, weights * shares), 1e-12, 1 - 1e-12)

    def loss(of: Array) -> float:
        p = said(of)
        return -float((targets * np.log(p) + (1 - targets) * np.log1p(-p)).sum())

    for _ in range(200):
        p = said(line)
        shares = 1 / (1 + np.exp(-np.clip(columns @ line, -500, 500)))
        slopes = (weights * shares * (1 - shares))[:, None] * columns
        gradients = np.column_stack([np.bincount(of_part, one) for one in slopes.T])
        information = gradients.T @ (gradients / (p * (1 - p))[:, None])
        pull = gradients.T @ ((targets - p) / (p * (1 - p)))
        step = np.linalg.lstsq(information, pull, rcond=None)[0]
        now, size = loss(line), 1.0
        while size > 1e-6 and not loss(line + size * step) <= now:
            size /= 2
        line = line + size * step
        if np.abs(size * step).max() < 1e-10 or size <= 1e-6:
            break
    if line[0] <= 1e-6:
        return None
    return float(line[0]), float(line[1])


def _flat(parts: Sequence[SaidPart]) -> tuple[Array, Array, NDArray[np.int64]]:
    """Return the logits of all images, what each weighs in its part, and which one that is."""
    logits, weights, of_part = list[float](), list[float](), list[int]()
    for number, part in enumerate(parts):
        counts = defaultdict[str, int](int)
        for image in part.images:
            counts[image.projection] += 1
        for image in part.images:
            share = min(max(image.percent / 100, 1e-7), 1 - 1e-7)
            logits.append(math.log(share) - math.log1p(-share))
            weights.append(1 / (len(counts) * counts[image.projection]))
            of_part.append(number)
    return np.array(logits), np.array(weights), np.array(of_part, np.int64)


def reported(part: SaidPart, calibration: Calibration | None) -> float:
    """Return what the node says of a breast or an exam, in percent, to the last bit."""
    percents = [(image.projection, image.percent) for image in part.images]
    if calibration is not None:
        percents = [(view, 100 * calibration.calibrated(p / 100)) for view, p in percents]
    return mean_of_views(percents)


# --- operating points -------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ChosenPoint:
    """A threshold, and what was counted at it."""

    name: str
    threshold: float
    """At least as much, of what the node reports over 100, is positive."""
    wanted: float
    """The specificity that was asked for."""
    specificity: Measured
    """Of exams of women without the disease who have both breasts: their highest breast."""
    true_negatives: int
    negatives: int
    sensitivity: Measured
    """Of affected breasts, whether or not the other one is there: a lower bound of that of their
    exams, which are called by the higher of two. Of a network that reads exams, of affected exams.
    """
    true_positives: int
    positives: int


@dataclass(frozen=True, slots=True)
class Chosen:
    """All that was chosen on women whom the network never saw."""

    calibration: Calibration | None
    points: tuple[ChosenPoint, ...]
    """From the highest threshold down."""
    negatives: tuple[float, ...]
    """What is said of exams of women without the disease, 0..1, rising."""
    data: str
    """What it was chosen on, in one ASCII sentence."""
    why_no_points: str = ""
    """Where there are none."""

    def manifest_negatives(self) -> ManifestNegatives | None:
        """Return the table of percentiles; None if there are too few exams for one."""
        if len(self.negatives) < LEAST_PERCENTILES:
            return None
        found = np.percentile(self.negatives, np.arange(101), method="inverted_cdf")
        return ManifestNegatives(
            data=self.data,
            count=len(self.negatives),
            percentiles=tuple(round(float(one), 6) for one in found),
        )


def choose_points(
    parts: Sequence[SaidPart],
    specificities: Sequence[float],
    calibration: Calibration | None,
    data: str,
) -> Chosen:
    """Return the lowest threshold of each specificity, with what is found there.

    The first is that of urgent; another one that leads to a threshold before it is left out. With
    too few exams, or where no threshold has that of urgent, there are no points.
    """
    negatives, women = _free_exams(parts, calibration)
    if len(negatives) < LEAST_EXAMS:
        why = (
            f"{len(negatives)} exams of women without the disease who have both breasts are too "
            f"few for a specificity: at least {LEAST_EXAMS} are wanted"
        )
        return Chosen(calibration, (), tuple(np.sort(negatives).tolist()), data, why)
    affected = [part for part in parts if part.is_positive]
    everyone = [part.woman for part in parts]
    scores = np.array([reported(part, calibration) / 100 for part in affected], np.float64)
    there = np.unique(np.concatenate((negatives, scores)))
    points = dict[float, ChosenPoint]()
    for wanted in specificities:
        threshold = lowest_threshold(negatives, there, wanted)
        if threshold is not None and threshold not in points:
            points[threshold] = ChosenPoint(
                name=URGENT_POINT if wanted == specificities[0] else _named(wanted),
                threshold=threshold,
                wanted=wanted,
                specificity=_share(negatives < threshold, women, everyone),
                true_negatives=int((negatives < threshold).sum()),
                negatives=len(negatives),
                sensitivity=_share(scores >= threshold, [one.woman for one in affected], everyone),
                true_positives=int((scores >= threshold).sum()),
                positives=len(affected),
            )
    if URGENT_POINT not in {point.name for point in points.values()}:
        why = (
            f"no threshold has the specificity {specificities[0]:g}: too many exams of women "
            "without the disease have the highest score there is"
        )
        return Chosen(calibration, (), tuple(np.sort(negatives).tolist()), data, why)
    ordered = sorted(points.values(), key=lambda point: -point.threshold)
    return Chosen(calibration, tuple(ordered), tuple(np.sort(negatives).tolist()), data)


def _named(specificity: float) -> str:
    return f"specificity {100 * specificity:g}".replace(".", "-")


def _free_exams(
    parts: Sequence[SaidPart], calibration: Calibration | None
) -> tuple[Array, list[str]]:
    """Return what is said of each whole exam of women without the disease, and who they are.

    That is what is said of the exam at once, or the highest of its breasts.
    """
    ill = {part.woman for part in parts if part.is_positive}
    of_exam = defaultdict[tuple[str, int], list[SaidPart]](list)
    for part in parts:
        if part.woman not in ill:
            of_exam[part.woman, part.exam].append(part)
    whole = {
        key: max(reported(one, calibration) for one in said)
        for key, said in of_exam.items()
        if frozenset.union(*(one.sides for one in said)) == {"R", "L"}
    }
    values = np.array([percent / 100 for percent in whole.values()], np.float64)
    return values, [woman for woman, _ in whole]


def lowest_threshold(negatives: Array, there: Array, specificity: float) -> float | None:
    """Return the lowest threshold at which so large a share of negatives lies below.

    It lies midway to the next number that is there, of any kind, so that no rounding moves one
    across; what is equal falls on one side together. None: only 1 would do, where all is below.
    """
    count = math.ceil(specificity * len(negatives) - 1e-9)
    below = float(np.sort(negatives)[count - 1])
    above = there[there > below]
    end = float(above[0]) if len(above) else 1.0
    return _shortest_between(below, end) if below < end else None


def _shortest_between(low: float, high: float) -> float:
    """Return a number of few decimals within the middle half between two others."""
    middle, quarter = (low + high) / 2, (high - low) / 4
    for decimals in range(2, 17):
        rounded = round(middle, decimals)
        if middle - quarter <= rounded <= middle + quarter and low < rounded <= high:
            return rounded
    return high


def _share(those: Flags, women: Sequence[str], everyone: Sequence[str]) -> Measured:
    """Return how many those are, with the interval by drawing from all women, as `evaluate` does.

    The bound is exact if none or all are.
    """
    if not len(those):
        return Measured(None, None)
    numbers = {woman: number for number, woman in enumerate(dict.fromkeys(everyone))}
    rest = len(numbers)  # a line for each woman who has none of these: she may be drawn, too
    patients = np.array([*(numbers[woman] for woman in women), *range(rest)], np.int64)
    is_among = np.arange(len(patients)) < len(those)
    is_that = np.zeros(len(patients), np.bool_)
    is_that[: len(those)] = those
    share = measures.share_of(is_that, is_among)
    found = measures.with_intervals({"share": share}, patients)["share"]
    return measures.with_bound(found, len(set(women)))


def manifest_points(chosen: Chosen) -> Iterator[ManifestPoint]:
    """Yield the operating points as a manifest has them; none that has no interval."""
    for point in chosen.points:
        found = [_with_ends(one) for one in (point.sensitivity, point.specificity)]
        if found[0] is None or found[1] is None:
            continue
        (sensitivity, of_sensitivity), (specificity, of_specificity) = found[0], found[1]
        yield ManifestPoint(
            name=point.name,
            threshold=point.threshold,
            about="exam",
            sensitivity=sensitivity,
            sensitivity_interval=of_sensitivity,
            specificity=specificity,
            specificity_interval=of_specificity,
            positives=point.positives,
            negatives=point.negatives,
            data=chosen.data,
        )


def _with_ends(figure: Measured) -> tuple[float, tuple[float, float]] | None:
    if figure.value is None or figure.interval is None:
        return None
    low, high = figure.interval
    value = round(figure.value, 4)
    return value, (min(round(low, 4), value), max(round(high, 4), value))
