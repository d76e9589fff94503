"""Where the slices of a series lie: orientation, spacing and order, in LPS of the patient."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum

import numpy as np
from numpy.typing import NDArray

FIELD_MM = (340.0, 250.0, 170.0)
"""What every series covers: x, y, z."""
MIDDLE_MM = (0.0, 15.0, 0.0)
"""The middle of what is covered, in LPS, of a body that is not shifted."""
FINER = 4
"""Into how many each edge of a voxel is cut for the truth."""


class Orientation(Enum):
    """Image Orientation (0020,0037): along a row, then down a column."""

    AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
    SAGITTAL = (0.0, 1.0, 0.0, 0.0, 0.0, -1.0)
    CORONAL = (1.0, 0.0, 0.0, 0.0, 0.0, -1.0)
    OBLIQUE = (0.97, 0.1982, -0.1407, -0.2, 0.9798, 0.0014)
    """Axial, turned about two axes; made orthonormal before use."""

    def axes(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the unit vectors along a row and down a column."""
        across, down = np.array(self.value[:3]), np.array(self.value[3:])
        across = across / np.linalg.norm(across)
        down = down - across * float(down @ across)
        return across, down / np.linalg.norm(down)


@dataclass(frozen=True, slots=True)
class Raster:
    """The grid of one stack of parallel slices; index (slice, row, column)."""

    first_mm: tuple[float, float, float]
    """Centre of the first pixel of the first slice: Image Position (0020,0032)."""
    across: tuple[float, float, float]
    """Unit vector from a pixel to the next of its row."""
    down: tuple[float, float, float]
    through: tuple[float, float, float]
    """Unit vector from a slice to the next in order of Instance Number."""
    spacing_mm: tuple[float, float, float]
    """Between slices, between rows, between columns."""
    shape: tuple[int, int, int]
    """Slices, rows, columns."""

    def vectors(self) -> NDArray[np.float64]:
        """Return the steps in mm from a voxel to the next slice, row and column, as rows."""
        axes = np.array([self.through, self.down, self.across])
        return np.asarray(axes * np.array(self.spacing_mm)[:, np.newaxis])

    def points(self, indices: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return where voxels (n, 3; slice, row, column) lie: LPS mm (n, 3)."""
        points: NDArray[np.float64] = np.asarray(self.first_mm) + indices @ self.vectors()
        return points

    def indices(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the voxels (n, 3), with fractions, of LPS points (n, 3)."""
        away: NDArray[np.float64] = points - np.asarray(self.first_mm)
        indices: NDArray[np.float64] = away @ np.linalg.inv(self.vectors())
        return indices

    def position(self, index: int) -> tuple[float, float, float]:
        """Return Image Position (0020,0032) of a slice, counted from 0."""
        x, y, z = self.points(np.array([[index, 0.0, 0.0]]))[0]
        return float(x), float(y), float(z)

    def finer(self, times: int) -> Raster:
        """Return the grid that cuts each voxel into times^3, and covers the same."""
        offset = -(times - 1) / (2 * times)
        first = self.points(np.full((1, 3), offset))[0]
        return replace(
            self,
            first_mm=(float(first[0]), float(first[1]), float(first[2])),
            spacing_mm=tuple(step / times for step in self.spacing_mm),  # type: ignore[arg-type]
            shape=tuple(count * times for count in self.shape),  # type: ignore[arg-type]
        )

    def voxel_ml(self) -> float:
        """Return the volume of one voxel."""
        return float(np.prod(self.spacing_mm)) / 1000

    def orientation(self) -> list[float]:
        """Return Image Orientation (0020,0037)."""
        return [*self.across, *self.down]


def raster(
    orientation: Orientation = Orientation.AXIAL,
    shape: tuple[int, int, int] = (64, 128, 128),
    *,
    backwards: bool = False,
    turned: bool = False,
    middle_mm: tuple[float, float, float] = MIDDLE_MM,
) -> Raster:
    """Return slices that cover FIELD_MM about a middle, as square pixels.

    Backwards, the slices are numbered against the normal (row x column). Turned, the first pixel is
    in the opposite corner, as of a woman who lies prone and is shown so.
    """
    across, down = orientation.axes()
    if turned:
        across, down = -across, -down
    through = np.cross(across, down)
    if backwards:
        through = -through
    field = np.array(FIELD_MM)
    slices, rows, columns = shape
    pixel = max(_extent(down, field) / rows, _extent(across, field) / columns)
    between = _extent(through, field) / slices
    vectors = np.array([through * between, down * pixel, across * pixel])
    first = np.array(middle_mm) - (np.array(shape) - 1) / 2 @ vectors
    return Raster(
        _triple(first),
        _triple(across),
        _triple(down),
        _triple(through),
        (round(between, 6), round(pixel, 6), round(pixel, 6)),
        shape,
    )


def _extent(axis: NDArray[np.float64], field: NDArray[np.float64]) -> float:
    """Return how long the field is along the side that an axis follows most."""
    return float(field[int(np.argmax(np.abs(axis)))])


def _triple(vector: NDArray[np.float64]) -> tuple[float, float, float]:
    x, y, z = (round(float(value), 9) + 0.0 for value in vector)
    return x, y, z
