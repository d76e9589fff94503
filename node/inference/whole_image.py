"""A score of all that was read, and the heat map that may come with it."""

from __future__ import annotations

import base64

import numpy as np

from node.errors import ModelError
from node.imaging.grey import Float32
from node.imaging.grid import Extent, PlaneGrid
from node.manifest import HeatMapOutput, ScoreOutput
from node.result import PERCENT, HeatMap, Measurement, OutputScore


def score_whole(values: Float32, output: ScoreOutput) -> OutputScore:
    """Take the score, of shape (elements,), as it is; raise ModelError if it is none."""
    element = output.element or 0
    if element >= len(values):
        raise ModelError(f"output {output.tensor!r} has no element {element}, only {len(values)}")
    score = float(values[element])
    if not 0 <= score <= 1:
        raise ModelError(f"output {output.tensor!r} is outside 0..1")
    concept = output.score.as_code()
    return OutputScore(
        (Measurement(concept, 100 * score, PERCENT, output.decimals, is_score=True),)
    )


def read_heat_map(
    sop_uid: str, values: Float32, output: HeatMapOutput, size: tuple[int, ...], grid: PlaneGrid
) -> HeatMap:
    """Keep the cells that the image reaches into, in the orientation of the stored matrix."""
    if not np.all((values >= 0) & (values <= 1)):
        raise ModelError(f"output {output.tensor!r} holds values outside 0..1")
    height, width = size
    cell_height, cell_width = height / output.height, width / output.width
    # Multiplied first: 8 / (8 / 49) is a little more than 49.
    filled = grid.filled
    reached = Extent(
        filled.left * output.width / width,
        filled.top * output.height / height,
        filled.right * output.width / width,
        filled.bottom * output.height / height,
    )
    down, across = reached.slices
    kept = np.round(255 * values[down, across]).astype(np.uint8)
    rows, columns = kept.shape
    corners = np.array(
        [
            (across.start * cell_width, down.start * cell_height),
            (across.stop * cell_width, down.stop * cell_height),
        ]
    )
    (x0, y0), (x1, y1) = grid.places(corners).tolist()
    if x0 > x1:
        kept, x0, x1 = kept[:, ::-1], x1, x0
    return HeatMap(
        sop_uid=sop_uid,
        concept=output.concept.as_code(),
        rows=rows,
        columns=columns,
        values=base64.b64encode(kept.tobytes()).decode("ascii"),
        box=(round(x0, 2), round(y0, 2), round(x1, 2), round(y1, 2)),
    )
