"""Logits of images -> scores of breasts or exams, as the package will combine them; needs no torch.

Where the network reads single images, the node averages their scores; where it reads a breast or
an exam at once, the graph averages logits, and takes a smooth highest of breasts. Of slices of a
breast MRI the node takes the highest score.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from node.errors import ConfigError
from node.evaluation.measures import Array, Flags, auc_of
from node.manifest import PartOfStudy
from node.training.examples import Example, Examples
from node.training.measuring import ScoredBreast, breasts_of
from node.training.splits import Half

Logits = NDArray[np.floating[Any]]
"""Of some images, shape (images,)."""


def scored(
    about: PartOfStudy,
    images: Sequence[Example],
    logits: NDArray[np.floating[Any]],
    folds: Sequence[int],
) -> tuple[ScoredBreast, ...]:
    """Return what is said of each breast, 0..1; of a network that reads exams, of each exam.

    Of an exam, `side` is empty. An exam of slices has the score of the highest.
    """
    if images and images[0].slice is not None:
        return tuple(_studies(images, _share(logits), folds))
    if about == "image":
        return breasts_of(images, _share(logits), folds)
    breasts = breasts_of(images, logits.astype(np.float64), folds)
    if about == "exam":
        breasts = tuple(_exams(breasts))
    return tuple(replace(one, score=float(_share(np.float64(one.score)))) for one in breasts)


def _share(logits: Logits | np.float64) -> Array:
    return np.asarray(1 / (1 + np.exp(-np.asarray(logits, np.float64))))


def _studies(
    images: Sequence[Example], scores: Array, folds: Sequence[int]
) -> Iterator[ScoredBreast]:
    of_exam = defaultdict[int, list[int]](list)
    for place, image in enumerate(images):
        of_exam[image.exam].append(place)
    for exam, places in of_exam.items():
        first = images[places[0]]
        yield ScoredBreast(
            woman=first.woman,
            exam=exam,
            side="",
            fold=int(folds[places[0]]),
            is_positive=first.label > 0,
            score=float(scores[places].max()),
            columns=dict(first.row.columns),
        )


def _exams(breasts: Sequence[ScoredBreast]) -> Sequence[ScoredBreast]:
    of_exam = defaultdict[int, list[ScoredBreast]](list)
    for breast in breasts:
        of_exam[breast.exam].append(breast)
    return [
        replace(
            both[0],
            side="",
            is_positive=any(one.is_positive for one in both),
            score=float(np.logaddexp.reduce([one.score for one in both])),
            columns={
                name: value
                for name, value in both[0].columns.items()
                if all(one.columns.get(name) == value for one in both)
            },
        )
        for both in of_exam.values()
    ]


def chosen_epochs(
    about: PartOfStudy,
    images: Sequence[Example],
    is_half_b: NDArray[np.bool_],
    logits: Sequence[Logits],
) -> Mapping[Half, int]:
    """Return the epoch of the highest AUC on each half of a fold's images, the first of equals.

    What was chosen on a half is used on the other: neither tells of itself. `logits[epoch]` has the
    shape (images,).
    """
    chosen = dict[Half, int]()
    for half in Half:
        places = np.flatnonzero(is_half_b == (half is Half.B))
        mine = [images[int(i)] for i in places]
        aucs = [_auc(scored(about, mine, of[places], [0] * len(mine))) for of in logits]
        chosen[half] = int(np.argmax(aucs))
    return chosen


def _auc(breasts: Sequence[ScoredBreast]) -> float:
    is_positive: Flags = np.array([one.is_positive for one in breasts], np.bool_)
    measure = auc_of(np.array([one.score for one in breasts], np.float64), is_positive)
    return float(np.nan_to_num(measure(np.ones((1, len(breasts)), np.int64))[0], nan=0.5))


def require_whole_exams(examples: Examples) -> None:
    """Raise ConfigError if some exams have one breast alone, of a network that reads exams.

    In some collections women with the disease are there with the affected breast alone: whether
    the other one is there would tell who is ill.
    """
    sides = defaultdict[int, set[str]](set)
    for image in examples.images:
        sides[image.exam].add(str(image.side or ""))
    if halves := [exam for exam, found in sides.items() if len(found) < 2]:
        raise ConfigError(
            f'about = "exam": {len(halves)} of {len(sides)} exams have one breast alone, and which '
            'these are may be what tells who is ill; write about = "breast" or "image"'
        )
