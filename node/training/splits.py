"""Who learns and who is measured: women in folds, each fold in two halves.

A woman's fold follows from a digest of her name and of nothing else: it is the same on every
machine, and whoever else is there.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from node.evaluation.labels import refuse
from node.training.examples import Example, Examples
from node.training.kept import REDUCED_PX
from node.training.recipe import Folds

ALIKE = 0.999
"""Images whose reductions correlate more than this are one image, stored twice."""
_BLOCK = 512
ExampleIndices = NDArray[np.int64]
"""Places in a list of examples, rising."""


class Half(StrEnum):
    """A half of a fold: what is chosen on one is measured on the other."""

    A = "A"
    B = "B"

    @property
    def other(self) -> Half:
        """The one that is not this."""
        return Half.B if self is Half.A else Half.A


def fold_of(woman: str, folds: Folds) -> int:
    """Return the fold of a woman, from 0."""
    return int.from_bytes(_digest(woman, folds)[:4], "big") % folds.count


def half_of(woman: str, folds: Folds) -> Half:
    """Return in which half of her fold a woman is."""
    return Half.B if _digest(woman, folds)[8] & 1 else Half.A


def _digest(woman: str, folds: Folds) -> bytes:
    return hashlib.sha256(f"{folds.salt}{woman}".encode()).digest()


@dataclass(frozen=True, slots=True)
class Division:
    """Where each example is."""

    count: int
    folds: NDArray[np.int64]
    """(n,): the fold of each, from 0."""
    is_half_b: NDArray[np.bool_]
    """(n,)"""

    def others(self, fold: int) -> ExampleIndices:
        """Return the examples that the network of a fold learns from."""
        return np.flatnonzero(self.folds != fold)

    def kept_back(self, fold: int, half: Half | None = None) -> ExampleIndices:
        """Return the examples that the network of a fold never sees, or those of a half."""
        is_there = self.folds == fold
        if half is not None:
            is_there &= self.is_half_b == (half is Half.B)
        return np.flatnonzero(is_there)


def divide(examples: Examples, folds: Folds) -> Division:
    """Return who learns and who is measured; raise ConfigError if that cannot be told apart."""
    refuse_duplicates(examples)
    women = [example.woman for example in examples.images]
    division = Division(
        folds.count,
        np.array([fold_of(woman, folds) for woman in women], dtype=np.int64),
        np.array([half_of(woman, folds) is Half.B for woman in women], dtype=np.bool_),
    )
    _require_some_of_each(examples.images, division)
    return division


def _require_some_of_each(images: Sequence[Example], division: Division) -> None:
    """Raise ConfigError unless each half of each fold has something to measure."""
    problems = list[str]()
    for fold in range(division.count):
        for half in Half:
            labels = {images[i].label for i in division.kept_back(fold, half)}
            if len(labels) < 2:
                found = {(): "none", (0.0,): "negative ones alone", (1.0,): "positive ones alone"}
                problems.append(
                    f"fold {fold}, half {half}: expected positive and negative images, found "
                    f"{found[tuple(labels)]}"
                )
    if problems:
        problems.append("give more women, or fewer folds: [folds] count")
    refuse(problems)


def require_apart(parts: Mapping[str, Sequence[Example]]) -> None:
    """Raise ConfigError if a woman is in several parts, whatever divided them."""
    where = defaultdict[str, dict[str, Example]](dict)
    for name, images in parts.items():
        for image in images:
            where[image.woman].setdefault(name, image)
    refuse(
        [
            f"{woman} is in {' and '.join(found)}: all images of a woman are in one part"
            for woman, found in where.items()
            if len(found) > 1
        ]
    )


def refuse_duplicates(examples: Examples) -> None:
    """Raise ConfigError if images of two women are one image."""
    table, images = examples.table, examples.images
    problems = [
        f"{table.place(images[second].row)}: {how} as {table.place(images[first].row)}, yet of "
        f"{images[second].woman}, not of {images[first].woman}"
        for first, second, how in sorted(duplicates(examples))
    ]
    if problems:
        problems.append(
            "one woman under two names would be learnt from and measured: give both the same "
            "patient, or take one image out"
        )
    refuse(problems)


def duplicates(examples: Examples) -> Iterator[tuple[int, int, str]]:
    """Yield pairs of examples of two women that show one image, and how alike they are."""
    images = examples.images
    first = dict[str, int]()
    same = set[tuple[int, int]]()
    for i, image in enumerate(images):
        if image.slice not in (None, 1):
            continue
        before = first.setdefault(image.pixel_digest, i)
        if images[before].woman != image.woman:
            same.add((before, i))
            yield before, i, "the same pixels"
    women = np.unique([image.woman for image in images], return_inverse=True)[1]
    # Breast MRI of two women, made small, may be as alike as copies of one image are.
    rows = [i for i, image in enumerate(images) if image.slice is None]
    for a, b in _alike(examples.reductions[rows]):
        i, j = rows[a], rows[b]
        if women[i] != women[j] and (i, j) not in same:
            yield i, j, "as good as the same image"


def _alike(reductions: NDArray[np.float32]) -> Iterator[tuple[int, int]]:
    """Yield pairs (i, j), i < j, of images (n, height, width) that correlate more than ALIKE."""
    rows = reductions.reshape(len(reductions), REDUCED_PX**2).astype(np.float32)
    rows = rows - rows.mean(axis=1, keepdims=True)
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    rows = rows / np.maximum(lengths, np.finfo(np.float32).tiny)
    for begin in range(0, len(rows), _BLOCK):
        close = rows[begin : begin + _BLOCK] @ rows[begin:].T > ALIKE
        for i, j in np.argwhere(close):
            if i < j:
                yield int(begin + i), int(begin + j)
