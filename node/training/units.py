"""What a network gives one score for: images, breasts or exams, and how batches of them are drawn.

Needs no torch.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from node.manifest import PartOfStudy
from node.training.alike import are_alike
from node.training.examples import Example
from node.training.recipe import Labels, Matched


@dataclass(frozen=True, slots=True)
class LearningUnit:
    """Images that make one score."""

    key: str
    woman: str
    images: tuple[int, ...]
    """Their places among the examples."""
    breasts: tuple[tuple[int, ...], ...]
    """The same images, by breast; of slices each by itself, of which the highest counts."""
    label: float
    """1 if that of one of its images is."""
    columns: Mapping[str, str]
    """What the table says of the first."""


def units_of(examples: Sequence[Example], about: PartOfStudy) -> tuple[LearningUnit, ...]:
    """Return what there is to score, in the order of the examples."""
    found = defaultdict[str, list[int]](list)
    for place, example in enumerate(examples):
        found[_key(example, place, about)].append(place)
    return tuple(_unit(key, places, examples) for key, places in found.items())


def _key(example: Example, place: int, about: PartOfStudy) -> str:
    if about == "image":
        return f"image {place}"
    exam = f"exam {example.exam}"
    return exam if about == "exam" else f"{exam} {example.side or ''}".strip()


def _unit(key: str, places: Sequence[int], examples: Sequence[Example]) -> LearningUnit:
    breasts = defaultdict[str, list[int]](list)
    for place in places:
        breasts[str(examples[place].side or examples[place].slice or "")].append(place)
    first = examples[places[0]]
    return LearningUnit(
        key=key,
        woman=first.woman,
        images=tuple(places),
        breasts=tuple(map(tuple, breasts.values())),
        label=max(examples[place].label for place in places),
        columns=first.row.columns,
    )


class Batches:
    """Batches of units: as many positive as negative ones, and alike but for that.

    Each positive unit is seen once an epoch, with a negative one of the same word in the column
    that the recipe balances within, and alike in its matched columns as far as there are such.
    Without that column each unit is seen once.
    """

    def __init__(self, units: Sequence[LearningUnit], labels: Labels, size: int, seed: int) -> None:
        self._seed, self._size = seed, size
        self._all = np.arange(len(units))
        self._partners: dict[int, NDArray[np.int64]] | None = None
        if labels.balanced_within is not None:
            within = Matched(column=labels.balanced_within)
            self._partners = _partners(units, within, labels.matched)

    def __len__(self) -> int:
        """Return how many batches an epoch has."""
        seen = len(self._all) if self._partners is None else 2 * len(self._partners)
        return max(1, seen // self._size)

    def epoch(self, number: int) -> Iterator[NDArray[np.int64]]:
        """Yield the places of the units of each batch; the same for the same number."""
        random = np.random.default_rng([self._seed, number])
        if self._partners is None:
            order = random.permutation(self._all)
        else:
            positive = random.permutation(list(self._partners))
            pairs = [(one, random.choice(self._partners[one])) for one in positive.tolist()]
            order = np.array(pairs, np.int64).ravel()
        yield from np.array_split(order, len(self))


def _partners(
    units: Sequence[LearningUnit], within: Matched, matched: Sequence[Matched]
) -> dict[int, NDArray[np.int64]]:
    """Return for each positive unit the negative ones that it may stand beside.

    Units that say the same in all of these columns share one array.
    """
    every = [i for i, unit in enumerate(units) if unit.label < 0.5]
    if not every:
        return {}
    negative, partners = np.array(every, np.int64), dict[int, NDArray[np.int64]]()
    of_word = _by_words(units, every, (within,))
    positive = [i for i, unit in enumerate(units) if not unit.label < 0.5]
    for word, mine in _by_words(units, positive, (within,)).items():
        near = of_word.get(word, []) if all(word) else []
        groups = _by_words(units, mine, matched)
        beside = _beside(units, [places[0] for places in groups.values()], near, matched)
        for places, nearest in zip(groups.values(), beside, strict=True):
            partners.update(dict.fromkeys(places, nearest if len(nearest) else negative))
    return dict(sorted(partners.items()))


def _by_words(
    units: Sequence[LearningUnit], places: Sequence[int], columns: Sequence[Matched]
) -> dict[tuple[str, ...], list[int]]:
    """Return those of these places that say the same in all of these columns together."""
    groups = defaultdict[tuple[str, ...], list[int]](list)
    for place in places:
        groups[tuple(units[place].columns.get(by.column, "") for by in columns)].append(place)
    return groups


def _beside(
    units: Sequence[LearningUnit],
    some: Sequence[int],
    near: Sequence[int],
    matched: Sequence[Matched],
) -> Iterator[NDArray[np.int64]]:
    """Yield for each of some those of `near` that are alike in these columns; all if none is."""
    groups = _by_words(units, near, matched)
    others = [units[places[0]].columns for places in groups.values()]
    arrays, everyone = (
        [np.array(one, np.int64) for one in groups.values()],
        np.array(near, np.int64),
    )
    for is_alike in are_alike([units[one].columns for one in some], others, matched):
        chosen = [arrays[group] for group in np.flatnonzero(is_alike)]
        yield np.sort(np.concatenate(chosen)) if chosen else everyone
