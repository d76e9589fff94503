"""A tensor of boxes -> marks in the stored matrix, the surest first."""

from __future__ import annotations

import numpy as np

from node.errors import ModelError
from node.inference.classes import PERCENT
from node.manifest import BoxesOutput, Manifest
from node.pixels import Float32, Geometry
from node.result import ImageScore, Mark, Measurement


def score_boxes(
    sop_uid: str,
    rows: Float32,
    manifest: Manifest,
    geometry: Geometry,
    spacing_mm: tuple[float, float] | None,
) -> ImageScore:
    """Take boxes, shape (boxes, 5): left, top, right, bottom in the network's pixels, and score."""
    output = manifest.output
    assert isinstance(output, BoxesOutput), "other outputs are read elsewhere"
    if np.any((rows[:, 4] < 0) | (rows[:, 4] > 1)):
        raise ModelError(f"output {output.tensor!r} holds scores outside 0..1")
    is_deep = manifest.pixels.orientation == "chest wall left" and spacing_mm is not None
    marks = []
    for row in sorted(rows[rows[:, 4] >= output.threshold].tolist(), key=lambda row: -row[4]):
        left, top, right, bottom, score = row
        left, right = np.clip((left, right), 0, geometry.width)
        top, bottom = np.clip((top, bottom), 0, geometry.height)
        if left >= right or top >= bottom:
            raise ModelError(f"output {output.tensor!r} holds a box outside the image")
        corners = np.array([(left, top), (right, bottom)], dtype=np.float64)
        middle_mm = None
        if is_deep and spacing_mm is not None:
            middle_mm = (left + right) / 2 * geometry.columns / geometry.width * spacing_mm[1]
        (x0, y0), (x1, y1) = geometry.to_stored(corners).round(2).tolist()
        x0, x1 = min(x0, x1), max(x0, x1)
        marks.append(
            Mark(
                outline=((x0, y0), (x1, y0), (x1, y1), (x0, y1), (x0, y0)),
                measurements=(
                    Measurement(
                        output.score.as_code(), 100 * score, PERCENT, output.decimals, is_score=True
                    ),
                ),
                is_box=True,
                depth_mm=middle_mm,
            )
        )
    return ImageScore(sop_uid, marks=tuple(marks))
