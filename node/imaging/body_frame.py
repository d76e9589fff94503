"""A volume in the body's own axes: to its left, its back and its head, from between the breasts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

import numpy as np
from highdicom import Volume
from numpy.typing import NDArray

from node.imaging.body_front import Coordinates
from node.imaging.components import Bools
from node.imaging.grey import Float32
from node.imaging.midline import Midline
from node.imaging.motion import cell_means


@dataclass(frozen=True, slots=True)
class BodyFrame:
    """Axes of the body: where it lies and how it is turned is the midline's."""

    origin: Coordinates
    """On the skin between the breasts (LPS, mm)."""
    axes: Coordinates
    """To the left, the back and the head: unit vectors as rows."""

    @classmethod
    def of(cls, midline: Midline) -> Self:
        """Return the frame of a body whose midline was found."""
        left = np.array(midline.normal)
        back = np.array([-left[1], left[0], 0.0]) / np.hypot(left[0], left[1])
        return cls(np.array(midline.point), np.array([left, back, np.cross(left, back)]))

    @property
    def turns(self) -> tuple[float, float]:
        """In degrees, as `node.imaging.body_front` turns: about head, then about back."""
        left = self.axes[0]
        about_back = np.arcsin(np.clip(left[2], -1, 1))
        return float(np.degrees(np.arctan2(left[1], left[0]))), float(np.degrees(about_back))

    def own(self, places: Coordinates) -> Coordinates:
        """Return places (..., 3) of the patient in the body's own mm."""
        return np.asarray((places - self.origin) @ self.axes.T, np.float64)


@dataclass(frozen=True, slots=True)
class Cells:
    """Mean signal of cells of a few voxels, along the volume's own axes."""

    means: Float32
    sizes: tuple[int, ...]
    """Of a cell, in voxels along each axis."""
    spacing: tuple[float, ...]
    """Between cells, in mm."""
    affine: Coordinates
    """From a cell's indices to LPS."""

    @classmethod
    def of(cls, volume: Volume, cell_mm: float) -> Self:
        """Make cells of about a size, never smaller than a voxel."""
        counts = zip(volume.spacing, volume.shape, strict=True)
        sizes = [min(max(1, round(cell_mm / mm)), count) for mm, count in counts]
        affine = volume.affine.copy()
        affine[:3, 3] += affine[:3, :3] @ ((np.array(sizes) - 1) / 2)
        affine[:3, :3] *= sizes
        spacing = tuple(float(s * mm) for s, mm in zip(sizes, volume.spacing, strict=True))
        return cls(cell_means(volume.array, sizes), tuple(sizes), spacing, affine)

    def planes(self, frame: BodyFrame) -> Iterator[tuple[Float32, Float32, Float32]]:
        """Yield how far the cells of each slice lie to the left, the back and the head, in mm."""
        first = frame.own(self.affine[:3, 3])
        steps = (frame.axes @ self.affine[:3, :3]).astype(np.float32)
        rows, columns = (np.arange(count, dtype=np.float32) for count in self.means.shape[1:])
        beside = [rows[:, np.newaxis] * step[1] + columns * step[2] for step in steps]
        for at in range(len(self.means)):
            start = (first + at * steps[:, 0]).astype(np.float32)
            yield beside[0] + start[0], beside[1] + start[1], beside[2] + start[2]

    def at(self, frame: BodyFrame, places: Float32) -> tuple[Float32, Bools]:
        """Return the signal at places (..., 3) of the body, and which of them were imaged.

        Between cells, the eight around a place count as they are near.
        """
        to_cells = np.linalg.inv(self.affine)
        turn = (to_cells[:3, :3] @ frame.axes.T).astype(np.float32)
        start = (to_cells[:3, :3] @ frame.origin + to_cells[:3, 3]).astype(np.float32)
        cells = places @ turn.T + start
        last = np.array(self.means.shape) - 1
        seen = np.asarray(((cells > -0.5) & (cells < last + 0.5)).all(axis=-1))
        cells = np.clip(cells, 0, last)
        low = np.minimum(cells.astype(np.int32), np.maximum(last - 1, 0))
        share = (cells - low).astype(np.float32)
        total = np.zeros(cells.shape[:-1], np.float32)
        for corner in np.ndindex(2, 2, 2):
            index = np.minimum(low + np.array(corner, np.int32), last)
            weight = np.where(np.array(corner, bool), share, 1 - share).prod(axis=-1)
            total += weight * self.means[tuple(np.moveaxis(index, -1, 0))]
        return total, seen


@dataclass(frozen=True, slots=True)
class Between:
    """The way from cells back to voxels along one axis: between two cells, both count."""

    low: NDArray[np.intp]
    high: NDArray[np.intp]
    share: Float32
    """Of the higher."""

    @classmethod
    def of(cls, voxels: int, size: int) -> Self:
        """Of so many voxels in cells of a size; at both ends the outermost cells are repeated."""
        last = max(1, voxels // size) - 1
        at = np.clip((np.arange(voxels) + 0.5) / size - 0.5, 0, last)
        low = at.astype(np.intp)
        return cls(low, np.minimum(low + 1, last), (at - low).astype(np.float32))

    def at(self, field: Float32, voxel: int) -> Float32:
        """Return what is of one voxel along the first axis."""
        share = self.share[voxel]
        mean = field[self.low[voxel]] * (1 - share) + field[self.high[voxel]] * share
        return np.asarray(mean, np.float32)

    def along(self, field: Float32, axis: int) -> Float32:
        """Return what is of all voxels along an axis of a plane."""
        share = self.share[:, np.newaxis] if axis == 0 else self.share
        low, high = field.take(self.low, axis), field.take(self.high, axis)
        high -= low
        high *= share
        high += low
        return high
