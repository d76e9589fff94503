"""The plane between the breasts, found in the image: a body lies where it was put, never at x = 0.

First, what protrudes from the front of the body: two breasts, one, or none. Between two, the plane
is where the front, folded over, lies best upon itself, among all places about the middle of the two
and turns of up to _MOST_TURNED. Places that differ count little however much they do, and breasts
less than what is around them, so that they may be of two sizes. Beside one, nothing is alike on
both sides: the plane is taken as far from its edge as breasts are, to where most of the body is.
Of a body that lies turned, the side of the chest without a breast may protrude like one, until it
is seen along its own front.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from highdicom import Volume

from node.errors import StudyError
from node.imaging.body_front import (
    CELL_MM,
    BodyCells,
    Coordinates,
    Front,
    Turns,
    protruding_regions,
)
from node.imaging.components import Bools
from node.imaging.planes import Vector
from node.study import Laterality

MIDLINE_ERROR_MM = 5.0
"""As far as the plane may be off between two breasts of the tests' generated bodies: shifted up to
40 mm, turned up to 10 degrees, with an implant, with breasts of two sizes."""

BESIDE_ERROR_MM = 25.0
"""The same beside one breast only, where `Midline.doubt` says that there is one."""

_MOST_TURNED = (20.0, 10.0)
"""In degrees, either way, about the axes to the head and to the back."""

_LEAST_MM, _LEAST_SHARE = 15.0, 0.5
"""What protrudes less than this is no breast; two that touch part at this share of the most."""

_WIDE_MM = 200.0
"""What protrudes in one piece wider than this is two breasts that touch."""

_APART_MM, _LEAST_AREA = 60.0, 0.2
"""Of two breasts: how far their middles are from each other, and how much the smaller has of what
the larger has, as seen from the front."""

_ALIKE_MM = 8.0
"""Depths that differ by this count half."""

_OF_BREASTS = 0.1
"""What a place on a breast counts, of what one beside it does."""

_CENTRAL = 0.25
"""As far from the middle of two breasts the plane is looked for, of their distance."""

_BESIDE_MM = 15.0
"""From the edge of a breast to the plane, where there is one breast only."""

_MORE_MM = 60.0
"""By how much more of the body must be seen on the side without a breast than beyond the breast."""


@dataclass(frozen=True, slots=True)
class Midline:
    """The plane between right and left breast."""

    point: Vector
    """On the plane, at the front of the body, half way from feet to head in the image."""
    normal: Vector
    """At right angles to it, to the patient's left; a unit vector."""
    alike: float
    """Share of the front that is the same on both sides, 0 to 1."""
    only: Laterality | None = None
    """The side of the breast, if there is one only."""

    @property
    def doubt(self) -> str:
        """What is said to a reader: "one breast only (right)"; "" of two."""
        if self.only is None:
            return ""
        return f"one breast only ({'right' if self.only is Laterality.RIGHT else 'left'})"

    def to_left_mm(self, places: Coordinates) -> Coordinates:
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
    tissue = BodyCells.of(volume)
    straight = tissue.front((0.0, 0.0))
    breasts = _breasts(straight)
    if len(breasts) == 1:
        return _beside(straight, breasts[0])
    best = max((_folded(tissue, breasts, turns) for turns in _turns(5.0)), key=_score)
    for step in (2.0, 1.0):
        near = itertools.product(*[(turn - step, turn, turn + step) for turn in best.turns])
        best = max((_folded(tissue, breasts, turns) for turns in near), key=_score)
    if len(alone := _breasts(best.front)) == 1:
        return _beside(best.front, alone[0])
    return _plane(best.front, best.at, best.score)


def _plane(front: Front, at: float, alike: float, only: Laterality | None = None) -> Midline:
    along = (front.depth.shape[1] - 1) / 2
    depth = float(np.median(front.depth[round(min(max(at, 0), len(front.depth) - 1))]))
    x, y, z = map(float, front.place(at, along, depth))
    a, b, c = map(float, front.axes[0])
    return Midline((x, y, z), (a, b, c), alike, only)


class _Breast(NamedTuple):
    """What protrudes, from side to side, in mm of the patient's coordinates."""

    middle: Coordinates
    edges: tuple[Coordinates, Coordinates]
    """To the right, to the left."""
    area: float
    """As seen from the front, in cells."""

    @property
    def width_mm(self) -> float:
        return float(np.linalg.norm(self.edges[1] - self.edges[0]))


class _Fold(NamedTuple):
    """A front folded over at the best place for its turns."""

    turns: Turns
    front: Front
    at: float
    """In cells from the first."""
    score: float


def _score(fold: _Fold) -> float:
    return fold.score


def _turns(step: float) -> list[Turns]:
    ranges = [np.arange(-most, most + step / 2, step) for most in _MOST_TURNED]
    return [(float(a), float(b)) for a, b in itertools.product(*ranges)]


def _breasts(front: Front) -> list[_Breast]:
    """Return one or two, from right to left; raise StudyError if nothing protrudes."""
    protruding = front.protruding()
    found: list[_Breast] = []
    for least in (_LEAST_MM, _LEAST_SHARE * float(protruding.max())):
        found = [_breast(front, mask) for mask in protruding_regions(protruding, least)]
        if not found:
            raise StudyError("no plane between breasts is seen: nothing protrudes like a breast")
        if len(found) == 2 and _are_beside(front, *found):
            return sorted(found, key=lambda breast: front.across(breast.middle))
        if found[0].width_mm <= _WIDE_MM:
            return found[:1]
    (middle, (right, left), _) = found[0]
    halves = (right, middle), (middle, left)
    return [_Breast((edges[0] + edges[1]) / 2, edges, 1.0) for edges in halves]


def _are_beside(front: Front, one: _Breast, other: _Breast) -> bool:
    """Whether both may be breasts: side by side, and neither far smaller than the other."""
    apart_mm = abs(front.across(one.middle) - front.across(other.middle)) * CELL_MM
    sizes = sorted((one.area, other.area))
    return apart_mm >= _APART_MM and sizes[0] >= _LEAST_AREA * sizes[1]


def _breast(front: Front, mask: Bools) -> _Breast:
    """Return where a region is, at half of its depth."""
    across, along = (float(np.mean(cells)) for cells in np.nonzero(mask))
    heights = mask.sum(axis=1)
    columns = np.flatnonzero(heights >= heights.max() / 4)  # what hangs on to it is not of it
    depth = float(np.median(front.depth[mask])) / 2
    right, left = (front.place(at, along, depth) for at in (columns[0] - 0.5, columns[-1] + 0.5))
    return _Breast(front.place(across, along, depth), (right, left), float(mask.sum()))


def _beside(front: Front, breast: _Breast) -> Midline:
    """Return the plane beside one breast; raise StudyError if it is not seen on which side."""
    right, left = (front.across(edge) for edge in breast.edges)
    columns = np.flatnonzero(front.depth.any(axis=1))
    beyond = (right - columns[0]) * CELL_MM, (columns[-1] - left) * CELL_MM
    if abs(beyond[0] - beyond[1]) < _MORE_MM:
        raise StudyError("no plane between breasts is seen: one breast only, and not which")
    is_right = beyond[1] > beyond[0]
    at = left + _BESIDE_MM / CELL_MM if is_right else right - _BESIDE_MM / CELL_MM
    return _plane(front, at, 0.0, Laterality.RIGHT if is_right else Laterality.LEFT)


def _folded(tissue: BodyCells, breasts: list[_Breast], turns: Turns) -> _Fold:
    """Fold the front at each half cell that is looked at, and return where it lies best."""
    front = tissue.front(turns)
    weights = (front.is_seen & (front.depth > 0)).astype(np.float64)
    weights[front.protruding() >= _LEAST_MM] *= _OF_BREASTS
    right, left = (front.across(breast.middle) for breast in breasts)
    middle, reach = (right + left) / 2, abs(left - right) * _CENTRAL
    doubled = np.arange(max(0, round(2 * (middle - reach))), round(2 * (middle + reach)) + 1)
    scores = np.array([_alike(front, weights, int(at)) for at in doubled])
    at = int(np.argmax(scores))
    return _Fold(turns, front, (doubled[at] + _between(scores, at)) / 2, float(scores[at]))


def _alike(front: Front, weights: Coordinates, doubled: int) -> float:
    """Return the share of the body's front, as it counts, that is the same on the other side.

    What the image does not show on the other side is not the same: else a breast, which is alike in
    itself, were a middle.
    """
    low = max(0, doubled - len(front.depth) + 1)
    here = slice(low, doubled - low + 1)
    depth, seen, weight = front.depth[here], front.is_seen[here], weights[here]
    kernel = 1 / (1 + ((depth - depth[::-1]) / _ALIKE_MM) ** 2)
    return float((kernel * weight * (seen & seen[::-1])).sum() / max(weights.sum(), 1e-9))


def _between(values: Coordinates, at: int) -> float:
    """Return where between neighbours a parabola has its top, relative to the highest."""
    if not 0 < at < len(values) - 1:
        return 0.0
    before, here, after = values[at - 1 : at + 2]
    bend = before - 2 * here + after
    return float(0.5 * (before - after) / bend) if bend < 0 else 0.0
