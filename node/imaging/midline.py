"""The plane between the breasts, found in the image: a body lies where it was put, never at x = 0.

What is looked at is the front of the body, as deep as it lies behind the foremost: two breasts and
the breastbone between them, from side to side nearly alike. The plane is where that front, folded
over, lies best upon itself, among all places from side to side and turns of up to _MOST_TURNED.
Bright or dark decides nothing, so that implants, fat suppression, the heart and contrast do not
matter. Coordinates are the patient's (LPS, mm), in which front and left are known of any position.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
from highdicom import Volume
from numpy.typing import NDArray

from node.errors import StudyError
from node.imaging.grey import Float32
from node.imaging.motion import cell_means
from node.imaging.planes import Vector
from node.study import Laterality

ERROR_MM = 5.0
"""As far as the plane may be off between the breasts of the tests' generated bodies: shifted up to
40 mm, turned up to 10 degrees, with an implant, or breasts of two sizes."""

_CELL_MM = 4.0
"""Of the front: about half of it a plane is sure to."""

_MOST_TURNED = {"about the axis to the head": 20.0, "about the axis to the back": 10.0}
"""In degrees, either way."""

_DEEPEST_MM = 120.0
"""Behind the foremost of the body: what is further back is not looked at."""

_BETWEEN_MM = 10.0
"""To either side of the plane: how far it is from there is how far a breast protrudes."""

_WIDEST_MM = 150.0
"""From the plane to the side: what is further is arm."""

_LEAST_MM, _LEAST_SHARE = 12.0, 0.25
"""What protrudes less in front of the breastbone, or than so much of the other, is no breast."""

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Midline:
    """The plane between right and left breast."""

    point: Vector
    """On the plane, within the breastbone's front."""
    normal: Vector
    """At right angles to it, to the patient's left; a unit vector."""
    alike: float
    """1 if both sides of the front are the same, 0 if nothing of them is."""
    protruding_mm: tuple[float, float]
    """How far right and left protrude in front of what is between them."""
    only: Laterality | None = None
    """The side of the breast, if there is one only."""

    @property
    def doubt(self) -> str:
        """What is said to a reader: "one breast only (right)"; "" of two."""
        if self.only is None:
            return ""
        return f"one breast only ({'right' if self.only is Laterality.RIGHT else 'left'})"

    def to_left_mm(self, places: Floats) -> Floats:
        """Return how far places (..., 3) lie to the left of the plane; negative to the right."""
        return np.asarray((places - np.array(self.point)) @ np.array(self.normal), np.float64)

    def side_of(self, place: Vector) -> Laterality:
        """Return the side of a place."""
        is_left = float(self.to_left_mm(np.array(place))) > 0
        return Laterality.LEFT if is_left else Laterality.RIGHT


def midline_of(volume: Volume) -> Midline:
    """Return the plane between the breasts of a volume of signal.

    Raises StudyError where no plane between breasts is seen: one breast fills the image, or it
    shows something else.
    """
    tissue = _Tissue.of(volume)
    best = max((_folded(tissue, turns) for turns in _turns(step=5.0)), key=lambda fold: fold.score)
    for step in (2.0, 1.0):
        near = itertools.product(*[(turn - step, turn, turn + step) for turn in best.turns])
        best = max((_folded(tissue, turns) for turns in near), key=lambda fold: fold.score)
    return _judged(best)


@dataclass(frozen=True, slots=True)
class _Front:
    """How deep the body reaches behind a plane at its foremost: from side to side, feet to head."""

    depth: Floats
    """In mm, towards the front, of _DEEPEST_MM at most; 0 where there is no body."""
    is_seen: Bools
    """Whether the image reaches there."""
    origin: Floats
    """The patient's coordinates of the first cell, at the plane at the back."""
    axes: Floats
    """To the left, the back and the head, turned: unit vectors as rows."""


@dataclass(frozen=True, slots=True)
class _Fold:
    """A front folded over at the best place for its turns."""

    turns: tuple[float, ...]
    front: _Front
    at: float
    """In cells from the first."""
    score: float
    alike: float


@dataclass(frozen=True, slots=True)
class _Tissue:
    """What is body and not air, in cells of about _CELL_MM."""

    is_body: Bools
    to_cells: Floats
    """From (x, y, z, 1) to a cell's indices."""
    centre: Floats
    half_mm: Floats
    """Half of the image's extent along x, y and z."""

    @classmethod
    def of(cls, volume: Volume) -> _Tissue:
        sizes = [max(1, round(_CELL_MM / mm)) for mm in volume.spacing]
        means = cell_means(volume.array, sizes)
        if min(means.shape) < 4:
            raise StudyError("no plane between breasts is seen: too few slices or pixels")
        affine = volume.affine.copy()
        affine[:3, 3] += affine[:3, :3] @ ((np.array(sizes) - 1) / 2)
        affine[:3, :3] *= sizes
        reach = np.abs(affine[:3, :3]) @ (np.array(means.shape) / 2)
        centre = affine[:3, :3] @ ((np.array(means.shape) - 1) / 2) + affine[:3, 3]
        return cls(_body(means), np.linalg.inv(affine), centre, reach)


def _body(means: Float32) -> Bools:
    """Return what is brighter than air: split in two where logarithms divide best (Otsu 1979).

    Logarithms, because fat that is suppressed is nearer to air than to what is bright. What is
    alone among its 26 neighbours, or missing among them, follows most of them.
    """
    floor = max(float(np.percentile(means, 99)) / 500, 1e-6)
    levels = np.log(np.maximum(means, floor))
    if np.ptp(levels) < 0.5:
        raise StudyError("no plane between breasts is seen: image of one tone")
    counts, edges = np.histogram(levels, 128)
    middles = (edges[1:] + edges[:-1]) / 2
    below = np.cumsum(counts)
    sums = np.cumsum(counts * middles)
    above = below[-1] - below
    with np.errstate(divide="ignore", invalid="ignore"):
        apart = sums / below - (sums[-1] - sums) / above
    between = np.nan_to_num(below * above * apart**2)
    is_bright = levels > edges[1 + int(np.argmax(between))]
    return _boxed(is_bright) > 0.5


def _boxed(mask: Bools) -> Float32:
    """Return the share of a mask within one cell along each axis, the outermost repeated."""
    share = np.pad(mask.astype(np.float32), 1, mode="edge")
    share = share[:-2] + share[1:-1] + share[2:]
    share = share[:, :-2] + share[:, 1:-1] + share[:, 2:]
    return np.asarray((share[:, :, :-2] + share[:, :, 1:-1] + share[:, :, 2:]) / 27, np.float32)


def _turns(step: float) -> list[tuple[float, float]]:
    ranges = [np.arange(-most, most + step / 2, step) for most in _MOST_TURNED.values()]
    return [(float(a), float(b)) for a in ranges[0] for b in ranges[1]]


def _axes(turns: tuple[float, ...]) -> Floats:
    about_head, about_back = np.radians(turns)
    c, s = np.cos(about_head), np.sin(about_head)
    left, back = np.array([c, s, 0.0]), np.array([-s, c, 0.0])
    head = np.array([0.0, 0.0, 1.0])
    c, s = np.cos(about_back), np.sin(about_back)
    return np.array([c * left + s * head, back, c * head - s * left])


def _front(tissue: _Tissue, turns: tuple[float, ...]) -> _Front:
    """Look at the body along turned axes."""
    axes = _axes(turns)
    reach = np.abs(axes) @ tissue.half_mm
    steps = [np.arange(-half, half, _CELL_MM) + _CELL_MM / 2 for half in reach]
    starts = np.array([step[0] for step in steps])
    shape = tuple(len(step) for step in steps)
    turn = tissue.to_cells[:3, :3] @ axes.T * _CELL_MM
    start = tissue.to_cells[:3, :3] @ (tissue.centre + starts @ axes) + tissue.to_cells[:3, 3]
    cells = np.zeros((3, *shape), np.float32) + start.reshape(3, 1, 1, 1).astype(np.float32)
    for axis in range(3):
        along = np.arange(shape[axis], dtype=np.float32)
        beside = [-1 if n == axis else 1 for n in range(3)]
        for index in range(3):
            cells[index] += np.float32(turn[index, axis]) * along.reshape(beside)
    nearest = np.rint(cells).astype(np.int32)
    sizes = np.array(tissue.is_body.shape).reshape(3, 1, 1, 1)
    is_seen = np.asarray(((nearest >= 0) & (nearest < sizes)).all(axis=0))
    deep, high, wide = np.clip(nearest, 0, sizes - 1)
    is_body = tissue.is_body[deep, high, wide] & is_seen
    return _of_body(is_body, is_seen, tissue.centre + starts @ axes, axes)


def _of_body(is_body: Bools, is_seen: Bools, origin: Floats, axes: Floats) -> _Front:
    """Return the front of what is (to the left, to the back, to the head)."""
    has_body = is_body.any(axis=1)
    first = np.where(has_body, is_body.argmax(axis=1), is_body.shape[1])
    if not has_body.any():
        raise StudyError("no plane between breasts is seen: no body")
    foremost = float(np.percentile(first[has_body], 0.5))
    back = min(foremost + _DEEPEST_MM / _CELL_MM, float(is_body.shape[1]))
    depth = np.clip(back - first, 0, None) * _CELL_MM
    at_back = origin + axes[1] * back * _CELL_MM
    return _Front(depth, np.asarray(is_seen.any(axis=1)), at_back, axes)


def _folded(tissue: _Tissue, turns: tuple[float, ...]) -> _Fold:
    """Fold the front at each half cell, and return where it lies best upon itself.

    What lies upon each other counts for it, what differs against it, and what the image does not
    show on the other side for nothing: else a breast that is alike in itself were a middle.
    """
    front = _front(tissue, turns)
    whole = float(front.depth.sum())
    count = len(front.depth)
    scores, alikes = np.zeros(2 * count - 1), np.zeros(2 * count - 1)
    for doubled in range(2 * count - 1):
        low = max(0, doubled - count + 1)
        here = slice(low, doubled - low + 1)
        depth, seen = front.depth[here], front.is_seen[here]
        both = seen & seen[::-1]
        differing = float((np.abs(depth - depth[::-1]) * both).sum())
        shared = float((np.minimum(depth, depth[::-1]) * both).sum())
        scores[doubled] = (shared - differing) / whole
        alikes[doubled] = shared / max(shared + differing / 2, 1e-9)
    at = int(np.argmax(scores))
    return _Fold(turns, front, at / 2 + _between(scores, at) / 2, float(scores[at]), alikes[at])


def _between(values: Floats, at: int) -> float:
    """Return where between neighbours a parabola has its top, relative to the highest."""
    if not 0 < at < len(values) - 1:
        return 0.0
    before, here, after = values[at - 1 : at + 2]
    bend = before - 2 * here + after
    return float(0.5 * (before - after) / bend) if bend < 0 else 0.0


def _judged(fold: _Fold) -> Midline:
    """Say on which sides of the plane a breast protrudes."""
    front = fold.front
    offsets = (np.arange(len(front.depth)) - fold.at) * _CELL_MM
    between = np.median(front.depth[np.abs(offsets) <= _BETWEEN_MM], axis=0)
    right, left = (
        _protrusion(front, between, (offsets * sign > _BETWEEN_MM) & (offsets * sign < _WIDEST_MM))
        for sign in (-1, 1)
    )
    least = max(_LEAST_MM, _LEAST_SHARE * max(right, left))
    if max(right, left) < least:
        raise StudyError("no plane between breasts is seen: nothing protrudes beside the middle")
    only = None
    if min(right, left) < least:
        only = Laterality.RIGHT if right > left else Laterality.LEFT
    depth = float(np.median(between))
    point = front.origin + fold.at * _CELL_MM * front.axes[0] - depth * front.axes[1]
    point = point + front.axes[2] * _CELL_MM * (front.depth.shape[1] - 1) / 2
    x, y, z = map(float, point)
    a, b, c = map(float, front.axes[0])
    return Midline((x, y, z), (a, b, c), float(fold.alike), (right, left), only)


def _protrusion(front: _Front, between: Floats, beside: Bools) -> float:
    """Return how far one side comes in front of the middle, in most of where it does most."""
    if not beside.any():
        return 0.0
    return float(np.percentile((front.depth[beside] - between).max(axis=0), 80))
