"""The front of the chest wall in a volume: where muscle begins behind breasts and their fat.

Seen from an axis within the chest, the wall is nearly round: how far it is from there changes
slowly with direction, at the sides of the chest too. The lungs, dark and large, say roughly where
it lies; in front of them lies muscle, whose signal is measured there; and the front is where, going
forwards, signal ceases to be that of muscle, as smoothly as a chest is. So nothing need be known
of fat: it is brighter than muscle, or darker where it is suppressed. Gland that touches the muscle,
or the breastbone that is as dark as fat, show no front: there the places around them do.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from node.imaging.body_frame import BodyFrame, Cells
from node.imaging.body_front import share_around
from node.imaging.components import Bools
from node.imaging.grey import Float32

AXIS_MM = 110.0
"""From the skin between the breasts back to the axis: about the middle of a chest."""

_STEP_DEGREES = 2.0
"""Between directions: 4 mm at the chest wall."""
_WIDEST_DEGREES = 84.0
"""From straight ahead to the sides: further back there is no breast."""
_ALONG_MM = 4.0
"""Between rows of directions, from feet to head."""

_LUNG_MM = 20.0
"""What is as dark as air for so long, on the way from the axis, is lung: bronchi and vessels of
dark blood are narrower."""
_OUTWARDS_MM = 2.0
_OUTWARDS = np.arange(10, 180, _OUTWARDS_MM, dtype=np.float32)
"""Where it is looked for, from the axis: no chest is wider."""
_FEWEST_LUNG = 0.08
"""Share of the directions in which lung must be seen: else it says nothing of the chest."""

_THICK_MM = 22.0
"""Usual thickness from lung to the front of the muscle: ribs 10 mm, pectoral muscle 10 to 15."""
_DOUBT_MM = 50.0
"""As far from the usual as is worth a whole edge: little, but where there is none."""
_THIN_MM, _THICKEST_MM = 6.0, 56.0
"""Between which it is looked for."""
_MUSCLE_MM = (8.0, 20.0)
"""In front of the lung, where most signal is muscle's."""
_WITHOUT_LUNG_MM = 14.0
"""Behind the skin between the breasts, where the front is looked for if no lung is seen."""

_ALIKE = 0.35
"""Logarithms of signal that differ by this from muscle's are as much muscle as not: the coil's
sensitivity changes by less from place to place, and fat differs by more in either contrast."""
_BEHIND_MM, _BEFORE_MM = 6, 6
"""Muscle on the one side of the front, and something else on the other, for so long."""
_CLEAR_MM = 3
"""So far from the front, signal is what lies on that side alone, in voxels of up to 3 mm."""

_BEND = 0.06
"""Cost of a step of 1 mm from direction to direction, relative to a perfect edge; by its square."""
_FARTHEST_STEPS = 4
_BREASTBONE_DEGREES = 28.0
"""A dent narrower than this (50 mm) is no shape of a chest but the breastbone (about 35 mm wide),
whose marrow is as dark as fat where fat is suppressed."""
_NEAR_MM = 6.0
"""As far as a row's own front may easily be from that of the rows around it; and, of the lungs,
where they end from a smooth surface."""
_FAR_MM = 20.0
"""The same of the usual chest."""
_AROUND_MM = 20.0
"""Rows within this, either way, are taken together first."""


@dataclass(frozen=True, slots=True)
class ChestFront:
    """How far from the axis the chest wall begins, by direction (rows) and height (columns)."""

    radius: Float32
    first_head_mm: float
    is_measured: bool
    """Whether lungs were seen; else it lies where it usually does."""

    def before_mm(self, left: Float32, back: Float32, head: Float32) -> Float32:
        """Return how far places of the body lie in front of the wall; negative behind it."""
        across = np.degrees(np.arctan2(left, AXIS_MM - back))
        angles, rows = self.radius.shape
        at = np.clip((across + _WIDEST_DEGREES) / _STEP_DEGREES, 0, angles - 1.001)
        row = np.clip((head - self.first_head_mm) / _ALONG_MM, 0, max(rows - 1.001, 0))
        low, first = at.astype(np.int32), row.astype(np.int32)
        share, part = at - low, row - first
        after = np.minimum(first + 1, rows - 1)
        here = self.radius[low, first] * (1 - share) + self.radius[low + 1, first] * share
        there = self.radius[low, after] * (1 - share) + self.radius[low + 1, after] * share
        away = np.hypot(left, AXIS_MM - back)
        return np.asarray(away - (here * (1 - part) + there * part), np.float32)


def chest_front(cells: Cells, frame: BodyFrame, air: float) -> ChestFront:
    """Find the front of the chest wall; `air` is the signal below which there is none."""
    corners = np.array(list(np.ndindex(2, 2, 2))) * (np.array(cells.means.shape) - 1)
    heads = frame.own(corners @ cells.affine[:3, :3].T + cells.affine[:3, 3])[:, 2]
    rows = np.arange(heads.min(), heads.max() + 0.1, _ALONG_MM, dtype=np.float32)
    degrees = np.arange(-_WIDEST_DEGREES, _WIDEST_DEGREES + 0.1, _STEP_DEGREES)
    angles = np.radians(degrees).astype(np.float32)
    lung = _lung_ends(cells, frame, air, angles, rows)
    is_measured = float(lung.any(axis=-1).mean()) >= _FEWEST_LUNG
    inner = _smooth(lung, angles, rows) if is_measured else _usual(angles, len(rows))
    beyond = np.arange(-_BEHIND_MM, _THICKEST_MM + _BEFORE_MM + 1, dtype=np.float32)
    signal, seen = _along(cells, frame, angles, rows, inner[..., np.newaxis] + beyond)
    edges = _edges(_muscle(signal, seen, beyond, air, is_measured), seen)
    thick = beyond[_BEHIND_MM : len(beyond) - _BEFORE_MM]
    usual = -(((thick - _THICK_MM) / _DOUBT_MM) ** 2)
    edges = np.asarray(np.where(thick < _THIN_MM, -1.0, edges) + usual, np.float32)
    found = _paths(_rows_around(edges, round(_AROUND_MM / _ALONG_MM)))
    middle = thick[found]
    near = ((thick - middle[..., np.newaxis]) / _NEAR_MM) ** 2
    at = _paths(_rows_around(edges, 1) - 0.1 * near)
    own = thick[at] + _halfway(_rows_around(signal, 1), at + _BEHIND_MM)
    whole = _bridged(inner + own, round(_BREASTBONE_DEGREES / 2 / _STEP_DEGREES))
    return ChestFront(_blurred(whole), float(rows[0]), is_measured)


def _along(
    cells: Cells, frame: BodyFrame, angles: Float32, rows: Float32, radii: Float32
) -> tuple[Float32, Float32]:
    """Return signal at radii (directions, rows, n), and 1 where it was imaged."""
    sine, cosine = np.sin(angles)[:, None, None], np.cos(angles)[:, None, None]
    left, back = radii * sine, AXIS_MM - radii * cosine
    head = np.broadcast_to(rows[None, :, None], left.shape)
    signal, seen = cells.at(frame, np.stack((left, back, head), axis=-1))
    return signal, seen.astype(np.float32)


def _lung_ends(cells: Cells, frame: BodyFrame, air: float, angles: Float32, rows: Float32) -> Bools:
    """Return where lung ends, of each direction and row at each of _OUTWARDS; or something dark."""
    radii = np.broadcast_to(_OUTWARDS, (len(angles), len(rows), len(_OUTWARDS)))
    tissue = replace(cells, means=share_around(cells.means > air))
    share, seen = _along(tissue, frame, angles, rows, radii)
    is_dark = (share < 0.5) & (seen > 0)
    # In front of the skin between the breasts lie implants and the air before the body.
    is_dark &= AXIS_MM - radii * np.cos(angles)[:, None, None] > 0
    ends = np.zeros(is_dark.shape, bool)
    run = np.zeros(is_dark.shape[:2], np.int32)
    for at in range(len(_OUTWARDS)):
        dark = is_dark[..., at]
        ends[..., at] = ~dark & (run * _OUTWARDS_MM >= _LUNG_MM) & (seen[..., at] > 0)
        run = np.where(dark, run + 1, 0)
    return ends


def _smooth(ends: Bools, angles: Float32, rows: Float32) -> Float32:
    """Return the smooth surface, not far from the usual, that lies nearest to where lung ends.

    Of several ends in a direction the nearest counts, and little if it is far from the surface: the
    heart lies between, and vessels within the lung.
    """
    a, z = np.meshgrid(angles, (rows - rows.mean()) / 100, indexing="ij")
    terms = np.stack([a**n for n in range(5)] + [z, z**2, a * z, a * z**2, a**2 * z], axis=-1)
    known = ends.any(axis=-1)
    basis = terms[known].astype(np.float64)
    steady = np.diag([0.0] + [0.5] * (terms.shape[-1] - 1))
    surface = _usual(angles, len(rows))
    for turn in range(12):
        away = np.where(ends[known], np.abs(_OUTWARDS - surface[known][:, None]), np.inf)
        values = (_OUTWARDS - _OUTWARDS_MM / 2)[away.argmin(axis=-1)].astype(np.float64)
        near = _FAR_MM if turn < 3 else _NEAR_MM
        weighted = basis / (1 + ((values - surface[known]) / near) ** 2)[:, np.newaxis]
        best = np.linalg.solve(weighted.T @ basis + steady, weighted.T @ values)
        surface = np.clip(terms @ best, 40, 170).astype(np.float32)
    return surface


def _usual(angles: Float32, rows: int) -> Float32:
    """Return where the inner side of the wall is of a usual chest, half as wide again as deep."""
    ahead = AXIS_MM - _WITHOUT_LUNG_MM - _THICK_MM
    radius = ahead * (1 + 0.5 * np.sin(angles) ** 2)
    return np.repeat(radius[:, np.newaxis], rows, axis=1).astype(np.float32)


def _muscle(
    signal: Float32, seen: Float32, beyond: Float32, air: float, is_measured: bool
) -> Float32:
    """Return how much each place is like muscle, 0 to 1; of directions near one another alike."""
    low, high = _MUSCLE_MM if is_measured else (_THICK_MM - 10, _THICK_MM - 2)
    band = (beyond >= low) & (beyond <= high)
    levels = np.log(np.maximum(signal, air / 4))
    usable = np.where((seen > 0) & (signal > air), levels, np.nan)[..., band]
    everywhere = float(np.nanmedian(usable)) if np.isfinite(usable).any() else 0.0
    muscle = np.full(len(signal), everywhere, np.float32)
    reach = round(15 / _STEP_DEGREES)
    for at in range(len(signal)):
        near = usable[max(0, at - reach) : at + reach + 1]
        if np.isfinite(near).mean() > 0.2:
            muscle[at] = np.nanmedian(near)
    off = (levels - muscle[:, None, None]) / _ALIKE
    return np.asarray(np.exp(-np.log(2) * off**2), np.float32)


def _edges(muscle: Float32, seen: Float32) -> Float32:
    """Return by how much more muscle there is behind each place than before it."""
    sums = np.pad(np.cumsum(muscle, axis=-1), ((0, 0), (0, 0), (1, 0)))
    count = muscle.shape[-1] - _BEHIND_MM - _BEFORE_MM
    at = np.arange(_BEHIND_MM, _BEHIND_MM + count)
    behind = (sums[..., at] - sums[..., at - _BEHIND_MM]) / _BEHIND_MM
    before = (sums[..., at + _BEFORE_MM] - sums[..., at]) / _BEFORE_MM
    is_seen = (seen[..., at - _BEHIND_MM] > 0) & (seen[..., at + _BEFORE_MM - 1] > 0)
    return np.where(is_seen, behind - before, 0)


def _halfway(signal: Float32, at: NDArray[np.int64]) -> Float32:
    """Return how far before a place signal is halfway between what lies on either side, in mm.

    What muscle's signal is was measured somewhat behind, where a coil of breasts sees less of it.
    """
    near = np.arange(-_BEHIND_MM, _BEFORE_MM + 1)
    around = np.take_along_axis(signal, at[..., np.newaxis] + near, axis=-1)
    behind = around[..., near <= -_CLEAR_MM].mean(axis=-1)
    before = around[..., near >= _CLEAR_MM].mean(axis=-1)
    with np.errstate(divide="ignore", invalid="ignore"):
        share = (around - before[..., None]) / (behind - before)[..., None]
        is_edge = np.abs(np.log(behind / before)) > _ALIKE
    beyond = share.sum(axis=-1) - 0.5 - _BEHIND_MM
    return np.where(is_edge, np.clip(beyond, -_CLEAR_MM, _CLEAR_MM), 0).astype(np.float32)


def _rows_around(edges: Float32, reach: int) -> Float32:
    """Return means over so many rows to either side."""
    padded = np.pad(edges, ((0, 0), (reach, reach), (0, 0)), mode="edge")
    total = sum(padded[:, n : n + edges.shape[1]] for n in range(2 * reach + 1))
    return np.asarray(total / (2 * reach + 1), np.float32)


def _paths(gains: Float32) -> NDArray[np.int64]:
    """Return of each row the path over directions of the most gain and the fewest steps."""
    directions, rows, count = gains.shape
    best = gains[0].copy()
    steps = np.arange(-_FARTHEST_STEPS, _FARTHEST_STEPS + 1)
    came = np.zeros((directions, rows, count), np.int8)
    for at in range(1, directions):
        wide = np.pad(best, ((0, 0), (_FARTHEST_STEPS,) * 2), constant_values=-np.inf)
        ways = np.stack(
            [
                wide[:, _FARTHEST_STEPS + s : _FARTHEST_STEPS + s + count] - _BEND * s**2
                for s in steps
            ]
        )
        chosen = ways.argmax(axis=0)
        came[at] = steps[chosen]
        best = ways.max(axis=0) + gains[at]
    path = np.zeros((directions, rows), np.int64)
    path[-1] = best.argmax(axis=-1)
    for at in range(directions - 1, 0, -1):
        path[at - 1] = path[at] + came[at, np.arange(rows), path[at]]
    return path


def _bridged(radius: Float32, reach: int) -> Float32:
    """Return the radii without dents narrower than twice a reach of directions (a closing)."""
    padded = np.pad(radius, ((reach, reach), (0, 0)), mode="edge")
    highest = sliding_window_view(padded, 2 * reach + 1, axis=0).max(axis=-1)
    padded = np.pad(highest, ((reach, reach), (0, 0)), mode="edge")
    return np.asarray(sliding_window_view(padded, 2 * reach + 1, axis=0).min(axis=-1))


def _blurred(radius: Float32) -> Float32:
    """Return means over neighbours, both ways: steps of whole mm are no steps of the chest."""
    for axis in (0, 1):
        reach = 2
        pads = [(reach, reach) if n == axis else (0, 0) for n in (0, 1)]
        padded = np.moveaxis(np.pad(radius, pads, mode="edge"), axis, 0)
        count = radius.shape[axis]
        total = sum(padded[n : n + count] for n in range(2 * reach + 1)) / (2 * reach + 1)
        radius = np.moveaxis(np.asarray(total, np.float32), 0, axis)
    return radius
