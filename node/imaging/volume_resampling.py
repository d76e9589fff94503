"""Bringing a volume to another distance of voxels; models/README.md, "Volumes", has the arithmetic.

Linear, and as wide as the reduction where it is one: the triangle of Pillow's BILINEAR, of which
the middle of the volume stays where it is and the distance is exactly that which was asked for.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from node.imaging.grey import Float32

_HALF = 0.501
"""A half voxel, and what numbers of a header may be off, is no voxel."""


@dataclass(frozen=True, slots=True)
class Axis:
    """How the voxels along an axis are made of those that are there."""

    first: float
    """Where the first lies, counted in voxels as they are."""
    ratio: float
    """Of the new distance to that which is there."""
    taken: NDArray[np.intp]
    """Shape (new voxels, n): of which voxels each is made."""
    weights: NDArray[np.float64]
    """Of the same shape: by which shares, which add up to 1."""

    @property
    def count(self) -> int:
        """How many voxels there will be."""
        return len(self.taken)


def resampled_count(count: int, mm: float, wanted_mm: float) -> int:
    """Return how many voxels of another length there are along an axis: the nearest number."""
    return max(1, math.ceil(count * mm / wanted_mm - _HALF))


def axis_of(count: int, mm: float, wanted_mm: float) -> Axis:
    """Return how an axis of so many voxels of a length is brought to another length."""
    ratio = wanted_mm / mm
    new = resampled_count(count, mm, wanted_mm)
    at = (np.arange(new) - (new - 1) / 2) * ratio + (count - 1) / 2
    reach = max(1.0, ratio)
    places = np.ceil(at - reach)[:, np.newaxis] + np.arange(math.ceil(2 * reach) + 1)
    weights = np.maximum(0.0, 1 - np.abs(places - at[:, np.newaxis]) / reach)
    weights[(places < 0) | (places > count - 1)] = 0
    weights /= weights.sum(axis=1, keepdims=True)
    return Axis(float(at[0]), ratio, np.clip(places, 0, count - 1).astype(np.intp), weights)


def resampled_volume(values: Float32, axes: Sequence[Axis]) -> Float32:
    """Return values (slices, rows, columns) along other axes.

    In 64 bits, rounded once; so many slices at a time as one new slice is made of.
    """
    through, down, across = axes
    made = np.empty((through.count, down.count, across.count), np.float32)
    planes = dict[int, NDArray[np.float64]]()
    for at, (taken, weights) in enumerate(zip(through.taken, through.weights, strict=True)):
        needed = {int(one): weight for one, weight in zip(taken, weights, strict=True) if weight}
        planes = {
            one: planes[one] if one in planes else _along(_along(values[one], down).T, across).T
            for one in needed
        }
        made[at] = sum(planes[one] * weight for one, weight in needed.items())
    return made


def nearest_of(labels: NDArray[np.uint8], axes: Sequence[Axis]) -> NDArray[np.uint8]:
    """Return labels along other axes: each that of the voxel that is nearest, the later of two."""
    places = []
    for there, axis in zip(labels.shape, axes, strict=True):
        at = np.floor(axis.first + axis.ratio * np.arange(axis.count) + 0.5)
        places.append(np.clip(at, 0, there - 1).astype(np.intp))
    return labels[np.ix_(*places)]


def _along(plane: NDArray[np.floating], axis: Axis) -> NDArray[np.float64]:
    """Return a plane whose first axis is another."""
    made = np.zeros((axis.count, plane.shape[1]))
    for taken, weights in zip(axis.taken.T, axis.weights.T, strict=True):
        made += plane[taken] * weights[:, np.newaxis]
    return made
