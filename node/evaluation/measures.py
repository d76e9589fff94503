"""What is measured on labelled cases, each with its 95 % interval by drawing patients.

Patients are drawn with replacement, with all their cases: images of one patient are not
independent. A draw is a weight for each case, how often its patient was drawn, so that a measure is
one computation over many draws.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Flags = NDArray[np.bool_]
DrawWeights = NDArray[np.float64]
"""Shape (draws, cases): how often each case counts."""
WeightedMeasure = Callable[[DrawWeights], Array]
"""Returns one number for each draw; not a number where a draw leaves nothing to measure."""

DRAWS = 2000
SEED = 13
MOST_UNDEFINED = 0.05
"""If a measure cannot be had of more than this share of the draws, it has no interval."""
_CHUNK = 4_000_000
"""So many weights are in memory at once."""


@dataclass(frozen=True, slots=True)
class Measured:
    """A number with its interval."""

    value: float | None
    """None if it cannot be had: of no cases, or of one kind alone."""
    interval: tuple[float, float] | None
    """Of 95 % confidence; None if the cases are too few, or all draws say the same."""


def with_intervals(
    measures: Mapping[str, WeightedMeasure], patients: NDArray[np.int64]
) -> dict[str, Measured]:
    """Return measures of cases, whose patients are given by number, with their intervals."""
    known, of_case = np.unique(patients, return_inverse=True)
    once = np.ones((1, len(patients)))
    values = {name: float(measure(once)[0]) for name, measure in measures.items()}
    drawn = dict[str, list[Array]]((name, []) for name in measures)
    random = np.random.default_rng(SEED)
    size = max(1, _CHUNK // max(len(patients), len(known), 1))
    left = DRAWS if len(known) > 1 else 0
    while left > 0:
        size = min(size, left)
        weights = _drawn(random, size, len(known))[:, of_case]
        for name, measure in measures.items():
            drawn[name].append(measure(weights))
        left -= size
    return {name: _figure(value, drawn[name]) for name, value in values.items()}


def _drawn(random: np.random.Generator, draws: int, patients: int) -> DrawWeights:
    """Return how often each patient is among as many drawn patients, draw by draw."""
    chosen = random.integers(0, patients, (draws, patients))
    flat = chosen + patients * np.arange(draws)[:, None]
    counts = np.bincount(flat.ravel(), minlength=draws * patients)
    return counts.reshape(draws, patients).astype(np.float64)


def _figure(value: float, drawn: list[Array]) -> Measured:
    if np.isnan(value):
        return Measured(None, None)
    if not drawn:
        return Measured(value, None)
    draws = np.concatenate(drawn)
    is_defined = ~np.isnan(draws)
    if is_defined.mean() < 1 - MOST_UNDEFINED:
        return Measured(value, None)
    low, high = (float(end) for end in np.percentile(draws[is_defined], [2.5, 97.5]))
    return Measured(value, None if low == high else (low, high))


def area_under_curve(scores: Array, is_positive: Flags) -> float:
    """Return how often a positive case scores above a negative one; ties count half.

    Not a number if there is no pair of them.
    """
    return float(auc_of(scores, is_positive)(np.ones((1, len(scores))))[0])


def auc_of(scores: Array, is_positive: Flags) -> WeightedMeasure:
    """Return the measure of the area under the ROC curve (Mann and Whitney); ties count half."""
    order = np.argsort(scores, kind="stable")
    ascending, positive = scores[order], is_positive[order]
    starts = np.flatnonzero(np.diff(ascending, prepend=-np.inf) > 0)

    def measure(weights: DrawWeights) -> Array:
        if not len(scores):
            return np.full(len(weights), np.nan)
        sorted_weights = weights[:, order]
        positives = np.add.reduceat(sorted_weights * positive, starts, axis=1)
        negatives = np.add.reduceat(sorted_weights * ~positive, starts, axis=1)
        below = np.cumsum(negatives, axis=1) - negatives
        pairs = positives.sum(axis=1) * negatives.sum(axis=1)
        above = (positives * (below + negatives / 2)).sum(axis=1)
        return _ratio(above, pairs)

    return measure


def share_of(those: Flags, among: Flags) -> WeightedMeasure:
    """Return the measure of how many among some are those."""
    chosen, all_of_them = (those & among).astype(np.float64), among.astype(np.float64)
    return lambda weights: _ratio(weights @ chosen, weights @ all_of_them)


def mean_of(numbers: Array) -> WeightedMeasure:
    """Return the measure of a mean."""
    return lambda weights: _ratio(weights @ numbers, weights.sum(axis=1))


def calibration_error_of(probabilities: Array, is_positive: Flags) -> WeightedMeasure:
    """Return the measure of the expected calibration error: ten bins of equal width."""
    of_bin = bin_of(probabilities)[:, None] == np.arange(BINS)
    gaps = of_bin * (probabilities - is_positive)[:, None]

    def measure(weights: DrawWeights) -> Array:
        return _ratio(np.abs(weights @ gaps).sum(axis=1), weights.sum(axis=1))

    return measure


BINS = 10


def bin_of(probabilities: Array) -> NDArray[np.int64]:
    """Return in which of ten bins each lies, the last one with its upper end."""
    return np.minimum((probabilities * BINS).astype(np.int64), BINS - 1)


def _ratio(numerators: Array, denominators: Array) -> Array:
    ratios = np.full(len(numerators), np.nan)
    np.divide(numerators, denominators, out=ratios, where=denominators > 0)
    return ratios


@dataclass(frozen=True, slots=True)
class Recalibration:
    """The line on the log odds that would calibrate: 0 and 1 if they are calibrated."""

    intercept: float
    slope: float


def recalibration(probabilities: Array, is_positive: Flags) -> Recalibration | None:
    """Return the logistic regression of the truth on the log odds (Cox 1958).

    None where there is none: all of one kind, or kinds that a threshold tells apart.
    """
    if is_positive.all() or not is_positive.any() or np.ptp(probabilities) == 0:
        return None
    if area_under_curve(probabilities, is_positive) in (0.0, 1.0):
        return None
    clipped = np.clip(probabilities, 1e-6, 1 - 1e-6)
    odds = np.column_stack((np.ones(len(clipped)), np.log(clipped / (1 - clipped))))
    line = np.zeros(2)
    for _ in range(100):
        expected = 1 / (1 + np.exp(-np.clip(odds @ line, -500, 500)))
        curvature = (odds * (expected * (1 - expected))[:, None]).T @ odds
        try:
            step = np.linalg.solve(curvature, odds.T @ (is_positive - expected))
        except np.linalg.LinAlgError:
            return None
        line = line + step / max(1.0, float(np.abs(step).max()))  # so far at most, lest it leap
        if np.abs(step).max() < 1e-9:
            return Recalibration(float(line[0]), float(line[1]))
    return None


@dataclass(frozen=True, slots=True)
class Curve:
    """A ROC curve: from the highest score down, what share of each kind is at least as high."""

    thresholds: Array
    false_positives: Array
    true_positives: Array


def roc(scores: Array, is_positive: Flags) -> Curve:
    """Return a point for each score that occurs."""
    thresholds = np.unique(scores)[::-1]
    descending = np.sort(scores[is_positive]), np.sort(scores[~is_positive])
    shares = [
        (len(one) - np.searchsorted(one, thresholds, side="left")) / max(len(one), 1)
        for one in descending
    ]
    return Curve(thresholds, shares[1], shares[0])


def kappa_of(truth: NDArray[np.int64], said: NDArray[np.int64], classes: int) -> WeightedMeasure:
    """Return the measure of Cohen's kappa with quadratic weights (1968) of classes in order."""
    steps = (truth - said).astype(np.float64) ** 2
    numbers = np.arange(classes)
    distances = (numbers[:, None] - numbers[None, :]).astype(np.float64) ** 2
    of_truth = (truth[:, None] == numbers).astype(np.float64)
    of_said = (said[:, None] == numbers).astype(np.float64)

    def measure(weights: DrawWeights) -> Array:
        by_chance = np.einsum("dt,ts,ds->d", weights @ of_truth, distances, weights @ of_said)
        disagreement = _ratio((weights @ steps) * weights.sum(axis=1), by_chance)
        return np.asarray(1 - disagreement)

    return measure


def with_bound(share: Measured, patients: int) -> Measured:
    """Give a share that is nought or all its exact bound (Clopper and Pearson 1934) for patients.

    Whoever is drawn, it stays what it is: drawing says nothing about it.
    """
    if share.value not in (0.0, 1.0) or share.interval is not None or patients == 0:
        return share
    width = 0.025 ** (1 / patients)
    return Measured(share.value, (0.0, 1 - width) if share.value == 0 else (width, 1.0))
