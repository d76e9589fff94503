"""Scores of images -> what the networks of all folds are worth, breast by breast.

A breast is measured by itself: neither whether the other one is there nor how many images there
are reaches its score or a measure. Scores of two folds are of two networks: they are never
compared with one another.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from node.errors import ConfigError
from node.evaluation import measures
from node.evaluation.measures import Array, DrawWeights, Flags, Measured, WeightedMeasure
from node.manifest import PartOfStudy
from node.training.alike import are_alike, number_in
from node.training.examples import Example
from node.training.recipe import Matched

LEAST_OF_A_KIND = 10
"""Of fewer positive, or fewer negative, breasts a part is not reported."""
_COUNTS = frozenset({"images", "views", "breasts", "number_of_images", "number_of_views"})
"""Columns that would say how many there are, as a network must not know."""
FoldNumbers = NDArray[np.int64]
CountedPart = Literal["breast", "exam"]
"""What is positive or negative in a figure."""


def counted_part(about: PartOfStudy) -> CountedPart:
    """Return what figures count, of a network that gives one score to each of these."""
    return "exam" if about == "exam" else "breast"


@dataclass(frozen=True, slots=True)
class ScoredBreast:
    """A breast, and the score of the network that never saw its woman."""

    woman: str
    exam: int
    side: str
    fold: int
    is_positive: bool
    """Whether one of its images is."""
    score: float
    """0..1."""
    columns: Mapping[str, str]
    """What the table says of all of its images alike."""


@dataclass(frozen=True, slots=True)
class PartFigures:
    """How well some of the breasts are told apart."""

    auc: Measured
    positives: int
    negatives: int
    women: int
    pairs: int | None = None
    """Of how many pairs, where not each positive breast is compared with each negative one."""


@dataclass(frozen=True, slots=True)
class CrossValidation:
    """What is known of a recipe: each woman measured by a network that never saw her."""

    plain: PartFigures
    """Within folds, averaged over them."""
    of_fold: Mapping[int, PartFigures]
    """By the number of the fold, from 0."""
    matched: PartFigures | None
    """Over pairs that are alike in the recipe's matched columns; None: it names none."""
    alone: Mapping[str, PartFigures]
    """What a matched column tells by itself, without any image: by column. A word has no AUC
    where a single fold was measured."""
    within: Mapping[str, Mapping[str, PartFigures]]
    """By column and its value; positive and negative breasts of that value alone."""


def breasts_of(
    images: Sequence[Example], scores: Sequence[float] | Array, folds: Sequence[int] | FoldNumbers
) -> tuple[ScoredBreast, ...]:
    """Return breasts with the mean over views of the mean of each view, as the node combines them.

    It does not matter how many images of a view there are, nor whether the other breast is there.
    """
    of_breast = defaultdict[tuple[int, str], list[int]](list)
    for i, image in enumerate(images):
        if image.side is None:
            raise ConfigError(f"{image.row.path}: expected a side, R or L: breasts are measured")
        of_breast[image.breast].append(i)
    return tuple(
        _breast([images[i] for i in places], [float(scores[i]) for i in places], int(folds[at]))
        for places in of_breast.values()
        for at in places[:1]
    )


def _breast(images: Sequence[Example], scores: Sequence[float], fold: int) -> ScoredBreast:
    pairs = [(image.projection, score) for image, score in zip(images, scores, strict=True)]
    first = images[0]
    return ScoredBreast(
        woman=first.woman,
        exam=first.exam,
        side=str(first.side),
        fold=fold,
        is_positive=any(image.label > 0 for image in images),
        score=mean_of_views(pairs),
        columns={
            name: value
            for name, value in first.row.columns.items()
            if all(image.row.columns.get(name) == value for image in images)
        },
    )


def mean_of_views(scores: Sequence[tuple[str, float]]) -> float:
    """Return the mean over projections of the mean of each: combine = "mean of views"."""
    of_view = defaultdict[str, list[float]](list)
    for projection, score in scores:
        of_view[projection].append(score)
    return fmean(fmean(of_one) for of_one in of_view.values())


def require_blind(columns: Sequence[str]) -> None:
    """Raise ConfigError if a measure would know how many images there are."""
    for column in columns:
        if column in _COUNTS:
            raise ConfigError(
                f"column {column}: says how many images there are, which may be what tells who is "
                "ill; measure by another one"
            )


def cross_validation(
    breasts: Sequence[ScoredBreast],
    matched: Sequence[Matched] = (),
    within: Sequence[str] = (),
) -> CrossValidation:
    """Return all figures of the networks of all folds, with intervals by drawing women."""
    require_blind([*(one.column for one in matched), *within])
    numbers = sorted({breast.fold for breast in breasts})
    in_folds = {fold: [one for one in breasts if one.fold == fold] for fold in numbers}
    return CrossValidation(
        plain=within_folds(breasts, [breast.score for breast in breasts]),
        of_fold={
            fold: within_folds(part, [breast.score for breast in part])
            for fold, part in in_folds.items()
        },
        matched=matched_auc(breasts, matched) if matched else None,
        alone={one.column: alone(breasts, one) for one in matched},
        within={column: dict(_within(breasts, column)) for column in within},
    )


def within_folds(breasts: Sequence[ScoredBreast], scores: Sequence[float] | Array) -> PartFigures:
    """Return the AUC of scores of breasts: within each fold, then the mean over folds."""
    values = np.array(scores, np.float64)
    is_positive, folds = _positive(breasts), _folds(breasts)
    places = [np.flatnonzero(folds == fold) for fold in np.unique(folds)]
    of_folds = [measures.auc_of(values[place], is_positive[place]) for place in places]

    def measure(weights: DrawWeights) -> Array:
        each = [auc(weights[:, place]) for place, auc in zip(places, of_folds, strict=True)]
        return np.mean(each, axis=0) if each else np.full(len(weights), np.nan)

    return _part(breasts, measure)


def matched_auc(breasts: Sequence[ScoredBreast], matched: Sequence[Matched]) -> PartFigures:
    """Return how often the positive breast of a pair scores higher; ties count half.

    A pair is of one fold, and alike in every matched column; who says nothing there is in none.
    """

    def alike(some: Sequence[ScoredBreast], others: Sequence[ScoredBreast]) -> Flags:
        return are_alike([one.columns for one in some], [one.columns for one in others], matched)

    return _over_pairs(breasts, alike, _keys(matched))


_Alike = Callable[[Sequence[ScoredBreast], Sequence[ScoredBreast]], Flags]
"""Tells which are a pair, (some, others)."""
_Key = Callable[[ScoredBreast], tuple[str, ...]]


def _keys(matched: Sequence[Matched]) -> _Key:
    """Return what two breasts that are alike have in common: only such are looked at in pairs."""
    words = [one.column for one in matched if one.within is None]
    return lambda breast: tuple(breast.columns.get(word, "") for word in words)


def _over_pairs(breasts: Sequence[ScoredBreast], alike: _Alike, key: _Key) -> PartFigures:
    groups = defaultdict[tuple[object, ...], tuple[list[int], list[int]]](lambda: ([], []))
    for i, breast in enumerate(breasts):
        groups[breast.fold, *key(breast)][0 if breast.is_positive else 1].append(i)
    wins = list[tuple[NDArray[np.int64], NDArray[np.int64], Array, Array]]()
    pairs = 0
    for positives, negatives in groups.values():
        some, others = ([breasts[i] for i in places] for places in (positives, negatives))
        is_pair = alike(some, others).astype(np.float64)
        if not is_pair.any():
            continue
        above = np.array([breasts[i].score for i in positives])[:, None]
        below = np.array([breasts[j].score for j in negatives])[None, :]
        won = is_pair * ((above > below) + 0.5 * (above == below))
        wins.append((np.array(positives), np.array(negatives), is_pair, won))
        pairs += int(is_pair.sum())

    def measure(weights: DrawWeights) -> Array:
        counted, there = np.zeros(len(weights)), np.zeros(len(weights))
        for positives, negatives, is_pair, won in wins:
            of_positives, of_negatives = weights[:, positives], weights[:, negatives]
            counted += ((of_positives @ won) * of_negatives).sum(axis=1)
            there += ((of_positives @ is_pair) * of_negatives).sum(axis=1)
        found = np.full(len(weights), np.nan)
        np.divide(counted, there, out=found, where=there > 0)
        return found

    in_pairs = np.unique(
        [
            i
            for pair in wins
            for i in (*_in_pairs(pair[0], pair[2], 1), *_in_pairs(pair[1], pair[2], 0))
        ]
    )
    chosen = [breasts[int(i)] for i in in_pairs]
    return _part(breasts, measure, chosen, pairs)


def _in_pairs(places: NDArray[np.int64], is_pair: Array, axis: int) -> NDArray[np.int64]:
    return np.asarray(places[is_pair.any(axis=axis)])


def alone(breasts: Sequence[ScoredBreast], column: Matched) -> PartFigures:
    """Return the AUC of a column without any image: what a network may have found instead.

    A number is its own score. A word has the share of positive breasts among those of other folds
    that have it, so that no breast tells of itself: of a single fold words have no AUC.
    """
    said = [breast.columns.get(column.column, "") for breast in breasts]
    if column.within is not None:
        numbers = [number_in(word) for word in said]
        known = [(b, n) for b, n in zip(breasts, numbers, strict=True) if n is not None]
        return within_folds([b for b, _ in known], [n for _, n in known])
    is_positive, folds, words = _positive(breasts), _folds(breasts), np.array(said)
    if len(np.unique(folds)) < 2:
        return _part(breasts, lambda weights: np.full(len(weights), np.nan))
    scores = np.zeros(len(breasts))
    for fold in np.unique(folds):
        others, here = folds != fold, folds == fold
        base = float(is_positive[others].mean())
        for word in np.unique(words[here]):
            alike = others & (words == word)
            scores[here & (words == word)] = (is_positive[alike].sum() + base) / (alike.sum() + 1)
    return within_folds(breasts, scores)


def _within(breasts: Sequence[ScoredBreast], column: str) -> Iterator[tuple[str, PartFigures]]:
    for value, part in _by_value(breasts, column):
        count = sum(breast.is_positive for breast in part)
        if min(count, len(part) - count) >= LEAST_OF_A_KIND:
            yield value, _in_one_fold(part)


def _in_one_fold(breasts: Sequence[ScoredBreast]) -> PartFigures:
    """Return the AUC over pairs of one fold: a fold may have too few for an AUC of its own."""
    return _over_pairs(breasts, _all_pairs, lambda _: ())


def _all_pairs(some: Sequence[ScoredBreast], others: Sequence[ScoredBreast]) -> Flags:
    return np.ones((len(some), len(others)), np.bool_)


def _by_value(
    breasts: Sequence[ScoredBreast], column: str
) -> Iterator[tuple[str, list[ScoredBreast]]]:
    groups = defaultdict[str, list[ScoredBreast]](list)
    for breast in breasts:
        if value := breast.columns.get(column, ""):
            groups[value].append(breast)
    yield from sorted(groups.items())


def _part(
    breasts: Sequence[ScoredBreast],
    measure: WeightedMeasure,
    counted: Sequence[ScoredBreast] | None = None,
    pairs: int | None = None,
) -> PartFigures:
    """Return figures of breasts; of some of them, if others are in no pair."""
    women = np.unique([breast.woman for breast in breasts], return_inverse=True)[1]
    found = measures.with_intervals({"auc": measure}, women.astype(np.int64))
    chosen = breasts if counted is None else counted
    positives = sum(breast.is_positive for breast in chosen)
    return PartFigures(
        auc=found["auc"],
        positives=positives,
        negatives=len(chosen) - positives,
        women=len({breast.woman for breast in chosen}),
        pairs=pairs,
    )


def _positive(breasts: Sequence[ScoredBreast]) -> Flags:
    return np.array([breast.is_positive for breast in breasts], np.bool_)


def _folds(breasts: Sequence[ScoredBreast]) -> FoldNumbers:
    return np.array([breast.fold for breast in breasts], np.int64)
