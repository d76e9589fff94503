"""The outlines of what a mask marks, in the stored matrix."""

from __future__ import annotations

import contourpy
import numpy as np
from numpy.typing import NDArray

from node.imaging.grey import Float32
from node.imaging.grid import PlaneGrid, Points
from node.result import Point

TOLERANCE_PX = 0.5
"""How far the simplified outline may lie from the exact one, in pixels of the network."""


MOST_LOST = 0.05
"""Share of its area that an outline may win or lose by being simplified."""


def regions(mask: Float32, threshold: float) -> list[Points]:
    """Return the exact outlines, closed, of all regions, the largest first, without holes."""
    lines = [line for line in _contours(mask, threshold) if len(line) > 3]
    lines.sort(key=lambda line: abs(signed_area(line)), reverse=True)
    # What surrounds a hole runs the other way; the largest of all surrounds nothing but a region.
    return [line for line in lines if signed_area(line) * signed_area(lines[0]) > 0]


def outermost(found: list[Points]) -> list[Points]:
    """Drop what lies in the hole of a region; the largest come first."""
    kept: list[Points] = []
    for region in found:
        if not any(_encloses(larger, region[0]) for larger in kept):
            kept.append(region)
    return kept


def _encloses(line: Points, point: Points) -> bool:
    """Return whether a ray from the point to the left crosses the line an odd number of times."""
    (x, y), (next_x, next_y) = line[:-1].T, line[1:].T
    is_across = (y <= point[1]) != (next_y <= point[1])
    share = (point[1] - y[is_across]) / (next_y - y)[is_across]
    crossings = x[is_across] + share * (next_x - x)[is_across]
    return bool(np.count_nonzero(crossings < point[0]) % 2)


def signed_area(line: NDArray[np.float64]) -> float:
    """Return the area that a closed line encloses, positive if it runs clockwise on the screen."""
    x, y = line[:-1].T
    next_x, next_y = line[1:].T
    return float(np.sum(x * next_y - next_x * y)) / 2


def outline_of(region: Points, grid: PlaneGrid) -> tuple[Point, ...]:
    """Return a region's outline: closed, clockwise on the screen, inside the image."""
    if len(region) == 0:
        return ()
    stored = grid.places(_simplified_as_far_as_it_may(region))
    stored = np.clip(stored, 0, (grid.columns, grid.rows))
    if len(stored) < 4 or signed_area(stored) == 0:
        return ()
    if signed_area(stored) < 0:  # rows grow downwards: positive is clockwise for the eye
        stored = stored[::-1]
    points = [(round(float(x), 2), round(float(y), 2)) for x, y in stored]
    return (*points[:-1], points[0])


def _contours(mask: Float32, threshold: float) -> list[Points]:
    """Return contours in corner coordinates, closed along the image's edges.

    The frame around the mask mirrors its edge at the threshold, so that a region that meets
    an edge ends exactly there.
    """
    framed = np.minimum(np.pad(mask, 1, mode="edge"), 2 * threshold - np.pad(mask, 1, mode="edge"))
    framed[1:-1, 1:-1] = mask
    centres_x = np.arange(framed.shape[1]) - 0.5
    centres_y = np.arange(framed.shape[0]) - 0.5
    lines = contourpy.contour_generator(centres_x, centres_y, framed).lines(threshold)
    height, width = mask.shape
    return [np.clip(np.asarray(line), 0, (width, height)) for line in lines]


def _simplified_as_far_as_it_may(region: Points) -> Points:
    """Drop points of an outline without which it still encloses the same area; of a dot, none."""
    exact = abs(signed_area(region))
    for tolerance in (TOLERANCE_PX, TOLERANCE_PX / 4):
        simpler = _simplified(region, tolerance)
        if abs(abs(signed_area(simpler)) - exact) <= MOST_LOST * exact:
            return simpler
    return region


def _simplified(line: Points, tolerance: float) -> Points:
    """Drop points of a closed line that lie within a tolerance of it (Douglas-Peucker)."""
    farthest = int(np.argmax(np.linalg.norm(line - line[0], axis=1)))
    keep = np.zeros(len(line), dtype=bool)
    keep[[0, farthest, len(line) - 1]] = True
    spans = [(0, farthest), (farthest, len(line) - 1)]
    while spans:
        first, last = spans.pop()
        if last - first < 2:
            continue
        distances = _distances(line[first + 1 : last], line[first], line[last])
        worst = int(np.argmax(distances))
        if distances[worst] > tolerance:
            middle = first + 1 + worst
            keep[middle] = True
            spans += [(first, middle), (middle, last)]
    return line[keep]


def _distances(points: Points, start: Points, end: Points) -> NDArray[np.float64]:
    """Return how far points lie from the straight piece between two points."""
    along = end - start
    length_squared = float(along @ along)
    if length_squared == 0:
        return np.asarray(np.linalg.norm(points - start, axis=1), dtype=np.float64)
    share = np.clip((points - start) @ along / length_squared, 0, 1)
    return np.asarray(np.linalg.norm(points - start - share[:, None] * along, axis=1))
