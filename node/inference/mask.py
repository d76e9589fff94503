"""A mask tensor -> regions: their areas in the breast and outlines in the stored matrix.

Holes count as part of a region, with whatever lies in them. The largest region alone counts, where
it is what every image shows, such as the breast, else every one.
"""

from __future__ import annotations

import numpy as np

from node.domains.table import domain_of
from node.errors import StudyError
from node.imaging.grey import Float32
from node.imaging.grid import PlaneGrid, Points
from node.imaging.outlines import outermost, outline_of, regions, signed_area
from node.manifest import Manifest, MaskOutput
from node.result import Code, Mark, Measurement, OutputScore

SQUARE_CENTIMETER = Code("cm2", "UCUM", "square centimeter")


MM2_PER_CM2 = 100


MOST_REGIONS = 1000
"""More than these are noise; as many as the boxes a manifest may ask for."""


def score_mask(
    mask: Float32,
    output: MaskOutput,
    manifest: Manifest,
    grid: PlaneGrid,
    spacing_mm: tuple[float, float],
) -> OutputScore:
    """Measure a mask, shape (height, width), of the network's input."""
    rows, columns = grid.filled.slices  # what lies on the padding is no tissue
    pixel_mm2 = grid.pixel_area_mm2(spacing_mm)
    corner = (columns.start, rows.start)
    found = [region + corner for region in regions(mask[rows, columns], output.threshold)]
    if output.regions == "all":
        found = [r for r in found if abs(signed_area(r)) * pixel_mm2 >= output.min_area_mm2]
        if len(found) > MOST_REGIONS:
            raise StudyError(f"more than {MOST_REGIONS} separate regions marked in this image")
        marks = [_mark(region, output, grid, pixel_mm2) for region in outermost(found)]
        return OutputScore(marks=tuple(mark for mark in marks if mark.outline))
    nothing = np.empty((0, 2))
    region = found[0] if found else nothing
    mark = _mark(region, output, grid, pixel_mm2)
    domain = domain_of(manifest)
    domain.require_plausible_outline(region if mark.outline else nothing, grid, manifest)
    return OutputScore(marks=(mark,))


def _mark(region: Points, output: MaskOutput, grid: PlaneGrid, pixel_mm2: float) -> Mark:
    area_cm2 = abs(signed_area(region)) * pixel_mm2 / MM2_PER_CM2 if len(region) else 0.0
    area = Measurement(output.area.as_code(), area_cm2, SQUARE_CENTIMETER, output.decimals)
    return Mark(outline_of(region, grid), (area,))
