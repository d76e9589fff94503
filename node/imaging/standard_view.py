"""How slices and projections are shown to a reader, whichever way they are stored.

As viewers and textbooks show them: axial from the feet with the patient's right on the left and
the front above, sagittal with the front on the left and the head above, coronal from the front with
the right on the left and the head above. An oblique slice is shown as what it is nearest to.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import permutations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from node.imaging.planes import Vector

LETTERS = (("R", "L"), ("A", "P"), ("F", "H"))
"""Towards less and more of x, y and z (PS3.3 C.7.6.1.1.1)."""
_SHOWN = {2: ("axial", 0, 1, 1), 0: ("sagittal", 1, 2, -1), 1: ("coronal", 0, 2, -1)}
"""By the axis across the slice: its name, the axis to the right, the axis down and its sign."""


@dataclass(frozen=True, slots=True)
class StandardView:
    """How a matrix of rows and columns is turned to be shown."""

    name: str
    """"axial"."""
    is_transposed: bool
    flips: tuple[bool, bool]
    """Of rows and of columns, after that."""
    spacing: tuple[float, float]
    """Between rows and between columns as shown, in mm."""
    left: str
    """What lies there: "R"."""
    right: str
    top: str
    bottom: str

    def of(self, matrix: NDArray[Any]) -> NDArray[Any]:
        """Return a stored matrix as it is shown."""
        shown = matrix.T if self.is_transposed else matrix
        rows, columns = (slice(None, None, -1 if flip else None) for flip in self.flips)
        return np.ascontiguousarray(shown[rows, columns])


def view_of(right: Vector, down: Vector, spacing: tuple[float, float]) -> StandardView:
    """Return how a slice is shown whose rows run to `right` and columns `down` (LPS).

    Spacing is between rows, then between columns.
    """
    normal = np.cross(right, down)
    across, along = _nearest([right, down], excluding=int(np.argmax(np.abs(normal))))
    name, to_right, to_below, sign = _SHOWN[3 - across - along]
    is_transposed = across != to_right
    shown_right, shown_down = (down, right) if is_transposed else (right, down)
    flips = (sign * shown_down[to_below] < 0, shown_right[to_right] < 0)
    return StandardView(
        name,
        is_transposed,
        flips,
        (spacing[1], spacing[0]) if is_transposed else spacing,
        left=LETTERS[to_right][0],
        right=LETTERS[to_right][1],
        top=LETTERS[to_below][0 if sign > 0 else 1],
        bottom=LETTERS[to_below][1 if sign > 0 else 0],
    )


@dataclass(frozen=True, slots=True)
class AxialProjection:
    """A projection along the body, from the feet, of a stack of slices however they lie."""

    axes: tuple[int, int, int]
    """Which of slice, row and column (0, 1, 2) runs along x, y and z."""
    view: StandardView
    """How the projection is shown: of its two axes in the order of slice, row and column."""

    def of(
        self, slices: Iterable[tuple[int, NDArray[Any]]], shape: tuple[int, int, int]
    ) -> NDArray[Any]:
        """Return the highest value along the body, as shown, of slices given with their places.

        Nothing is lower than 0.
        """
        x, y, z = self.axes
        first, second = sorted((x, y))
        made: NDArray[Any] | None = None
        for place, values in slices:
            if made is None:
                made = np.zeros((shape[first], shape[second]), values.dtype)
            if z == 0:
                np.maximum(made, values, out=made)
            else:
                np.maximum(made[place], values.max(axis=z - 1), out=made[place])
        if made is None:
            made = np.zeros((shape[first], shape[second]), np.bool_)
        return self.view.of(made)


def axial_projection(affine: NDArray[np.float64]) -> AxialProjection:
    """Return how a stack is projected whose (slice, row, column, 1) are (x, y, z, 1) in mm."""
    steps = [np.asarray(affine[:3, axis]) for axis in range(3)]
    units = [step / np.linalg.norm(step) for step in steps]
    x, y, z = max(
        permutations(range(3)),
        key=lambda order: sum(abs(float(units[axis][of])) for of, axis in enumerate(order)),
    )
    lengths = [float(np.linalg.norm(step)) for step in steps]
    return AxialProjection(
        (x, y, z),
        StandardView(
            "axial",
            is_transposed=x < y,
            flips=(bool(steps[y][1] < 0), bool(steps[x][0] < 0)),
            spacing=(lengths[y], lengths[x]),
            left="R",
            right="L",
            top="A",
            bottom="P",
        ),
    )


def _nearest(vectors: list[Vector], excluding: int) -> tuple[int, int]:
    """Return the axis that each of two vectors follows most, not the same and not that one."""
    one, other = (axis for axis in range(3) if axis != excluding)
    first, second = vectors
    straight = abs(first[one]) + abs(second[other])
    crossed = abs(first[other]) + abs(second[one])
    return (one, other) if straight >= crossed else (other, one)
