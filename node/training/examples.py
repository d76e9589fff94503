"""A table of labelled images -> examples to learn from: what the node gives a network of each.

They are read as at run time, by the same selection, refusals and preparation, so that training
and ward see one tensor. What was prepared is kept in a folder.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from node.evaluation.labels import LabelRow
from node.study import Laterality

KeptArray = NDArray[Any]
"""Of images, uint8 or float16, shape (n, channels, height, width) or (n, numbers)."""


@dataclass(frozen=True, slots=True)
class Example:
    """An image that the node gives to a network."""

    row: LabelRow
    """What the table says of it; `row.columns` by name."""
    exam: int
    """Number of the exam, from 1 in the order of the table."""
    woman: str
    side: Laterality | None
    projection: str
    pixel_digest: str
    """As a line of `training-images.txt`."""
    label: float
    """0 or 1."""
    auxiliary: Mapping[str, float] = field(default_factory=dict)
    """0..1, by column; only those that are known of this image."""

    @property
    def breast(self) -> tuple[int, str]:
        """The exam and side: what a breast is."""
        return self.exam, str(self.side or "")


class Tensors:
    """What the network gets of each example, in their order, read from the disk when asked for."""

    def __init__(self, kept: KeptArray, places: Sequence[int]) -> None:
        self._kept = kept
        self._places = np.asarray(places, dtype=np.int64)

    @property
    def shape(self) -> tuple[int, ...]:
        """(n, channels, height, width), or (n, numbers)."""
        return len(self._places), *self._kept.shape[1:]

    @property
    def dtype(self) -> np.dtype[Any]:
        """uint8 where the recipe makes bytes, else float16."""
        return self._kept.dtype

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, which: Any) -> KeptArray:
        """Return one (an int) or several (a slice, a list of numbers, a mask), in memory."""
        return np.array(self._kept[self._places[which]])


@dataclass(frozen=True, slots=True)
class RefusedImage:
    """An image that the node gives to no network."""

    row: LabelRow
    reason: str


@dataclass(frozen=True, slots=True)
class Examples:
    """All that there is to learn from."""

    images: tuple[Example, ...]
    tensors: Tensors
    """`tensors[i]` is of `images[i]`."""
    reductions: NDArray[np.float32]
    """(n, 32, 32): each image made small, by which near-duplicates are found."""
    refused: tuple[RefusedImage, ...]
