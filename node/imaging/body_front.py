"""The front of a body in a volume: how deep it reaches, seen along turned axes, and what protrudes.

Air and body are told apart, and nothing else: fat, gland, implant and contrast are all body.
Coordinates are the patient's (LPS, mm), in which left, back and head are known of any position.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from highdicom import Volume
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from node.errors import StudyError
from node.imaging.components import Bools, largest_component
from node.imaging.grey import Float32
from node.imaging.motion import cell_means

CELL_MM = 4.0
"""Of the front, along each axis."""

_DEEPEST_MM = 150.0
"""Behind the foremost of the body: what is further back is not looked at."""

_BREAST_MM = 160.0
"""No breast is as wide: what is narrower, and in front of what lies around, may be one."""

_SMALLEST_MM2 = 1500.0
"""Of what protrudes, as seen from the front."""

Coordinates = NDArray[np.float64]
Turns = tuple[float, ...]
"""In degrees: about the axis to the head, then about the axis to the back."""


@dataclass(frozen=True, slots=True)
class Front:
    """How deep the body reaches in front of a plane behind it: (to the left, to the head)."""

    depth: Coordinates
    """In mm; 0 where there is no body."""
    is_seen: Bools
    """Whether the image shows where the body begins there."""
    origin: Coordinates
    """The patient's coordinates of the first cell, on that plane."""
    axes: Coordinates
    """To the left, the back and the head, turned: unit vectors as rows."""

    def across(self, place: Coordinates) -> float:
        """Return where a place of the patient lies from side to side, in cells."""
        return float((place - self.origin) @ self.axes[0]) / CELL_MM

    def place(self, across: float, along: float, depth_mm: float) -> Coordinates:
        """Return the patient's coordinates of a place at the front, in cells."""
        left, back, head = self.axes
        beside = self.origin + (across * left + along * head) * CELL_MM
        return np.asarray(beside - depth_mm * back, np.float64)

    def protruding(self) -> Coordinates:
        """Return how far each place is in front of what lies around, in mm.

        That is of each row what an opening takes away (Serra 1982) by a line wider than a breast.
        At the edges of the image the line may reach out of it by a quarter.
        """
        half = round(_BREAST_MM / CELL_MM / 2)
        depth = np.where(self.is_seen, self.depth, np.inf)
        lowest = _sliding(depth, half, half + half // 2, np.inf).min(axis=-1)
        lowest = np.where(np.isfinite(lowest), lowest, -np.inf)
        base = _sliding(lowest, half, half - half // 2, -np.inf).max(axis=-1)
        return np.where(self.is_seen, self.depth - np.minimum(base, self.depth), 0.0)


def _sliding(values: Coordinates, half: int, beyond: int, filling: float) -> Coordinates:
    """Return what a line sees around each place, and around so many more at both ends."""
    padded = np.pad(values, ((beyond, beyond), (0, 0)), constant_values=filling)
    return np.asarray(sliding_window_view(padded, 2 * half + 1, axis=0))


def protruding_regions(protruding: Coordinates, least_mm: float) -> list[Bools]:
    """Return where something protrudes by so much, at most two regions, the larger first."""
    rest = protruding >= least_mm
    found: list[Bools] = []
    while len(found) < 2 and (one := largest_component(rest, neighbours=4)) is not None:
        mask = one.mask(rest.shape)
        if mask.sum() * CELL_MM**2 < _SMALLEST_MM2:
            break
        found.append(mask)
        rest = rest & ~mask
    return found


@dataclass(frozen=True, slots=True)
class BodyCells:
    """What is body and not air, in cells of about CELL_MM along the volume's axes."""

    is_body: Bools
    to_cells: Coordinates
    """From (x, y, z, 1) to a cell's indices."""
    centre: Coordinates
    half_mm: Coordinates
    """Half of the image's extent along x, y and z."""

    @classmethod
    def of(cls, volume: Volume) -> Self:
        """Raise StudyError of what is too small, or of one tone."""
        sizes = [max(1, round(CELL_MM / mm)) for mm in volume.spacing]
        means = cell_means(volume.array, sizes)
        if min(means.shape) < 4:
            raise StudyError("no plane between breasts is seen: too few slices or pixels")
        affine = volume.affine.copy()
        affine[:3, 3] += affine[:3, :3] @ ((np.array(sizes) - 1) / 2)
        affine[:3, :3] *= sizes
        reach = np.abs(affine[:3, :3]) @ (np.array(means.shape) / 2)
        centre = affine[:3, :3] @ ((np.array(means.shape) - 1) / 2) + affine[:3, 3]
        return cls(_body(means), np.linalg.inv(affine), centre, reach)

    def front(self, turns: Turns) -> Front:
        """Look at the body along turned axes."""
        axes = _axes(turns)
        reach = np.abs(axes) @ self.half_mm
        shape = tuple(int(count) for count in np.maximum(1, 2 * reach // CELL_MM))
        start = self.centre - (np.array(shape) - 1) / 2 * CELL_MM @ axes
        nearest = self._nearest(start, axes, shape)
        sizes = np.array(self.is_body.shape).reshape(3, 1, 1, 1)
        is_seen = np.asarray(((nearest >= 0) & (nearest < sizes)).all(axis=0))
        deep, high, wide = np.clip(nearest, 0, sizes - 1)
        return _front(self.is_body[deep, high, wide] & is_seen, is_seen, start, axes)

    def _nearest(
        self, start: Coordinates, axes: Coordinates, shape: tuple[int, ...]
    ) -> NDArray[np.int32]:
        """Return the cells nearest to the points of a turned grid, (3, left, back, head)."""
        turn = self.to_cells[:3, :3] @ axes.T * CELL_MM
        first = self.to_cells[:3, :3] @ start + self.to_cells[:3, 3]
        cells = np.zeros((3, *shape), np.float32) + first.reshape(3, 1, 1, 1).astype(np.float32)
        for axis, count in enumerate(shape):
            along = np.arange(count, dtype=np.float32)
            beside = along.reshape([-1 if n == axis else 1 for n in range(3)])
            for index in range(3):
                cells[index] += np.float32(turn[index, axis]) * beside
        return np.rint(cells).astype(np.int32)


def _front(is_body: Bools, is_seen: Bools, start: Coordinates, axes: Coordinates) -> Front:
    """Return the front of what was looked at, (to the left, to the back, to the head).

    It is seen where air is seen before it, or air all the way: where the image begins in the body
    or ends before it, as at the corners of an oblique one, nobody knows how far the body goes.
    """
    has_body = is_body.any(axis=1)
    if not has_body.any():
        raise StudyError("no plane between breasts is seen: no body")
    first = np.where(has_body, is_body.argmax(axis=1), is_body.shape[1])
    foremost = float(np.percentile(first[has_body], 0.5))
    back = min(foremost + _DEEPEST_MM / CELL_MM, float(is_body.shape[1]))
    depth = np.clip(back - first, 0, None) * CELL_MM
    ends = is_seen.shape[1] - is_seen[:, ::-1].argmax(axis=1)
    is_known = is_seen.any(axis=1) & (is_seen.argmax(axis=1) < first) & (has_body | (ends >= back))
    return Front(depth, np.asarray(is_known), start + axes[1] * back * CELL_MM, axes)


def _axes(turns: Turns) -> Coordinates:
    about_head, about_back = np.radians(turns)
    left = np.array([np.cos(about_head), np.sin(about_head), 0.0])
    back, head = np.array([-left[1], left[0], 0.0]), np.array([0.0, 0.0, 1.0])
    c, s = np.cos(about_back), np.sin(about_back)
    return np.array([c * left + s * head, back, c * head - s * left])


def air_below(means: Float32) -> float:
    """Return the signal that parts air from body: where logarithms divide best (Otsu 1979).

    Logarithms, because fat that is suppressed is nearer to air than to what is bright. Raises
    StudyError of an image of one tone.
    """
    floor = max(float(np.percentile(means, 99)) / 500, 1e-6)
    levels = np.log(np.maximum(means, floor))
    if np.ptp(levels) < 0.5:
        raise StudyError("no plane between breasts is seen: image of one tone")
    counts, edges = np.histogram(levels, 128)
    middles = (edges[1:] + edges[:-1]) / 2
    below, sums = np.cumsum(counts), np.cumsum(counts * middles)
    above = below[-1] - below
    with np.errstate(divide="ignore", invalid="ignore"):
        apart = sums / below - (sums[-1] - sums) / above
    between = np.nan_to_num(below * above * apart**2)
    return float(np.exp(edges[1 + int(np.argmax(between))]))


def _body(means: Float32) -> Bools:
    """Return what is brighter than air.

    What is alone among its neighbours, or missing among them, follows most of them.
    """
    return share_around(means > air_below(means)) > 0.5


def share_around(mask: Bools) -> Float32:
    """Return the share of a mask within one cell along each axis, the outermost repeated."""
    share = np.pad(mask.astype(np.float32), 1, mode="edge")
    share = share[:-2] + share[1:-1] + share[2:]
    share = share[:, :-2] + share[:, 1:-1] + share[:, 2:]
    return np.asarray((share[:, :, :-2] + share[:, :, 1:-1] + share[:, :, 2:]) / 27, np.float32)
