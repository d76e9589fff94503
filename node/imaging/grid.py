"""How the network's input lies in what was stored, and the way back."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple, Protocol, Self

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]
"""Shape (n, 2): (column, row) from the top left corner of the top left pixel."""


class Grid(Protocol):
    """How the network's input lies in what was stored."""

    def places(self, points: Points, /) -> Points:
        """Map points of the network's input to where they are."""
        ...


class Extent(NamedTuple):
    """A box with its edges along rows and columns, from the top left corner of the first pixel."""

    left: float
    top: float
    right: float
    bottom: float

    @property
    def width(self) -> float:
        """Columns."""
        return self.right - self.left

    @property
    def height(self) -> float:
        """Rows."""
        return self.bottom - self.top

    @property
    def slices(self) -> tuple[slice, slice]:
        """The rows and columns of the pixels that it reaches into."""
        return (
            slice(math.floor(self.top), math.ceil(self.bottom)),
            slice(math.floor(self.left), math.ceil(self.right)),
        )


@dataclass(frozen=True, slots=True)
class PlaneGrid:
    """Of a plane image: a part of the stored matrix fills a part of the network's input."""

    rows: int
    columns: int
    """Of the stored matrix."""
    shown: Extent
    """The part of the stored matrix that the network sees."""
    filled: Extent
    """The part of the network's input that it fills; the rest is filled up."""
    is_mirrored: bool = False

    @classmethod
    def whole(
        cls, rows: int, columns: int, height: int, width: int, is_mirrored: bool = False
    ) -> Self:
        """Return the grid of a whole matrix, resized to the top left corner of the input."""
        return cls(
            rows, columns, Extent(0, 0, columns, rows), Extent(0, 0, width, height), is_mirrored
        )

    def places(self, points: Points) -> Points:
        """Map points of the network's input to the stored matrix."""
        filled, shown = self.filled, self.shown
        scale = (shown.width / filled.width, shown.height / filled.height)
        moved = (points - (filled.left, filled.top)) * scale
        return np.add(self._turned(moved), (shown.left, shown.top), dtype=np.float64)

    def to_model(self, points: Points) -> Points:
        """Map points of the stored matrix to the network's input."""
        filled, shown = self.filled, self.shown
        moved = self._turned(points - (shown.left, shown.top))
        scale = (filled.width / shown.width, filled.height / shown.height)
        return np.add(moved * scale, (filled.left, filled.top), dtype=np.float64)

    def pixel_area_mm2(self, spacing_mm: tuple[float, float]) -> float:
        """Return how much of the breast one pixel of the network's input covers."""
        row_mm, column_mm = spacing_mm
        filled, shown = self.filled, self.shown
        return (row_mm * shown.height / filled.height) * (column_mm * shown.width / filled.width)

    def depth_mm(self, x: float, side: Literal["left", "right"], column_mm: float) -> float:
        """Return how far a column of the input lies from the image's edge on a side of the input.

        From the edge of the stored matrix, whatever of it was cut off.
        """
        filled, shown = self.filled, self.shown
        within = x - filled.left if side == "left" else filled.right - x
        is_at_first_column = (side == "left") != self.is_mirrored
        before = shown.left if is_at_first_column else self.columns - shown.right
        return within * (column_mm * shown.width / filled.width) + before * column_mm

    @property
    def whole_image(self) -> Extent:
        """Where the edges of the stored matrix are in the input, or would be if it went on."""
        filled, shown = self.filled, self.shown
        ends = (shown.left, self.columns - shown.right)
        before, after = reversed(ends) if self.is_mirrored else ends
        across, down = filled.width / shown.width, filled.height / shown.height
        return Extent(
            filled.left - before * across,
            filled.top - shown.top * down,
            filled.right + after * across,
            filled.bottom + (self.rows - shown.bottom) * down,
        )

    # The steps of a preparation, each from the input so far to the next.

    def mirrored(self, width: int) -> PlaneGrid:
        """Return the grid after the input, so many columns wide, was mirrored."""
        filled = self.filled
        turned = filled._replace(left=width - filled.right, right=width - filled.left)
        return replace(self, filled=turned, is_mirrored=not self.is_mirrored)

    def resized(self, before: tuple[int, int], height: int, width: int) -> PlaneGrid:
        """Return the grid after the input, of a height and width before, was brought to others."""
        rows, columns = before
        left, top, right, bottom = self.filled
        filled = Extent(  # multiplied first: whole edges stay whole
            left * width / columns,
            top * height / rows,
            right * width / columns,
            bottom * height / rows,
        )
        return replace(self, filled=filled)

    def moved(self, right: int, down: int, height: int, width: int) -> PlaneGrid:
        """Return the grid after the input was moved into a window of a size, and cut there."""
        filled = self.filled
        whole = Extent(
            filled.left + right, filled.top + down, filled.right + right, filled.bottom + down
        )
        kept = Extent(
            left=max(whole.left, 0),
            top=max(whole.top, 0),
            right=min(whole.right, width),
            bottom=min(whole.bottom, height),
        )
        there = replace(self, filled=whole)
        if kept == whole:
            return there
        corners = there.places(np.array([kept[:2], kept[2:]], dtype=np.float64))
        shown = Extent(*np.sort(corners, axis=0).reshape(-1).tolist())
        return replace(there, filled=kept, shown=shown)

    def _turned(self, within: Points) -> Points:
        """Mirror points of the shown part, if it is mirrored."""
        if not self.is_mirrored:
            return within
        return np.column_stack((self.shown.width - within[:, 0], within[:, 1]))
