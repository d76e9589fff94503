"""A tensor of boxes -> marks in the stored matrix, the surest first."""

from __future__ import annotations

import numpy as np

from node.errors import ModelError
from node.imaging.grey import Float32
from node.imaging.grid import PlaneGrid
from node.manifest import BoxesOutput, Manifest
from node.manifest.pixels import chest_wall
from node.result import PERCENT, Mark, Measurement, OutputScore

Edges = tuple[float, float, float, float]
"""Left, top, right, bottom."""


def score_boxes(
    rows: Float32,
    output: BoxesOutput,
    manifest: Manifest,
    grid: PlaneGrid,
    spacing_mm: tuple[float, float] | None,
) -> OutputScore:
    """Take boxes, a row each: left, top, right, bottom in the network's pixels, score, class.

    Of a box that reaches beyond the image, what lies on the image is kept.
    """
    if not np.all((rows[:, 4] >= 0) & (rows[:, 4] <= 1)):
        raise ModelError(f"output {output.tensor!r} holds scores outside 0..1")
    side = chest_wall(manifest.operations)
    sure = sorted(rows[rows[:, 4] >= output.threshold].tolist(), key=lambda row: -row[4])
    marks = []
    for *edges, score, of_class in (row if output.classes else [*row, None] for row in sure):
        left, top, right, bottom = _on_image(edges, grid, output.tensor)
        number = Measurement(
            output.score.as_code(), 100 * score, PERCENT, output.decimals, is_score=True
        )
        marks.append(
            Mark(
                outline=_outline((left, top, right, bottom), grid, output.tensor),
                measurements=(number,),
                is_box=True,
                depth_mm=grid.depth_mm((left + right) / 2, side, spacing_mm[1])
                if side is not None and spacing_mm is not None
                else None,
                of_class=_class(of_class, output),
            )
        )
    return OutputScore(marks=tuple(marks))


def _class(number: float | None, output: BoxesOutput) -> int | None:
    if number is None:
        return None
    if number not in range(len(output.classes)):
        words = f"holds a class that is none of 0 to {len(output.classes) - 1}"
        raise ModelError(f"output {output.tensor!r} {words}")
    return int(number)


def _on_image(edges: list[float], grid: PlaneGrid, tensor: str) -> Edges:
    """Return the part of a box that is not on the padding, in pixels of the network's input."""
    filled = grid.filled
    left, right = (float(x) for x in np.clip(edges[0::2], filled.left, filled.right))
    top, bottom = (float(y) for y in np.clip(edges[1::2], filled.top, filled.bottom))
    if not (left < right and top < bottom):  # nor if one is not a number
        raise ModelError(f"output {tensor!r} holds a box outside the image, or of no size")
    return left, top, right, bottom


def _outline(box: Edges, grid: PlaneGrid, tensor: str) -> tuple[tuple[float, float], ...]:
    """Return a box's corners in the stored matrix, clockwise on the screen and closed."""
    corners = grid.places(np.array([box[:2], box[2:]], dtype=np.float64))
    corners = np.clip(corners, 0, (grid.columns, grid.rows)).round(2)
    (x0, y0), (x1, y1) = np.sort(corners, axis=0).tolist()
    if x0 == x1 or y0 == y1:
        raise ModelError(f"output {tensor!r} holds a box of no size")
    return (x0, y0), (x1, y0), (x1, y1), (x0, y1), (x0, y0)
