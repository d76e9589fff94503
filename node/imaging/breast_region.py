"""Where breasts, their skin and the chest wall are, in a volume before the injection.

Of a breast is what lies in front of the chest wall (`chest_front`), about what protrudes from the
body's front, on its side of the plane between the breasts (`midline`); its skin is a shell of
SKIN_MM at the surface and the nipple. Left and right are the patient's (LPS), whatever the axes of
the volume and wherever the body lies in it.

Of the tests' generated bodies (tests/imaging/test_breast_region.py: two breasts or one, implants,
shifted by 40 mm, turned by 10 degrees, sliced in four directions, fat suppressed or not, voxels of
3.5 mm), at least 95 % of the fat and of the gland of each breast has its label, but for the skin's
shell and a voxel beneath it and the nipple; and at least 98 % of each lesion that is not in the
skin's. None of heart, liver, lungs and vessels of the chest has a breast's label or the skin's.
No real volume has been looked at.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

import numpy as np
from highdicom import Volume
from numpy.typing import NDArray

from node.errors import StudyError
from node.imaging.body_frame import Between, BodyFrame, Cells
from node.imaging.body_front import CELL_MM, BodyCells, air_below, protruding_regions, share_around
from node.imaging.chest_front import ChestFront, chest_front
from node.imaging.components import Bools
from node.imaging.distances import depth_mm, distance_mm, reached
from node.imaging.grey import Float32
from node.imaging.midline import Midline, midline_of
from node.study import Laterality

SKIN_MM = 3.0
"""Thickness of the shell at the surface. Skin of breasts is 0.5 to 3 mm thick, and at the edge of
a voxel of 1 to 2 mm what is seen is skin and air in parts."""

NIPPLE_WIDE_MM = 16.0
"""What protrudes from the surface and is narrower is a nipple: they are 8 to 15 mm wide."""
NIPPLE_DEEP_MM = 9.0
"""As far around what protrudes of a nipple it counts as nipple: its base lies within the breast,
and takes up contrast as it does."""
_NIPPLE_LONG_MM = 2.5
"""What protrudes less is a fold or the roughness of cells."""

CHEST_WALL_MM = 60.0
"""How far behind its front the chest wall is labelled: what enhances next to breasts is within,
the front of the heart and the internal mammary vessels."""

BEYOND_MM = 20.0
"""How far around what protrudes a breast reaches along the chest: its upper part and its tail
lie flat on it."""
BACKWARDS_MM = 70.0
"""How far behind the skin between the breasts one reaches at the sides of the chest: to about the
middle of the armpit. What lies further back is armpit, back and arms."""

_CELL_MM = 2.0
"""Of what surfaces are found in: between cells they are interpolated."""
_LEAST_MM = 15.0
"""What protrudes less is no breast: as the midline's."""
_LEAST_TISSUE = 0.3
"""Share of the cells around one that are brighter than air, if it is not of a lung."""
_ALL_AROUND = 0.75
"""A cell as dark as air with so much tissue around it is noise in dark fat."""
_FAR_MM = 30.0
"""Distances along the chest are measured so far."""
_FEWEST_CELLS = 3.5
"""Of a nipple, among the 27 about one of its cells."""
_AHEAD_MM = 30.0
"""What is as dark as air, and so near to the foremost of the image, is air."""
_SEED_MM = 10.0
"""What is so near to the rearmost of the body is of it, where no chest wall is in the image."""
_SMALLEST_ML = 20.0
"""Of a breast's label: less is none."""


class BreastLabel(IntEnum):
    """What a voxel is of."""

    OUTSIDE = 0
    """Air, arms, lungs, and all that is too far behind the front of the chest wall."""
    RIGHT_BREAST = 1
    LEFT_BREAST = 2
    SKIN = 3
    """Of either breast, its nipple too."""
    CHEST_WALL = 4
    """Muscle, breastbone and heart, between and behind the breasts."""


LABEL_OF_SIDE = {
    Laterality.RIGHT: BreastLabel.RIGHT_BREAST,
    Laterality.LEFT: BreastLabel.LEFT_BREAST,
}


@dataclass(frozen=True, slots=True)
class BreastRegion:
    """The regions of a volume, and what is to be said of them."""

    labels: Volume
    """uint8 `BreastLabel` of each voxel, on the volume's own grid."""
    midline: Midline
    doubts: tuple[str, ...] = ()
    """What a reader should know, beside what the midline says."""
    unfound: tuple[Laterality, ...] = ()
    """Breasts that the midline lies beside, and that are not found in front of the chest wall."""


def breast_region(volume: Volume, midline: Midline | None = None) -> BreastRegion:
    """Return the regions of a volume of signal before the injection, its midline's if known.

    Raises StudyError, in words, where no breast is found.
    """
    midline = midline_of(volume) if midline is None else midline
    frame = BodyFrame.of(midline)
    cells = Cells.of(volume, _CELL_MM)
    air = air_below(cells.means)
    chest = chest_front(cells, frame, air)
    fields = _fields(cells, frame, chest, air, _footprint(volume, frame, midline))
    labels = _labels(volume, cells, frame, fields, air)
    if midline.only is not None:
        _give_to_one(labels, midline.only)
    voxel_ml = float(np.prod(volume.spacing)) / 1000
    missing = [
        side
        for side, region in LABEL_OF_SIDE.items()
        if sum(np.count_nonzero(one == region) for one in labels) * voxel_ml < _SMALLEST_ML
    ]
    if len(missing) == 2:
        raise StudyError("no breast is found in front of the chest wall")
    unfound = tuple(missing) if midline.only is None else ()
    doubts = [f"no {one.word} breast is found in front of the chest wall" for one in unfound]
    if not chest.is_measured:
        doubts.append("no lung is seen: the chest wall is taken to lie where it usually does")
    return BreastRegion(volume.with_array(labels), midline, tuple(doubts), unfound)


class _Footprint(NamedTuple):
    """How far within a breast's outline each place is as seen from the front, in mm."""

    inside_mm: Float32
    """To the left, to the head, in cells of CELL_MM; negative beside the breasts."""
    first: tuple[float, float]
    """Where the first cell is in the body's own mm."""

    def at(self, left: Float32, head: Float32) -> Float32:
        """Return it at places of the body."""
        wide, high = self.inside_mm.shape
        across = np.clip((left - self.first[0]) / CELL_MM, 0, wide - 1.001)
        along = np.clip((head - self.first[1]) / CELL_MM, 0, high - 1.001)
        a, b = across.astype(np.int32), along.astype(np.int32)
        s, t = across - a, along - b
        here = self.inside_mm[a, b] * (1 - s) + self.inside_mm[a + 1, b] * s
        there = self.inside_mm[a, b + 1] * (1 - s) + self.inside_mm[a + 1, b + 1] * s
        return np.asarray(here * (1 - t) + there * t, np.float32)


def _footprint(volume: Volume, frame: BodyFrame, midline: Midline) -> _Footprint:
    """Return where breasts are, seen along the body's own front."""
    front = BodyCells.of(volume).front(frame.turns)
    first = frame.own(front.origin)
    lefts = first[0] + CELL_MM * np.arange(len(front.depth))
    covered = np.zeros(front.depth.shape, bool)
    for mask in protruding_regions(front.protruding(), _LEAST_MM):
        middle = float(np.mean(lefts[np.nonzero(mask)[0]]))
        side = Laterality.LEFT if middle > 0 else Laterality.RIGHT
        if midline.only in (None, side):
            covered |= mask
    # Between two breasts there is breast, too, as far as in front of the chest wall.
    from_right = np.logical_or.accumulate(covered, axis=0)
    covered = from_right & np.logical_or.accumulate(covered[::-1], axis=0)[::-1]
    if not covered.any():
        raise StudyError("no breast is found: nothing protrudes like one beside the midline")
    inside = depth_mm(covered, (CELL_MM, CELL_MM), _FAR_MM) + np.float32(BEYOND_MM)
    return _Footprint(inside, (float(first[0]), float(first[2])))


class _Fields(NamedTuple):
    """What labels are read from, in cells, each in mm and continuous from cell to cell."""

    body: Float32
    """Depth beneath the surface; negative in air."""
    beneath_skin: Float32
    """Beyond the shell and the nipples; negative within them."""
    breast: Float32
    """Within the extent of breasts, in front of the chest wall; negative elsewhere."""
    before_chest: Float32
    """In front of the chest wall; negative behind it."""
    behind: Float32
    """Within what is labelled chest wall, but for its front; negative elsewhere."""


def _fields(
    cells: Cells, frame: BodyFrame, chest: ChestFront, air: float, footprint: _Footprint
) -> _Fields:
    before, inside, back = (np.empty(cells.means.shape, np.float32) for _ in range(3))
    for at, (left, deep, head) in enumerate(cells.planes(frame)):
        before[at] = chest.before_mm(left, deep, head)
        inside[at] = footprint.at(left, head)
        back[at] = deep
    share = share_around(cells.means > air)
    is_body = _body((cells.means <= air) & (share < _ALL_AROUND), before, back)
    body = depth_mm(is_body, cells.spacing, NIPPLE_WIDE_MM)
    breast = np.minimum(np.minimum(before, inside), np.float32(BACKWARDS_MM) - back)
    nipples = _nipples(is_body & (breast > 0), body, cells.spacing)
    beneath = np.minimum(body - np.float32(SKIN_MM), nipples - np.float32(NIPPLE_DEEP_MM))
    reaches = np.minimum(before + np.float32(CHEST_WALL_MM), inside)
    behind = np.minimum(reaches, np.float32(BACKWARDS_MM + CHEST_WALL_MM) - back)
    # Noise in lungs is no tissue, but most of what is around a vessel of the chest may be lung.
    tissue = share - np.float32(_LEAST_TISSUE)
    np.minimum(behind, tissue * np.float32(CHEST_WALL_MM), out=behind)
    return _Fields(body, beneath, breast, before, behind)


def _body(is_air: Bools, before: Float32, back: Float32) -> Bools:
    """Return what is of the body: dark or not, if air before the body does not reach it.

    So implants are, and fat that is as dark as air.
    """
    in_front = is_air & (before > 0)
    foremost = float(np.min(back, where=in_front, initial=np.inf))
    solid = ~reached(in_front & (back < foremost + _AHEAD_MM), in_front)
    deepest = max(0.0, float(np.min(before, where=solid, initial=np.inf)) + _SEED_MM)
    return reached(solid & (before <= deepest), solid)


def _nipples(breast: Bools, body: Float32, spacing: tuple[float, ...]) -> Float32:
    """Return how far each cell is from what protrudes of a nipple, in mm.

    That is what an opening with a ball takes away (Serra 1982); and not a cell of noise alone.
    """
    half = NIPPLE_WIDE_MM / 2
    away = distance_mm(body > half, spacing, half + NIPPLE_WIDE_MM)
    protruding = breast & (away > half + _NIPPLE_LONG_MM)
    protruding &= share_around(protruding) > _FEWEST_CELLS / 27
    return distance_mm(protruding, spacing, NIPPLE_WIDE_MM)


def _labels(
    volume: Volume, cells: Cells, frame: BodyFrame, fields: _Fields, air: float
) -> NDArray[np.uint8]:
    """Return the label of each voxel, slice by slice: no second volume is made but the labels."""
    labels = np.zeros(volume.shape, np.uint8)
    steps = (frame.axes[0] @ volume.affine[:3, :3]).astype(np.float32)
    first = np.float32(frame.own(volume.affine[:3, 3])[0])
    slices, rows, columns = (
        Between.of(count, size) for count, size in zip(volume.shape, cells.sizes, strict=True)
    )
    index = [np.arange(count, dtype=np.float32) for count in volume.shape[1:]]
    to_left = first + index[0][:, np.newaxis] * steps[1] + index[1] * steps[2]
    for at, of_slice in enumerate(labels):
        flat = _Fields(*(slices.at(field, at) for field in fields))
        if not ((flat.body > -_CELL_MM) & (flat.behind > 0)).any():
            continue
        near = _Fields(*(columns.along(rows.along(field, 0), 1) for field in flat))
        is_bright = volume.array[at] > air
        # Near the surface, voxels show better than cells what is air.
        is_body = (near.body > _CELL_MM) | ((near.body > -_CELL_MM / 2) & is_bright)
        of_breast = is_body & (near.breast > 0)
        is_left = to_left > -steps[0] * at
        of_slice[of_breast] = BreastLabel.RIGHT_BREAST
        of_slice[of_breast & is_left] = BreastLabel.LEFT_BREAST
        of_slice[of_breast & (near.beneath_skin < 0)] = BreastLabel.SKIN
        of_slice[is_bright & (near.before_chest <= 0) & (near.behind > 0)] = BreastLabel.CHEST_WALL
    return labels


def _give_to_one(labels: NDArray[np.uint8], only: Laterality) -> None:
    """Give all of a breast to its side: where there is one only, its plane is not seen so well."""
    ours, other = BreastLabel.RIGHT_BREAST, BreastLabel.LEFT_BREAST
    if only is Laterality.LEFT:
        ours, other = other, ours
    for of_slice in labels:
        of_slice[of_slice == other] = ours
