"""The largest region of pixels that touch one another.

Exact, and fast on noise too: pixels become runs of a row, and runs that touch are joined by
pointer jumping over whole arrays.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Bools = NDArray[np.bool_]
Neighbours = Literal[4, 8]


@dataclass(frozen=True, slots=True)
class Component:
    """A region: its runs, each in a row from a column to before another."""

    rows: NDArray[np.int64]
    begins: NDArray[np.int64]
    ends: NDArray[np.int64]

    @property
    def box(self) -> tuple[int, int, int, int]:
        """Left, top, right and bottom; the last two lie behind its last pixel."""
        return (
            int(self.begins.min()),
            int(self.rows.min()),
            int(self.ends.max()),
            int(self.rows.max()) + 1,
        )

    def mask(self, shape: tuple[int, ...]) -> Bools:
        """Return where it is in an image of a shape."""
        edges = np.zeros((shape[0], shape[1] + 1), np.int8)
        edges[self.rows, self.begins] = 1
        edges[self.rows, self.ends] -= 1
        return np.cumsum(edges, axis=1, dtype=np.int8)[:, :-1].astype(bool)


def largest_component(mask: Bools, neighbours: Neighbours) -> Component | None:
    """Return the region of most pixels, None if there is none; of equal ones the topmost."""
    rows, begins, ends = _runs(mask)
    if not len(rows):
        return None
    labels = _joined(len(rows), *_touching(rows, begins, ends, mask.shape[1], neighbours))
    sizes = np.bincount(labels, weights=ends - begins)
    is_ours = labels == np.argmax(sizes)
    return Component(rows[is_ours], begins[is_ours], ends[is_ours])


def eroded(mask: Bools, steps: int) -> Bools:
    """Return the pixels that are more than so many steps from what is not of the mask.

    Steps go to the side, up and down, and what lies outside the image is not of the mask: as
    scipy.ndimage.binary_erosion(mask, iterations=steps).
    """
    if not steps:
        return mask
    distance = np.pad(np.where(mask, np.int32(steps + 1), np.int32(0)), 1)
    for axis in (0, 1):
        distance = _within_reach(np.moveaxis(distance, axis, -1))
        distance = np.moveaxis(distance, -1, axis)
    return distance[1:-1, 1:-1] > steps


def _within_reach(distance: NDArray[np.int32]) -> NDArray[np.int32]:
    """Return the least of distance + steps along the last axis, from either side."""
    places = np.arange(distance.shape[-1], dtype=np.int32)
    before = np.minimum.accumulate(distance - places, axis=-1) + places
    after = np.minimum.accumulate((distance + places)[..., ::-1], axis=-1)[..., ::-1] - places
    return np.minimum(before, after)


_Numbers = NDArray[np.int64]


def _runs(mask: Bools) -> tuple[_Numbers, _Numbers, _Numbers]:
    """Return row, first column and column behind the last of each run, in reading order."""
    framed = np.zeros((mask.shape[0], mask.shape[1] + 2), np.int8)
    framed[:, 1:-1] = mask
    steps = np.diff(framed, axis=1)
    rows, begins = np.nonzero(steps == 1)
    _, ends = np.nonzero(steps == -1)
    return rows, begins, ends


def _touching(
    rows: _Numbers, begins: _Numbers, ends: _Numbers, width: int, neighbours: Neighbours
) -> tuple[_Numbers, _Numbers]:
    """Return pairs of runs of which the second touches the first in the row above."""
    reach = int(neighbours == 8)
    line = width + 3
    above = (rows - 1) * line
    first = np.searchsorted(rows * line + ends, above + begins - reach, side="right")
    last = np.searchsorted(rows * line + begins, above + ends + reach, side="left")
    counts = np.maximum(last - first, 0)
    lower = np.repeat(np.arange(len(rows)), counts)
    within = np.arange(len(lower)) - np.repeat(np.cumsum(counts) - counts, counts)
    return np.repeat(first, counts) + within, lower


def _joined(count: int, some: _Numbers, others: _Numbers) -> _Numbers:
    """Return for each of so many the lowest number that it is joined with over these pairs."""
    lowest = np.arange(count)
    while len(some):
        a, b = lowest[some], lowest[others]
        is_apart = a != b
        some, others, a, b = some[is_apart], others[is_apart], a[is_apart], b[is_apart]
        np.minimum.at(lowest, np.maximum(a, b), np.minimum(a, b))
        while True:
            further = lowest[lowest]
            if np.array_equal(further, lowest):
                break
            lowest = further
    return lowest
