"""A mask tensor -> regions: their areas in the breast and outlines in the stored matrix.

Holes count as part of a region, with whatever lies in them. The largest region alone counts, where
it is the breast, else every one.
"""

from __future__ import annotations

import contourpy
import numpy as np
from numpy.typing import NDArray

from node.errors import StudyError
from node.manifest import Manifest, MaskOutput
from node.pixels import Float32, Geometry, Points
from node.result import Code, ImageScore, Mark, Measurement, Point

SQUARE_CENTIMETER = Code("cm2", "UCUM", "square centimeter")
MM2_PER_CM2 = 100
TOLERANCE_PX = 0.5
"""How far the simplified outline may lie from the exact one, in pixels of the network."""
MOST_LOST = 0.05
"""Share of its area that an outline may win or lose by being simplified."""
MOST_REGIONS = 1000
"""More than these are noise; as many as the boxes a manifest may ask for."""
MOST_OF_IMAGE = 0.95
"""A region that covers more than this share of the image is no breast: air must be visible."""
EDGE_STRIP = 0.05
"""Share of the width, opposite the chest wall, that counts as the edge."""
MOST_OF_EDGE = 0.5
"""A region in more than this share of that edge's rows is no breast, or lies the wrong way."""


def score_mask(
    sop_uid: str,
    mask: Float32,
    manifest: Manifest,
    geometry: Geometry,
    spacing_mm: tuple[float, float],
) -> ImageScore:
    """Measure a mask, shape (height, width), of the network's input."""
    output = manifest.output
    assert isinstance(output, MaskOutput), "other outputs are read elsewhere"
    seen = mask[: geometry.height, : geometry.width]  # what lies on the padding is no tissue
    pixel_mm2 = geometry.pixel_area_mm2(spacing_mm)
    found = regions(seen, output.threshold)
    if output.regions == "all":
        found = [r for r in found if abs(signed_area(r)) * pixel_mm2 >= output.min_area_mm2]
        if len(found) > MOST_REGIONS:
            raise StudyError(f"more than {MOST_REGIONS} separate regions marked in this image")
        marks = [_mark(region, output, geometry, pixel_mm2) for region in _outermost(found)]
        return ImageScore(sop_uid, marks=tuple(mark for mark in marks if mark.outline))
    breast = found[0] if found else np.empty((0, 2))
    mark = _mark(breast, output, geometry, pixel_mm2)
    if not mark.outline:
        raise StudyError("no breast outline found in this image")
    refuse_what_is_no_breast_outline(
        breast, geometry, manifest.pixels.orientation == "chest wall left"
    )
    return ImageScore(sop_uid, marks=(mark,))


def _mark(region: Points, output: MaskOutput, geometry: Geometry, pixel_mm2: float) -> Mark:
    area_cm2 = abs(signed_area(region)) * pixel_mm2 / MM2_PER_CM2 if len(region) else 0.0
    area = Measurement(output.area.as_code(), area_cm2, SQUARE_CENTIMETER, output.decimals)
    return Mark(_outline(region, geometry), (area,))


def regions(mask: Float32, threshold: float) -> list[Points]:
    """Return the exact outlines, closed, of all regions, the largest first, without holes."""
    lines = [line for line in _contours(mask, threshold) if len(line) > 3]
    lines.sort(key=lambda line: abs(signed_area(line)), reverse=True)
    # What surrounds a hole runs the other way; the largest of all surrounds nothing but a region.
    return [line for line in lines if signed_area(line) * signed_area(lines[0]) > 0]


def _outermost(found: list[Points]) -> list[Points]:
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


def refuse_what_is_no_breast_outline(
    region: Points, geometry: Geometry, is_chest_wall_left: bool
) -> None:
    """Raise StudyError if a region leaves no air, or lies where no breast can."""
    if abs(signed_area(region)) > MOST_OF_IMAGE * geometry.height * geometry.width:
        raise StudyError("no breast outline found: the bright region covers the whole image")
    x, y = region.T
    rows = np.unique(np.floor(y[x >= (1 - EDGE_STRIP) * geometry.width]))
    if is_chest_wall_left and len(rows) > MOST_OF_EDGE * geometry.height:
        raise StudyError(
            "no breast outline found: the bright region lies along the edge opposite the chest wall"
        )


def _outline(region: Points, geometry: Geometry) -> tuple[Point, ...]:
    """Return a region's outline: closed, clockwise on the screen, inside the image."""
    if len(region) == 0:
        return ()
    stored = geometry.to_stored(_simplified_as_far_as_it_may(region))
    stored = np.clip(stored, 0, (geometry.columns, geometry.rows))
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
