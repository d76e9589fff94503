"""A tensor of class probabilities -> the numbers of what was read."""

from __future__ import annotations

import numpy as np

from node.errors import ModelError
from node.imaging.grey import Float32
from node.manifest import ClassesOutput
from node.result import PERCENT, Measurement, OutputScore

TOLERANCE = 1e-3
"""How far the probabilities may be from adding up to 1."""


def score_classes(probabilities: Float32, output: ClassesOutput) -> OutputScore:
    """Take probabilities, shape (classes,), as they are; raise ModelError if they are none."""
    is_range_right = np.all((probabilities >= 0) & (probabilities <= 1 + TOLERANCE))
    if not is_range_right or abs(float(probabilities.sum()) - 1) > TOLERANCE:
        raise ModelError(f"output {output.tensor!r} holds no probabilities that add up to 1")
    return OutputScore(
        measurements=tuple(
            Measurement(one.probability.as_code(), 100 * float(p), PERCENT, output.decimals)
            for one, p in zip(output.classes, probabilities, strict=True)
        ),
    )
