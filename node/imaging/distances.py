"""Distances and connection in arrays of cells: no more than numpy, and bounded in time."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from node.imaging.components import Bools
from node.imaging.grey import Float32

_MOST_PASSES = 12
"""Of `reached`: each follows a path as far as it goes straight along every axis in turn."""


def distance_mm(mask: Bools, spacing: Sequence[float], most_mm: float) -> Float32:
    """Return how far each cell is from the nearest cell of a mask, at most so much.

    From centre to centre, exact (Felzenszwalb and Huttenlocher 2012, one axis after the other, by
    comparison with each neighbour in reach).
    """
    squared = np.where(mask, np.float32(0), np.float32(most_mm**2))
    for axis, step_mm in enumerate(spacing):
        along = np.moveaxis(squared, axis, 0)
        nearest = along.copy()
        for steps in range(1, min(math.ceil(most_mm / step_mm), len(along) - 1) + 1):
            further = np.float32((steps * step_mm) ** 2)
            np.minimum(nearest[steps:], along[:-steps] + further, out=nearest[steps:])
            np.minimum(nearest[:-steps], along[steps:] + further, out=nearest[:-steps])
        squared = np.moveaxis(nearest, 0, axis)
    return np.sqrt(squared, dtype=np.float32)


def depth_mm(mask: Bools, spacing: Sequence[float], most_mm: float) -> Float32:
    """Return how deep each cell lies in a mask, from its surface; negative outside of it."""
    half = float(np.mean(spacing)) / 2
    inside = distance_mm(~mask, spacing, most_mm + half) - half
    outside = distance_mm(mask, spacing, most_mm + half) - half
    return np.where(mask, inside, -outside)


def reached(seeds: Bools, within: Bools) -> Bools:
    """Return the cells of a mask that touch a seed, or a cell that does, by their faces."""
    found = seeds & within
    count = -1
    for _ in range(_MOST_PASSES):
        before, count = count, int(np.count_nonzero(found))
        if count == before:
            break
        for axis in range(found.ndim):
            for step in (1, -1):
                along = np.moveaxis(found, axis, 0)[::step]
                _spread(along, np.moveaxis(within, axis, 0)[::step])
    return found


def _spread(found: Bools, within: Bools) -> None:
    """Follow a mask along the first axis from what is found, in place."""
    for at in range(1, len(found)):
        found[at] |= found[at - 1] & within[at]
